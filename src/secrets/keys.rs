//! The key file, and the keys that are derived from it for each purpose.
//!
//! The file holds one line, `veche-key-1:` and 32 random bytes in URL-safe base64. It is made once, when there
//! is nothing yet that an older key sealed, and never written again. Whoever has it and the account file can
//! read the names and addresses in there and try passwords; without it, both files are noise.

use std::io;
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::disk::append::replace;
use crate::disk::{Access, Folder};
use crate::store::advice::advice;

/// What the one line of the file begins with.
pub const MARK: &str = "veche-key-1:";
/// Random bytes in a key.
const KEY_BYTES: usize = 32;
/// More than a key file ever has, in bytes: a larger file is none.
const MAX_FILE_BYTES: u64 = 256;

/// Why there is no key to work with, in sentences that say what to do.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The system did not let us read or write it.
    #[error("the key file {} could not be used: {source}{}", path.display(), advice(source))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is a link, a folder, a device, …
    #[error("{} is a link or no regular file; put the key file itself there, it has to be one that nobody can swap", .0.display())]
    NotAFile(PathBuf),
    /// Its mode lets others read it.
    #[error("others than its owner may read the key file {} (mode {mode:04o}); run: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is not one line with a key.
    #[error("the key file {} is cut short or damaged: it has to be one line of `veche-key-1:` and 43 characters; restore it from a backup", .0.display())]
    Damaged(PathBuf),
    /// The system has no random numbers.
    #[error("the system gave no random numbers for a key: {0}; start again when it does")]
    NoRandomness(getrandom::Error),
}

/// The keys that are derived from the one in the file, one for each purpose (HKDF-SHA256, RFC 5869).
pub struct Keys {
    /// Seals cells.
    pub(super) seal: Zeroizing<[u8; KEY_BYTES]>,
    /// Makes the index of a name.
    pub(super) index: Zeroizing<[u8; KEY_BYTES]>,
    /// Binds the columns of a row of the account file.
    pub(super) row: Zeroizing<[u8; KEY_BYTES]>,
    /// Hashes tokens.
    pub(super) token: Zeroizing<[u8; KEY_BYTES]>,
    /// Binds the columns of a row of the session file.
    pub(super) session: Zeroizing<[u8; KEY_BYTES]>,
    id: String,
}

impl Keys {
    /// Derives the keys from the one that the file holds.
    pub fn derive(master: &[u8; KEY_BYTES]) -> Self {
        let hkdf = Hkdf::<Sha256>::new(None, master);
        let purpose = |info: &str| {
            let mut key = Zeroizing::new([0; KEY_BYTES]);
            hkdf.expand(info.as_bytes(), key.as_mut()).expect("HKDF gives up to 255 times 32 bytes");
            key
        };
        let id = purpose("veche 1 key id");
        Keys {
            seal: purpose("veche 1 seal cells"),
            index: purpose("veche 1 index names"),
            row: purpose("veche 1 bind account rows"),
            token: purpose("veche 1 hash tokens"),
            session: purpose("veche 1 bind session rows"),
            id: id[..8].iter().map(|byte| format!("{byte:02x}")).collect(),
        }
    }

