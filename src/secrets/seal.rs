//! Cells that only the key opens, and only in their own place.
//!
//! A sealed cell is XChaCha20-Poly1305 with a random nonce, bound to its place (the file's epoch, the row,
//! the column), as `v1:` and URL-safe base64: no cell begins a formula, whatever the bytes are.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::keys::{Keys, hmac_sha256};
use super::token::TokenHasher;

/// What every cell that is made here begins with.
const PREFIX: &str = "v1:";
/// Bytes of a nonce.
const NONCE_BYTES: usize = 24;
/// Bytes that are kept of an HMAC which binds or names: 128 bits.
const TAG_BYTES: usize = 16;
/// Characters of what binds columns, or names.
pub const TAG_TEXT_BYTES: usize = PREFIX.len() + (TAG_BYTES * 8).div_ceil(6);
/// Bytes that are kept of an HMAC which shows that a cell is whole.
const CELL_TAG_BYTES: usize = 8;

/// The cell is not what this key sealed in this place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cell was not sealed here: it was changed, or comes from another row, file or key")]
pub struct NotSealedHere;

/// Where a cell stands.
#[derive(Debug, Clone, Copy)]
pub struct CellPlace<'a> {
    /// The epoch of the file: base64, without `/`.
    pub epoch: &'a str,
    /// The row's number.
    pub row: u64,
    /// The column's name.
    pub column: &'a str,
}

impl CellPlace<'_> {
    fn bytes(self) -> Vec<u8> {
        format!("{}/{}/{}", self.epoch, self.row, self.column).into_bytes()
    }
}

/// Seals, opens and binds.
pub struct Sealer {
    cipher: XChaCha20Poly1305,
    index: Hmac<Sha256>,
    row: Hmac<Sha256>,
    session: Hmac<Sha256>,
    tokens: TokenHasher,
    key_id: String,
}

impl Sealer {
    /// A sealer with these keys.
    pub fn new(keys: &Keys) -> Self {
        Sealer {
            cipher: XChaCha20Poly1305::new(&(*keys.seal).into()),
            index: hmac_sha256(&keys.index),
            row: hmac_sha256(&keys.row),
            session: hmac_sha256(&keys.session),
            tokens: TokenHasher::new(&keys.token),
            key_id: keys.id().to_owned(),
        }
    }

    /// What names the key, see [`Keys::id`].
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The hasher of tokens under the same key.
    pub fn tokens(&self) -> &TokenHasher {
        &self.tokens
    }

    /// Seals a cell in its place.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn seal(&self, place: CellPlace<'_>, plain: &[u8]) -> Result<String, getrandom::Error> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce)?;
        let aad = place.bytes();
        let sealed = self
            .cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: &aad })
            .expect("XChaCha20 takes messages of up to 256 GiB");
        let mut bytes = Vec::with_capacity(NONCE_BYTES + sealed.len());
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(&sealed);
        Ok(format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// Opens a cell in its place.
    ///
    /// # Errors
    /// [`NotSealedHere`].
    pub fn open(&self, place: CellPlace<'_>, cell: &str) -> Result<Zeroizing<String>, NotSealedHere> {
        let bytes = cell
            .strip_prefix(PREFIX)
            .and_then(|text| BASE64_URL_SAFE_NO_PAD.decode(text).ok())
            .ok_or(NotSealedHere)?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or(NotSealedHere)?;
        let aad = place.bytes();
        let plain = self
            .cipher
            .decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: &aad })
            .map_err(|_| NotSealedHere)?;
        String::from_utf8(plain).map(Zeroizing::new).map_err(|_| NotSealedHere)
    }

    /// The index of a name: equal for equal names, and tells nothing without the key.
    pub fn index(&self, name: &str) -> String {
        tag(self.index.clone(), &[name])
    }

    /// What binds the columns of an account row to each other and to the file's epoch.
    pub fn bind_row(&self, columns: &[&str]) -> String {
        tag(self.row.clone(), columns)
    }

    /// What shows that a cell of the session file is whole, wherever it is found: 64 bits, for accidents.
    pub fn bind_cell(&self, column: &str, cell: &str) -> String {
        let mac = digest(self.session.clone(), &["cell", column, cell]);
        BASE64_URL_SAFE_NO_PAD.encode(&mac[..CELL_TAG_BYTES])
    }

    /// What binds the columns of a row of the session file.
    pub fn bind_session(&self, columns: &[&str]) -> String {
        tag(self.session.clone(), columns)
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealer({})", self.key_id)
    }
}

