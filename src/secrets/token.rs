//! Tokens: 256 random bits that a client shows with each request. The server keeps nothing but a keyed hash.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::model::{TOKEN_HASH_BYTES, TokenHash, TokenText};

/// Random bytes in a token.
const TOKEN_BYTES: usize = 32;
/// The longest text that is looked at as a token, in bytes; ours have 43.
const MAX_TOKEN_TEXT_BYTES: usize = 64;

/// Turns tokens into their hashes. Cheap to clone; each session has one, to check the token of each request.
#[derive(Clone)]
pub struct TokenHasher {
    keyed: Arc<Hmac<Sha256>>,
}

impl TokenHasher {
    /// The hasher with this key.
    pub fn new(key: &[u8; 32]) -> Self {
        TokenHasher { keyed: Arc::new(super::keys::hmac_sha256(key)) }
    }

    /// The hash of what a client shows. Any text has one; only a token's is known to the server.
    pub fn hash(&self, token: &TokenText) -> TokenHash {
        let text = token.expose().as_bytes();
        let mut mac = Hmac::clone(&self.keyed);
        // A longer text is no token of ours, and cut it still is none: the work stays small for 64 KiB of it.
        mac.update(&text[..text.len().min(MAX_TOKEN_TEXT_BYTES)]);
        let mut hash = [0; TOKEN_HASH_BYTES];
        hash.copy_from_slice(&mac.finalize().into_bytes()[..TOKEN_HASH_BYTES]);
        TokenHash::from_bytes(hash)
    }

    /// A fresh token and its hash.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn fresh(&self) -> Result<(TokenText, TokenHash), getrandom::Error> {
        let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
        getrandom::fill(bytes.as_mut())?;
        let token = TokenText::new(BASE64_URL_SAFE_NO_PAD.encode(bytes.as_ref()));
        let hash = self.hash(&token);
        Ok((token, hash))
    }
}

impl fmt::Debug for TokenHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHasher(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_hash_under_the_same_key_alone() {
        let hasher = TokenHasher::new(&[7; 32]);
        let (token, hash) = hasher.fresh().expect("random numbers");
        assert_eq!(token.expose().len(), 43);
        assert!(token.expose().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert_eq!(hasher.hash(&token), hash);
        assert_ne!(TokenHasher::new(&[8; 32]).hash(&token), hash);
        let (other, other_hash) = hasher.fresh().expect("random numbers");
        assert_ne!(other.expose(), token.expose());
        assert_ne!(other_hash, hash);
    }

    #[test]
    fn a_flipped_or_prolonged_token_is_another() {
        let hasher = TokenHasher::new(&[7; 32]);
        let (token, hash) = hasher.fresh().expect("random numbers");
        for at in 0..token.expose().len() {
            let mut bytes = token.expose().as_bytes().to_vec();
            bytes[at] ^= 1;
            let flipped = TokenText::new(String::from_utf8(bytes).expect("ASCII stays ASCII"));
            assert_ne!(hasher.hash(&flipped), hash);
        }
        assert_ne!(hasher.hash(&TokenText::new(format!("{}x", token.expose()))), hash);
        assert_ne!(hasher.hash(&TokenText::new("x".repeat(100_000))), hash);
        assert_ne!(hasher.hash(&TokenText::new("")), hash);
    }
}
