//! The key file: made once, and missed when it is not what it was.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::Arc;

use crate::support::files::lines;
use crate::support::{Options, Server};

/// A stopped server that has an account, and its key file.
fn with_an_account() -> (Server, PathBuf) {
    let mut server = Server::start();
    drop(server.register("alice"));
    server.stop();
    let key = server.data_dir().join("key");
    (server, key)
}

/// The server must not start, and say these words in one sentence; nothing of its files may change.
fn refuses_to_start(server: &Server, words: &[&str]) {
    let file = server.data_dir().join("clients.csv");
    let before = fs::read(&file).expect("there are accounts");
    match Options::new().try_start_in(&server.dir) {
        Ok(_) => panic!("it started"),
        Err((status, stderr)) => {
            assert_eq!(status.code(), Some(1), "{stderr}");
            assert_eq!(stderr.lines().count(), 1, "{stderr}");
            for word in words {
                assert!(stderr.contains(word), "{word:?} is not in {stderr}");
            }
        }
    }
    assert_eq!(fs::read(&file).expect("there are accounts"), before);
}

// issue 2, line 8
#[test]
fn the_key_is_made_at_the_first_start_for_its_owner_alone() {
    let server = Server::start();
    let key = server.data_dir().join("key");
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let mut server = server;
    let before = fs::read(&key).unwrap();
    server.restart();
    assert_eq!(fs::read(&key).unwrap(), before, "once");
}

// issue 2, line 8
#[test]
fn sealed_rows_without_their_key_are_an_error_and_never_a_new_key() {
    let (server, key) = with_an_account();
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    refuses_to_start(&server, &["key", "missing", "clients.csv"]);
    assert!(!key.exists(), "no new key");
    fs::write(&key, kept).unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    server.start_again().login("alice");
}

// issue 2, line 8
#[test]
fn another_key_is_refused() {
    let (server, key) = with_an_account();
    let (_other, others) = with_an_account();
    fs::copy(others, &key).unwrap();
    refuses_to_start(&server, &["another key"]);
}

// issue 2, line 8
#[test]
fn a_key_that_was_cut_short_is_refused() {
    let (server, key) = with_an_account();
    let whole = fs::read_to_string(&key).unwrap();
    for length in [0, 5, whole.trim_end().len() - 1] {
        fs::write(&key, &whole[..length]).unwrap();
        refuses_to_start(&server, &["cut short or damaged"]);
    }
    fs::write(&key, whole).unwrap();
    server.start_again().login("alice");
}

// issue 2, line 8
#[test]
fn a_key_that_others_can_read_is_refused() {
    let (server, key) = with_an_account();
    for mode in [0o644, 0o640, 0o604, 0o660] {
        fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
        refuses_to_start(&server, &["chmod 600"]);
    }
}

// issue 2, line 8
#[test]
fn a_key_behind_a_link_is_refused() {
    let (server, key) = with_an_account();
    let elsewhere = server.dir.path().join("elsewhere");
    fs::rename(&key, &elsewhere).unwrap();
    symlink(&elsewhere, &key).unwrap();
    refuses_to_start(&server, &["link"]);
}

// issue 2, line 8
#[test]
fn the_place_of_the_key_is_a_setting() {
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let place = dir.path().join("the key");
    let setting = format!("auth.key_file={}", place.display());
    let mut server = Options::new().set(&setting).start_in(Arc::clone(&dir));
    drop(server.register("alice"));
    assert_eq!(lines(&place).len(), 1);
    assert!(!server.data_dir().join("key").exists());
    server.restart();
    server.login("alice");
}
