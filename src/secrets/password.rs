//! Passwords: Argon2id in PHC strings, also over the MD5 hashes that an older server left.
//!
//! What is kept of a password is a [`StoredPassword`]. An imported one is Argon2id over the lower-case hex
//! digits of the MD5, and marked so; the first login turns it into Argon2id of the password itself.

use std::cell::Cell;
use std::collections::HashMap;

use argon2::password_hash::phc::{Output, ParamsString, Salt};
use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version};
use md5::{Digest, Md5};
use zeroize::Zeroizing;

use crate::model::{Password, StoredPassword};

/// The bounds of the memory of one hash, in KiB: of the setting, and of what a stored hash may ask for.
pub const MEMORY_KIB: std::ops::RangeInclusive<u32> = 8..=262_144;
/// The bounds of the passes of one hash.
pub const PASSES: std::ops::RangeInclusive<u32> = 1..=64;
/// The most lanes that a stored hash may ask for; ours have one.
const MAX_LANES: u32 = 4;

/// Why a password could not be hashed or compared.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The setting is out of bounds.
    #[error(
        "auth.argon2_memory_kib is {memory_kib} and auth.argon2_passes {passes}; choose 8 to 262144 and 1 to 64"
    )]
    Settings {
        /// The memory asked for, in KiB.
        memory_kib: u32,
        /// The passes asked for.
        passes: u32,
    },
    /// The text is no hash that this program makes, or one with parameters out of bounds.
    #[error("this is no Argon2 hash within the bounds of this program")]
    NotAHash,
    /// Argon2 failed: no memory, in practice.
    #[error("the password could not be hashed: {0}")]
    Failed(argon2::password_hash::Error),
    /// The system has no random numbers.
    #[error("the system gave no random numbers: {0}")]
    NoRandomness(getrandom::Error),
}

/// Reads what [`StoredPassword::as_str`] gave.
///
/// # Errors
/// [`PasswordError::NotAHash`].
pub fn parse_stored(text: &str) -> Result<StoredPassword, PasswordError> {
    let stored = StoredPassword::from_text(text);
    phc_of(&stored)?;
    Ok(stored)
}

/// The parameters that a hash was made with.
fn params_of(stored: &StoredPassword) -> Option<Params> {
    Params::try_from(&phc_of(stored).ok()?).ok()
}

/// The PHC string, its parameters within bounds: what a row asks for cannot exhaust the memory.
fn phc_of(stored: &StoredPassword) -> Result<PasswordHash, PasswordError> {
    let hash = PasswordHash::new(stored.hash()).map_err(|_| PasswordError::NotAHash)?;
    let params = Params::try_from(&hash).map_err(|_| PasswordError::NotAHash)?;
    let bounded = MEMORY_KIB.contains(&params.m_cost())
        && PASSES.contains(&params.t_cost())
        && params.p_cost() <= MAX_LANES;
    let whole = hash.salt.is_some() && hash.hash.is_some();
    if bounded && whole && hash.algorithm == argon2::ARGON2ID_IDENT {
        Ok(hash)
    } else {
        Err(PasswordError::NotAHash)
    }
}

/// An MD5 in lower-case hex digits, as secret as the password.
#[derive(Clone)]
pub struct Md5Hex(Zeroizing<String>);

impl Md5Hex {
    /// Reads 32 hex digits of either case.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        hex.then(|| Md5Hex(Zeroizing::new(text.to_ascii_lowercase())))
    }

    /// The MD5 of a text.
    pub fn of_text(text: &str) -> Self {
        let digest = Md5::digest(text.as_bytes());
        let mut hex = Zeroizing::new(String::with_capacity(32));
        for byte in digest {
            for digit in [byte >> 4, byte & 15] {
                hex.push(char::from_digit(digit.into(), 16).expect("four bits are a hex digit"));
            }
        }
        Md5Hex(hex)
    }

    fn of(password: &Password) -> Self {
        Md5Hex::of_text(password.expose())
    }

    /// Whether it is that of the empty text, with which one would log in without a password.
    pub fn is_of_nothing(&self) -> bool {
        self.expose() == Md5Hex::of_text("").expose()
    }

    /// The hex digits.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Md5Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Md5Hex(…)")
    }
}

/// Hashes and compares, with the parameters of the configuration. Each call takes their time: for hash
/// threads alone. The memory of a hash is kept for the next one; freed and allocated anew each time, it would
/// leave ten times as much behind, in pieces that the allocator does not join.
pub struct PasswordHashing {
    params: Params,
    /// What a wrong guess costs, at whatever account or at none: as much as the dearest hash there is.
    ceiling: Params,
    memory: Cell<Vec<Block>>,
}

