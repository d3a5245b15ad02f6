//! Whose the data directory is: nobody else makes files in it.
//!
//! A `veche account add` as root would leave files of root behind, and the service would not start any more.
//! So who is not the directory's owner is refused, root too, with the words of whom to run it as.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    id: u32,
    name: Option<String>,
}

/// Somebody else's data directory.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// The directory, or the folder that it would be made in, belongs to somebody else.
    #[error("{} belongs to {owner}, and this is run as {me}{}", folder.display(), whom_to_run_it_as(folder, owner, me))]
    Folder {
        /// The directory, or the nearest folder above it that is there.
        folder: PathBuf,
        /// Whose it is.
        owner: User,
        /// Who asks.
        me: User,
    },
    /// A file in it belongs to somebody else, and cannot be used.
    #[error(
        "{} belongs to {owner}, and {me}, who runs veche, may not use it; give it back, as root: chown -R {} {}",
        file.display(), me.for_chown(), folder.display()
    )]
    File {
        /// The file.
        file: PathBuf,
        /// The data directory.
        folder: PathBuf,
        /// Whose it is.
        owner: User,
        /// Who asks.
        me: User,
    },
}

impl User {
    /// The user of this number, with the name that `/etc/passwd` has for it.
    fn of(id: u32) -> Self {
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        User { id, name: name_in(&passwd, id) }
    }

    /// Who runs this.
    fn me() -> Self {
        User::of(rustix::process::geteuid().as_raw())
    }

    fn for_sudo(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("'#{}'", self.id))
    }

    fn for_chown(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.id.to_string())
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name),
            None => write!(f, "user {}", self.id),
        }
    }
}

/// What to do about a folder of somebody else's.
fn whom_to_run_it_as(folder: &Path, owner: &User, me: &User) -> String {
    let sudo = format!("run it as {owner}: sudo -u {} veche …", owner.for_sudo());
    if me.id == 0 {
        return format!(", whose files {owner} could not use; {sudo}");
    }
    format!("; {sudo}, or give it to {me}, as root: chown -R {} {}", me.for_chown(), folder.display())
}

fn name_in(passwd: &str, id: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut cells = line.split(':');
        let (name, _, number) = (cells.next()?, cells.next()?, cells.next()?);
        (number.parse() == Ok(id) && !name.is_empty()).then(|| name.to_owned())
    })
}

/// Whose a folder is.
///
/// # Errors
/// What the system says.
pub fn owner_of(folder: &Path) -> io::Result<User> {
    Ok(User::of(folder.metadata()?.uid()))
}

/// Refuses who would make files in somebody else's data directory, and finds files of somebody else that its
/// owner cannot use. What is not there yet is its maker's; but root makes none in another's folder.
///
/// # Errors
/// [`OwnerError`], a sentence that says whom to run it as, or how to give the files back.
pub fn check(data_dir: &Path) -> Result<(), OwnerError> {
    let me = User::me();
    if let Ok(about) = data_dir.metadata() {
        if about.uid() != me.id {
            return Err(OwnerError::Folder { folder: data_dir.to_owned(), owner: User::of(about.uid()), me });
        }
        return [data_dir, &data_dir.join("history")]
            .into_iter()
            .try_for_each(|part| files(part, data_dir, &me));
    }
    // The system itself tells others where they may not make it.
    let above = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    let above =
        above.ancestors().skip(1).find_map(|folder| Some((folder.to_owned(), folder.metadata().ok()?)));
    match above {
        Some((folder, about)) if me.id == 0 && about.uid() != 0 => {
            Err(OwnerError::Folder { folder, owner: User::of(about.uid()), me })
        }
        _ => Ok(()),
    }
}

fn files(part: &Path, data_dir: &Path, me: &User) -> Result<(), OwnerError> {
    // What cannot be listed is told by whoever opens it.
    for entry in part.read_dir().into_iter().flatten().flatten() {
        let file = entry.path();
        let Ok(about) = entry.metadata() else { continue };
        let others = about.uid() != me.id && (about.is_file() || about.is_dir());
        if others && is_ours(&file) && !may_use(&file) {
            let (folder, owner) = (data_dir.to_owned(), User::of(about.uid()));
            return Err(OwnerError::File { file, folder, owner, me: me.clone() });
        }
    }
    Ok(())
}

/// Whether the server uses a file of such a name. What an administrator keeps beside it is none of its business.
fn is_ours(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let ending = file.extension().unwrap_or_default();
    ["key", "lock", "history", "format", "seen", "console_history"].contains(&&*name)
        || ["csv", "torn", "rejected", "log"].iter().any(|ours| ending == *ours)
}

fn may_use(file: &Path) -> bool {
    use rustix::fs::{Access, AtFlags, CWD, accessat};
    let wanted = Access::READ_OK | Access::WRITE_OK;
    accessat(CWD, file, wanted, AtFlags::EACCESS).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_the_names_of_the_machine() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n\nbroken\nveche:x:997:997::/var/lib/veche:/bin/false\n";
        assert_eq!(name_in(passwd, 997).as_deref(), Some("veche"));
        assert_eq!(name_in(passwd, 1), None);
        let nobody = User { id: 61_234, name: None };
        assert_eq!((nobody.to_string(), nobody.for_sudo()), ("user 61234".into(), "'#61234'".into()));
    }

    #[test]
    fn a_stranger_is_told_both_ways_out_and_root_the_one() {
        let user = |id: u32, name: &str| User { id, name: Some(name.to_owned()) };
        let told = |owner: User, me: User| {
            OwnerError::Folder { folder: "/var/lib/veche".into(), owner, me }.to_string()
        };
        let to_root = told(user(997, "veche"), user(0, "root"));
        assert!(
            to_root.contains("run it as veche: sudo -u veche") && !to_root.contains("chown"),
            "{to_root}"
        );
        let to_the_service = told(user(0, "root"), user(997, "veche"));
        assert!(to_the_service.contains("chown -R veche /var/lib/veche"), "{to_the_service}");
    }

    #[test]
    fn ones_own_directory_is_ones_own() {
        let place = tempfile::tempdir().unwrap();
        assert!(check(place.path()).is_ok());
        std::fs::write(place.path().join("key"), "").unwrap();
        assert!(check(place.path()).is_ok());
        assert!(check(&place.path().join("not/there/yet")).is_ok());
    }
}