    /// What names the key in the files that it sealed, without telling it: 16 hex digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Reads the key file `name`, `None` when there is none. Its name is on the disk when this returns: whoever
    /// made it may have been killed before.
    ///
    /// # Errors
    /// [`KeyError`] unless it is a regular file with a key in it that nobody else can read.
    pub fn read(folder: &dyn Folder, name: &str) -> Result<Option<Self>, KeyError> {
        let path = || folder.path().join(name);
        let io = |source| KeyError::Io { path: path(), source };
        let file = match folder.open(name, Access::Inspect) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                log::debug!("opening the key file: {error}");
                return Err(KeyError::NotAFile(path()));
            }
            Err(error) => return Err(io(error)),
        };
        // From here on it is the open file that is looked at, so that nobody swaps it in between.
        let stat = file.stat().map_err(io)?;
        if stat.mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path: path(), mode: stat.mode });
        }
        let mut bytes = Zeroizing::new(vec![0; stat.len.min(MAX_FILE_BYTES) as usize]);
        file.read_exact_at(&mut bytes, 0).map_err(io)?;
        let master = std::str::from_utf8(&bytes).ok().and_then(parse);
        let master = master.ok_or_else(|| KeyError::Damaged(path()))?;
        folder.sync().map_err(io)?;
        Ok(Some(Self::derive(&master)))
    }

    /// Makes a key file with a fresh key, on the disk when this returns. The caller has seen that there is
    /// none, and nothing that an older one sealed.
    ///
    /// # Errors
    /// [`KeyError`] when there are no random numbers or the file cannot be written.
    pub fn create(folder: &dyn Folder, name: &str) -> Result<Self, KeyError> {
        let mut master = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(master.as_mut()).map_err(KeyError::NoRandomness)?;
        let line = Zeroizing::new(format!("{MARK}{}\n", BASE64_URL_SAFE_NO_PAD.encode(master.as_ref())));
        replace(folder, name, line.as_bytes())
            .map_err(|error| KeyError::Io { path: folder.path().join(name), source: error.into() })?;
        Ok(Self::derive(&master))
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({})", self.id)
    }
}

/// HMAC-SHA256 with a key of 32 bytes.
pub(super) fn hmac_sha256(key: &[u8; KEY_BYTES]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length (RFC 2104)")
}

fn parse(text: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    let bytes = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(line.strip_prefix(MARK)?).ok()?);
    let mut master = Zeroizing::new([0; KEY_BYTES]);
    if bytes.len() != KEY_BYTES {
        return None;
    }
    master.copy_from_slice(&bytes);
    Some(master)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::disk::real::open_folder;

    #[test]
    fn a_key_is_made_private_and_read_again() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("key");
        let folder = open_folder(dir.path()).expect("opened");
        assert!(Keys::read(&*folder, "key").expect("nothing there").is_none());
        let made = Keys::create(&*folder, "key").expect("a key");
        let mode = fs::metadata(&path).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let read = Keys::read(&*folder, "key").expect("the key").expect("is there");
        assert_eq!((read.id(), &read.seal), (made.id(), &made.seal));
        assert_eq!(read.id().len(), 16);
        let keys = [&read.seal, &read.index, &read.row, &read.token, &read.session];
        for (at, key) in keys.iter().enumerate() {
            assert!(keys[..at].iter().all(|other| other != key), "a key has one purpose");
        }
    }

    #[test]
    fn a_key_file_that_is_not_sound_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("key");
        let folder = open_folder(dir.path()).expect("opened");
        Keys::create(&*folder, "key").expect("a key");
        let line = fs::read_to_string(&path).expect("text");
        let private = |text: &str| {
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("private");
        };
        for cut in 0..line.len() - 1 {
            private(&line[..cut]);
            assert!(matches!(Keys::read(&*folder, "key"), Err(KeyError::Damaged(_))), "cut at {cut}");
        }
        private(line.trim_end());
        assert!(Keys::read(&*folder, "key").expect("a line without its end is whole").is_some());
        private(&line.repeat(2));
        assert!(matches!(Keys::read(&*folder, "key"), Err(KeyError::Damaged(_))));
        private(&line);
        for mode in [0o640, 0o604, 0o660, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("open");
            let error = Keys::read(&*folder, "key").expect_err("others can read it").to_string();
            assert!(error.contains("chmod 600"), "{error}");
        }
        let link = dir.path().join("link");
        private(&line);
        symlink(&path, &link).expect("a link");
        assert!(matches!(Keys::read(&*folder, "link"), Err(KeyError::NotAFile(_))));
        fs::create_dir(dir.path().join("folder")).expect("made");
        assert!(matches!(Keys::read(&*folder, "folder"), Err(KeyError::NotAFile(_))));
    }
}