/// A clone, for another thread, has memory of its own.
impl Clone for PasswordHashing {
    fn clone(&self) -> Self {
        PasswordHashing {
            memory: Cell::default(),
            params: self.params.clone(),
            ceiling: self.ceiling.clone(),
        }
    }
}

impl PasswordHashing {
    /// Argon2id with one lane.
    ///
    /// # Errors
    /// [`PasswordError::Settings`].
    pub fn new(memory_kib: u32, passes: u32) -> Result<Self, PasswordError> {
        let settings = PasswordError::Settings { memory_kib, passes };
        if !MEMORY_KIB.contains(&memory_kib) || !PASSES.contains(&passes) {
            return Err(settings);
        }
        Params::new(memory_kib, passes, 1, None)
            .map(|params| PasswordHashing { ceiling: params.clone(), params, memory: Cell::default() })
            .map_err(|_| settings)
    }

    /// The same, where these hashes are stored: made at other times, with other parameters. A wrong guess at
    /// any of them, and at an account that is not there, takes as long as at the dearest of them or a fresh
    /// one, so that its time tells nothing.
    pub fn covering<'a>(mut self, stored: impl Iterator<Item = &'a StoredPassword>) -> Self {
        // There are few kinds; a million hashes are not all taken apart.
        let kinds: HashMap<&str, &StoredPassword> =
            stored.filter_map(|stored| Some((stored.as_str().rsplit('$').nth(2)?, stored))).collect();
        let kinds = kinds.into_values().filter_map(params_of);
        self.ceiling = kinds.chain([self.ceiling]).max_by_key(cost).unwrap_or(self.params.clone());
        self
    }

    /// Hashes a chosen password.
    ///
    /// # Errors
    /// [`PasswordError::Failed`] or [`PasswordError::NoRandomness`].
    pub fn hash(&self, password: &Password) -> Result<StoredPassword, PasswordError> {
        self.hash_bytes(password.expose().as_bytes()).map(|hash| StoredPassword::of_password(&hash))
    }

    /// Hashes the MD5 that an older server kept.
    ///
    /// # Errors
    /// [`PasswordError::Failed`] or [`PasswordError::NoRandomness`].
    pub fn hash_md5(&self, md5: &Md5Hex) -> Result<StoredPassword, PasswordError> {
        self.hash_bytes(md5.0.as_bytes()).map(|hash| StoredPassword::of_md5(&hash))
    }

    /// Whether the password is the one that is stored. Works with the stored hash's own parameters.
    ///
    /// # Errors
    /// [`PasswordError::NotAHash`] or [`PasswordError::Failed`].
    pub fn verify(&self, password: &Password, stored: &StoredPassword) -> Result<bool, PasswordError> {
        let hash = phc_of(stored)?;
        let md5;
        let input = if stored.is_imported() {
            md5 = Md5Hex::of(password);
            md5.0.as_bytes()
        } else {
            password.expose().as_bytes()
        };
        let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else {
            return Err(PasswordError::NotAHash);
        };
        let algorithm = Algorithm::try_from(hash.algorithm.as_str()).map_err(PasswordError::Failed)?;
        let version = hash.version.map_or(Ok(Version::default()), Version::try_from);
        let version = version.map_err(|error| PasswordError::Failed(error.into()))?;
        let params = Params::try_from(&hash).map_err(PasswordError::Failed)?;
        let output = self.derive(&Argon2::new(algorithm, version, params), input, salt, expected.len())?;
        // `Output` compares in constant time. No password at all is none, whatever an older server allowed.
        let right = output == *expected && !password.expose().is_empty();
        if !right {
            self.make_up_for(&hash)?;
        }
        Ok(right)
    }

    /// Spends what a wrong guess at this hash cost less than at the dearest one.
    fn make_up_for(&self, hash: &PasswordHash) -> Result<(), PasswordError> {
        let spent = Params::try_from(hash).map_err(PasswordError::Failed)?;
        let Some(params) = self.what_is_left_of(&spent) else { return Ok(()) };
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::default(), params);
        let salt = [0; Salt::RECOMMENDED_LENGTH];
        self.derive(&argon2, &[], &salt, Params::DEFAULT_OUTPUT_LEN).map(drop)
    }

    /// The work between this hash and the dearest one: as many passes as that one takes, over as much memory
    /// as is left.
    fn what_is_left_of(&self, spent: &Params) -> Option<Params> {
        let rest = cost(&self.ceiling).saturating_sub(cost(spent));
        let passes = u64::from(self.ceiling.t_cost()).min(rest / u64::from(*MEMORY_KIB.start()));
        let memory_kib = u32::try_from(rest.checked_div(passes)?).ok()?;
        Params::new(memory_kib, u32::try_from(passes).ok()?, 1, None).ok()
    }

    /// Whether a fresh hash would be made with the same parameters; if not, the next login makes one.
    pub fn is_current(&self, stored: &StoredPassword) -> bool {
        let current = |params: Params| {
            params.m_cost() == self.params.m_cost()
                && params.t_cost() == self.params.t_cost()
                && params.p_cost() == self.params.p_cost()
        };
        !stored.is_imported() && params_of(stored).is_some_and(current)
    }

    /// A hash that no password has, to be compared when there is no account: the same work as for a wrong
    /// guess at a real one.
    ///
    /// # Errors
    /// [`PasswordError::NoRandomness`].
    pub fn dummy(&self) -> Result<StoredPassword, PasswordError> {
        let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
        getrandom::fill(&mut output).map_err(PasswordError::NoRandomness)?;
        let output = Output::new(&output).map_err(|_| PasswordError::NotAHash)?;
        Ok(StoredPassword::of_password(&phc(&self.ceiling, fresh_salt()?, output)?.to_string()))
    }

    fn hash_bytes(&self, input: &[u8]) -> Result<String, PasswordError> {
        let salt = fresh_salt()?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::default(), self.params.clone());
        let output = self.derive(&argon2, input, &salt, Params::DEFAULT_OUTPUT_LEN)?;
        Ok(phc(&self.params, salt, output)?.to_string())
    }

    /// Runs Argon2 in the memory that is kept.
    fn derive(
        &self,
        argon2: &Argon2<'_>,
        input: &[u8],
        salt: &[u8],
        output_bytes: usize,
    ) -> Result<Output, PasswordError> {
        // A block is a KiB; Argon2 takes the part that it needs (RFC 9106, section 3.2).
        let blocks = argon2.params().m_cost() as usize;
        let mut memory = self.memory.take();
        if memory.len() < blocks {
            memory = Vec::new();
            memory.resize(blocks, Block::new());
        }
        let mut output = [0; Output::MAX_LENGTH];
        let output = output.get_mut(..output_bytes).ok_or(PasswordError::NotAHash)?;
        let done = argon2.hash_password_into_with_memory(input, salt, output, &mut memory);
        if blocks <= self.params.m_cost() as usize {
            self.memory.set(memory);
        }
        done.map_err(|error| PasswordError::Failed(error.into()))?;
        Output::new(output).map_err(|_| PasswordError::NotAHash)
    }
}

