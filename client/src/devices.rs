//! The token that shows a server that this device was in before: `device` of `login` (`docs/protocol.md`).
//!
//! With it, a stranger or a neighbour who guesses at the account locks nobody out. It is the latest token that
//! the account had here, in a file of its own for each server and account below the folder for state
//! (`$XDG_STATE_HOME/veche/devices`, or `~/.local/state/…`), which nobody else may read. Where that cannot be,
//! everything works as without it.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use veche::model::{TokenText, UserName};

use crate::link::Address;

/// More than a token has, in bytes.
const MOST_BYTES: u64 = 1_024;

/// Where this device keeps the token of one account on one server.
#[derive(Debug, Clone)]
pub struct Device {
    file: Option<PathBuf>,
}

impl Device {
    /// The place for this account on this server.
    pub fn of(address: &Address, name: &UserName) -> Self {
        Device { file: state_folder().map(|folder| place(&folder, address, name)) }
    }

    /// The token that the account had here, if there is one.
    pub fn token(&self) -> Option<TokenText> {
        let file = OpenOptions::new().read(true).custom_flags(no_waiting()).open(self.file.as_ref()?).ok()?;
        if !file.metadata().ok()?.is_file() {
            return None;
        }
        let mut text = zeroize::Zeroizing::new(String::new());
        file.take(MOST_BYTES).read_to_string(&mut text).ok()?;
        let token = text.trim();
        (!token.is_empty()).then(|| TokenText::new(token))
    }

    /// Keeps a token in the place of the one before. That this may fail is nobody's trouble today.
    pub fn keep(&self, token: &TokenText) {
        if let Some(file) = &self.file {
            let _ = write(file, token);
        }
    }
}

/// The folder for what programs remember between two runs.
fn state_folder() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
}

/// Neither a host nor a name has a slash in it, and with the port behind it no host is `..`.
fn place(state: &Path, address: &Address, name: &UserName) -> PathBuf {
    let server = format!("{}:{}", address.host.to_lowercase(), address.port);
    state.join("veche/devices").join(server).join(name.as_str())
}

fn write(file: &Path, token: &TokenText) -> io::Result<()> {
    let folder = file.parent().ok_or(io::ErrorKind::NotFound)?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut temporary = file.as_os_str().to_owned();
    // Two of these programs may be under way at once.
    temporary.push(format!(".{}.tmp", std::process::id()));
    let made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary);
    let written = made.and_then(|mut made| writeln!(made, "{}", token.expose()));
    let kept = written.and_then(|()| fs::rename(&temporary, file));
    if kept.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    kept
}

/// The flag with which opening a pipe that has the file's name does not wait for its other end.
fn no_waiting() -> i32 {
    rustix::fs::OFlags::NONBLOCK.bits().cast_signed()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_token_is_kept_for_its_account_and_for_nobody_else() {
        let folder = std::env::temp_dir().join(format!("veche-devices-{}", std::process::id()));
        let name = |text: &str| UserName::parse(text).expect("a name");
        let address = |port| Address { host: "Veche.Example".into(), port };
        let device = |port, text: &str| Device { file: Some(place(&folder, &address(port), &name(text))) };
        assert_eq!(device(1, "ann").token(), None);
        for token in ["first", "second"] {
            device(1, "ann").keep(&TokenText::new(token));
            assert_eq!(device(1, "ann").token(), Some(TokenText::new(token)));
        }
        assert_eq!((device(2, "ann").token(), device(1, "bob").token()), (None, None));
        let file = folder.join("veche/devices/veche.example:1/ann");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().expect("a folder"))), (0o600, 0o700));
        assert_eq!(fs::read_dir(file.parent().expect("a folder")).expect("a folder").count(), 1);
        // Whatever else has its name is as good as nothing, and does no harm.
        fs::remove_file(&file).expect("it is there");
        fs::create_dir(&file).expect("a folder in its place");
        device(1, "ann").keep(&TokenText::new("third"));
        assert_eq!(device(1, "ann").token(), None);
        assert_eq!(Device { file: None }.token(), None);
        fs::remove_dir_all(&folder).expect("it is ours");
    }
}
