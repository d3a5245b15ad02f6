//! What a file that only grows promises, with real files, a full device and a real size limit.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use super::*;
use crate::disk::real::{make_folder, open_folder};

const HEADER: &[u8] = b"a,b\n";

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn open(path: &Path) -> io::Result<AppendFile> {
    let folder = open_folder(path.parent().expect("a folder"))?;
    AppendFile::open(&*folder, path.file_name().and_then(|name| name.to_str()).expect("a name"), HEADER)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[test]
fn a_new_or_empty_file_gets_its_header_once() {
    let dir = dir();
    let path = dir.path().join("x.csv");
    for round in 0..2 {
        let mut file = open(&path).expect("it opens");
        assert_eq!(file.len(), 4 + round * 2);
        assert_eq!(file.append(b"1\n").expect("room on the disk"), 4 + round * 2);
        file.sync().expect("it syncs");
    }
    assert_eq!(fs::read(&path).expect("it is there"), b"a,b\n1\n1\n");
    assert_eq!(mode(&path), 0o600);
    fs::write(&path, "").expect("emptied");
    assert_eq!(open(&path).expect("it opens").len(), 4);
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1, "no temporary file stays");
}

#[test]
fn links_and_folders_are_refused() {
    let dir = dir();
    let target = dir.path().join("target");
    fs::write(&target, "secret").expect("written");
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&target, &link).expect("linked");
    assert!(open(&link).is_err());
    assert!(open(dir.path()).is_err());
    assert_eq!(fs::read(&target).expect("it is there"), b"secret");
}

#[test]
fn it_is_noticed_when_the_file_is_no_longer_in_place() {
    let dir = dir();
    let (path, other) = (dir.path().join("x.csv"), dir.path().join("y.csv"));
    let file = open(&path).expect("it opens");
    assert!(file.in_place().expect("told"));
    fs::rename(&path, &other).expect("moved");
    assert!(!file.in_place().expect("told"), "moved");
    fs::copy(&other, &path).expect("copied");
    assert!(!file.in_place().expect("told"), "replaced by its own copy");
    fs::rename(&other, &path).expect("moved back");
    assert!(file.in_place().expect("told"), "back again");
    fs::write(&path, "").expect("emptied");
    assert!(!file.in_place().expect("told"), "truncated");
    fs::remove_file(&path).expect("removed");
    assert!(!file.in_place().expect("told"), "deleted");
}

#[test]
fn a_cut_is_a_cut_and_never_grows() {
    let dir = dir();
    let mut file = open(&dir.path().join("x")).expect("it opens");
    file.append(b"torn").expect("room on the disk");
    file.cut(4).expect("cut");
    file.cut(100).expect("nothing to do");
    assert_eq!(file.len(), 4);
    assert_eq!(file.append(b"1\n").expect("room on the disk"), 4);
    assert_eq!(fs::read(file.path()).expect("it is there"), b"a,b\n1\n");
}

#[test]
fn a_failed_undo_or_fsync_poisons_for_good() {
    // A device cannot be cut, so the undo of the failed write fails too.
    let mut full = AppendFile::over_device("/dev/full");
    assert!(matches!(full.append(b"x"), Err(AppendError::Poisoned(_))));
    // A character device has nothing to sync.
    let mut null = AppendFile::over_device("/dev/null");
    null.append(b"x").expect("it takes everything");
    assert!(matches!(null.sync(), Err(AppendError::Poisoned(_))));
    assert!(matches!(null.append(b"x"), Err(AppendError::Poisoned(_))), "no second try");
    assert!(matches!(null.sync(), Err(AppendError::Poisoned(_))), "no second try");
}

#[test]
fn a_file_size_limit_refuses_and_leaves_the_file_as_it_was() {
    // The limit binds a whole process, so this test runs `limited_child` in one of its own, with SIGXFSZ
    // ignored as the server does it.
    let dir = dir();
    let test_binary = std::env::current_exe().expect("this binary");
    let output = Command::new("sh")
        .args(["-c", r#"trap "" XFSZ; ulimit -f 8; exec "$0" "$@""#])
        .arg(test_binary)
        .args(["--exact", "disk::append::tests::limited_child", "--ignored"])
        .env("VECHE_TEST_DIR", dir.path())
        .output()
        .expect("a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(fs::read(dir.path().join("x")).expect("it is there"), b"a,b\n1\n2\n", "the child ran");
}

#[test]
#[ignore = "runs as a child of the test above, under a file size limit"]
fn limited_child() {
    let Some(dir) = std::env::var_os("VECHE_TEST_DIR") else { return };
    let mut file = open(&Path::new(&dir).join("x")).expect("it opens");
    file.append(b"1\n").expect("under the limit");
    // The first part of this fits under the limit: a short write, then EFBIG.
    assert!(matches!(file.append(&[b'x'; 100_000]), Err(AppendError::Refused(_))));
    assert_eq!(file.len(), 6);
    assert!(file.in_place().expect("told"), "cut back to its length before");
    file.append(b"2\n").expect("there is room for a little");
    file.sync().expect("it syncs");
}

#[test]
fn a_replacement_is_whole_or_nothing() {
    let dir = dir();
    let folder = open_folder(dir.path()).expect("a folder");
    let path = dir.path().join("accounts.csv");
    replace(&*folder, "accounts.csv", b"one").expect("written");
    fs::write(dir.path().join(".accounts.csv.tmp"), "left by a crash").expect("written");
    replace(&*folder, "accounts.csv", b"two").expect("written over");
    assert_eq!(fs::read(&path).expect("it is there"), b"two");
    assert_eq!(mode(&path), 0o600);
    let failed = replace_with(&*folder, "accounts.csv", |file| {
        file.write_all(b"half")?;
        Err(io::Error::other("no more"))
    });
    assert!(matches!(failed, Err(ReplaceError::Untouched(_))));
    assert_eq!(fs::read(&path).expect("it is there"), b"two");
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1, "no temporary file stays");
}

#[test]
fn folders_are_made_for_their_owner_alone() {
    let dir = dir();
    let path = dir.path().join("a/b");
    make_folder(&path).expect("made");
    assert_eq!(mode(&path), 0o700);
    fs::write(dir.path().join("file"), "").expect("written");
    assert!(make_folder(&dir.path().join("file")).is_err());
}