/// A hash made with these parameters, in PHC form.
fn phc(params: &Params, salt: Salt, output: Output) -> Result<PasswordHash, PasswordError> {
    Ok(PasswordHash {
        algorithm: argon2::ARGON2ID_IDENT,
        version: Some(Version::default().into()),
        params: ParamsString::try_from(params).map_err(PasswordError::Failed)?,
        salt: Some(salt),
        hash: Some(output),
    })
}

/// What a hash with these parameters costs: each pass goes once over the memory.
fn cost(params: &Params) -> u64 {
    u64::from(params.m_cost()) * u64::from(params.t_cost())
}

fn fresh_salt() -> Result<Salt, PasswordError> {
    let mut salt = [0; Salt::RECOMMENDED_LENGTH];
    getrandom::fill(&mut salt).map_err(PasswordError::NoRandomness)?;
    Salt::new(&salt).map_err(|_| PasswordError::NotAHash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cheap() -> PasswordHashing {
        PasswordHashing::new(8, 1).expect("small parameters")
    }

    #[test]
    fn a_password_is_known_again_and_no_other_is() {
        let hashing = cheap();
        let right = Password::given("correct horse");
        let stored = hashing.hash(&right).expect("a hash");
        assert!(stored.as_str().starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{}", stored.as_str());
        assert!(hashing.verify(&right, &stored).expect("compared"));
        assert!(!hashing.verify(&Password::given("correct hors"), &stored).expect("compared"));
        assert!(!hashing.verify(&Password::given(""), &stored).expect("compared"));
        let read = parse_stored(stored.as_str()).expect("what we wrote");
        assert!(hashing.verify(&right, &read).expect("compared"));
        assert!(hashing.is_current(&read) && !read.is_imported());
        let other = PasswordHashing::new(16, 2).expect("other parameters");
        assert!(other.verify(&right, &read).expect("by its own parameters"));
        assert!(!other.is_current(&read));
        assert_ne!(hashing.hash(&right).expect("a hash"), stored, "salted");
    }

    #[test]
    fn an_imported_md5_takes_the_password_it_was_made_of() {
        let hashing = cheap();
        // echo -n "secret99" | md5sum
        let md5 = Md5Hex::of(&Password::given("secret99"));
        let upper = Md5Hex::parse(&md5.0.to_uppercase()).expect("hex digits");
        assert_eq!(*upper.0, *md5.0);
        assert_eq!(*Md5Hex::of(&Password::given("")).0, "d41d8cd98f00b204e9800998ecf8427e");
        let stored = hashing.hash_md5(&upper).expect("a hash");
        assert!(stored.is_imported() && !hashing.is_current(&stored));
        assert!(!stored.as_str().contains(md5.0.as_str()));
        assert!(hashing.verify(&Password::given("secret99"), &stored).expect("compared"));
        assert!(!hashing.verify(&Password::given(md5.0.as_str()), &stored).expect("compared"));
        for bad in ["", "d41d8cd98f00b204e9800998ecf8427", "d41d8cd98f00b204e9800998ecf8427ez", "é"] {
            assert!(Md5Hex::parse(bad).is_none(), "{bad}");
        }
    }

    // issue 7: MD5 of the empty text is taken and logs in without a password
    #[test]
    fn nobody_gets_in_without_a_password() {
        let (hashing, nothing) = (cheap(), Md5Hex::of_text(""));
        assert!(nothing.is_of_nothing() && !Md5Hex::of_text(" ").is_of_nothing());
        let stored = hashing.hash_md5(&nothing).expect("a hash");
        assert!(!hashing.verify(&Password::given(""), &stored).expect("compared"));
    }

    #[test]
    fn the_dummy_fits_nothing_and_costs_the_same() {
        let hashing = cheap();
        let dummy = hashing.dummy().expect("random numbers");
        assert!(hashing.is_current(&dummy));
        assert!(!hashing.verify(&Password::given("anything"), &dummy).expect("compared"));
    }

    // issue 7: "An account hashed at an older Argon2 cost answers faster than a name that is not there"
    #[test]
    fn a_wrong_guess_costs_the_same_at_every_account_and_at_none() {
        let password = Password::given("correct horse");
        let stored: Vec<_> = [(8, 1), (64, 1), (32, 3), (128, 2), (16, 16)]
            .into_iter()
            .map(|(memory, passes)| PasswordHashing::new(memory, passes).expect("parameters"))
            .map(|hashing| hashing.hash(&password).expect("a hash"))
            .collect();
        let dearest = 256;
        let hashing = cheap().covering(stored.iter());
        let dummy = hashing.dummy().expect("random numbers");
        assert_eq!(params_of(&dummy).as_ref().map(cost), Some(dearest));
        for stored in stored.iter().chain([&dummy]) {
            let spent = params_of(stored).expect("parameters");
            let work = cost(&spent) + hashing.what_is_left_of(&spent).as_ref().map_or(0, cost);
            assert!(dearest.abs_diff(work) < 16, "{}: {work}", stored.as_str());
            assert!(!hashing.verify(&Password::given("a guess"), stored).expect("compared"));
        }
        assert!(stored.iter().all(|stored| hashing.verify(&password, stored).expect("compared")));
        let fresh = hashing.hash(&password).expect("a hash");
        assert!(hashing.is_current(&fresh), "what is made anew costs what the settings say");
    }

    #[test]
    fn what_asks_for_too_much_is_no_hash() {
        let tail = "c2FsdHNhbHRzYWx0$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
        assert!(parse_stored(&format!("$argon2id$v=19$m=64,t=1,p=1${tail}")).is_ok());
        for params in ["m=4294967295,t=1,p=1", "m=64,t=4294967295,p=1", "m=64,t=1,p=8", "m=262145,t=1,p=1"] {
            assert!(parse_stored(&format!("$argon2id$v=19${params}${tail}")).is_err(), "{params}");
        }
        for text in ["", "md5:", "$argon2id$v=19$m=64,t=1,p=1", "d41d8cd98f00b204e9800998ecf8427e", "$1$a$b"]
        {
            assert!(parse_stored(text).is_err(), "{text}");
        }
        assert!(PasswordHashing::new(7, 1).is_err() && PasswordHashing::new(u32::MAX, 1).is_err());
        assert!(PasswordHashing::new(8, 0).is_err());
    }
}