/// Whether two tags are equal, in the same time wherever they differ.
pub fn same_tag(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

/// 128 random bits as 22 characters of URL-safe base64: a file's epoch.
///
/// # Errors
/// When the system has no random numbers.
pub fn fresh_epoch() -> Result<String, getrandom::Error> {
    let mut bytes = [0; TAG_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

fn tag(mac: Hmac<Sha256>, columns: &[&str]) -> String {
    format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(&digest(mac, columns)[..TAG_BYTES]))
}

fn digest(mut mac: Hmac<Sha256>, columns: &[&str]) -> [u8; 32] {
    for column in columns {
        // The length in front keeps "a","bc" apart from "ab","c".
        mac.update(&(column.len() as u64).to_be_bytes());
        mac.update(column.as_bytes());
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealer() -> Sealer {
        Sealer::new(&Keys::derive(&[1; 32]))
    }

    const HERE: CellPlace<'_> = CellPlace { epoch: "e", row: 7, column: "login" };

    #[test]
    fn a_cell_opens_in_its_place_alone() {
        let sealer = sealer();
        let cell = sealer.seal(HERE, b"alice").expect("random numbers");
        assert_eq!(sealer.open(HERE, &cell).as_deref().map(String::as_str), Ok("alice"));
        for elsewhere in [
            CellPlace { epoch: "f", ..HERE },
            CellPlace { row: 8, ..HERE },
            CellPlace { column: "ip", ..HERE },
        ] {
            assert!(sealer.open(elsewhere, &cell).is_err(), "{elsewhere:?}");
        }
        assert!(Sealer::new(&Keys::derive(&[2; 32])).open(HERE, &cell).is_err());
        let again = sealer.seal(HERE, b"alice").expect("random numbers");
        assert_ne!(again, cell, "equal texts do not show that they are equal");
    }

    #[test]
    fn a_changed_cell_does_not_open() {
        let sealer = sealer();
        let cell = sealer.seal(HERE, b"alice").expect("random numbers");
        for at in 0..cell.len() {
            let mut bytes = cell.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("ASCII");
            assert!(sealer.open(HERE, &changed).is_err(), "changed at {at}");
            assert!(sealer.open(HERE, &cell[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn tags_keep_columns_apart() {
        let sealer = sealer();
        assert_ne!(sealer.bind_row(&["a", "bc"]), sealer.bind_row(&["ab", "c"]));
        assert_ne!(sealer.bind_row(&["a"]), sealer.bind_session(&["a"]));
        assert!(same_tag(&sealer.index("a"), &sealer.index("a")));
        assert!(!same_tag(&sealer.index("a"), &sealer.index("b")));
    }

    proptest! {
        #[test]
        fn any_text_comes_back(text in any::<String>()) {
            let sealer = sealer();
            let cell = sealer.seal(HERE, text.as_bytes()).expect("random numbers");
            prop_assert!(cell.starts_with("v1:") && !cell.contains([',', '"', '\n']));
            let opened = sealer.open(HERE, &cell).expect("ours");
            prop_assert_eq!(opened.as_str(), text.as_str());
        }

        #[test]
        fn nothing_that_is_read_panics(text in any::<String>()) {
            prop_assert!(sealer().open(HERE, &text).is_err());
        }
    }
}
