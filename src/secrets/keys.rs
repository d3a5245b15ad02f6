//! The key file, and the keys that are derived from it for each purpose.

use hmac::{Hmac, KeyInit};
use sha2::Sha256;

/// HMAC-SHA256 with a key of 32 bytes.
pub(crate) fn hmac_sha256(key: &[u8; 32]) -> Hmac<Sha256> {
    Hmac::new_from_slice(key).expect("HMAC takes keys of any length (RFC 2104)")
}
