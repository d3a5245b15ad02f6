//! Settings: where they come from, which one wins, and what becomes of wrong ones.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::program::{Ended, end_of};
use crate::support::server::VECHE;

/// Runs `veche` in a folder with these arguments and environment variables, and nothing else.
fn veche(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Ended {
    let mut command = Command::new(VECHE);
    command.current_dir(folder).args(arguments).envs(environment.iter().copied());
    end_of(command, "")
}

/// The value of a setting in what `--print-config` shows.
fn setting(printed: &str, key: &str) -> toml::Value {
    let printed: toml::Table = printed.parse().expect("TOML");
    let (section, name) = key.split_once('.').expect("a section and a name");
    let found = printed.get(section).and_then(|section| section.get(name));
    found.unwrap_or_else(|| panic!("no {key} in {printed}")).clone()
}

// issue 2, line 19
#[test]
fn print_config_shows_the_settings_that_others_rely_on() {
    let folder = tempfile::tempdir().unwrap();
    let printed = veche(folder.path(), &["--print-config"], &[]).success();
    for (key, value) in [
        ("server.listen", "\"127.0.0.1:7878\""),
        ("server.data_dir", "\"data\""),
        ("server.strict_port", "false"),
        ("journal.durability", "\"fsync\""),
        ("auth.argon2_memory_kib", "19456"),
        ("auth.registration", "\"open\""),
        ("auth.session_idle_seconds", "2592000"),
        ("auth.session_max_seconds", "0"),
        ("limits.rooms_per_session", "500"),
        ("limits.presence_members", "200"),
    ] {
        assert_eq!(setting(&printed, key).to_string(), value, "{key}");
    }
    for key in [
        "limits.messages_per_second",
        "limits.logins_per_minute",
        "limits.registrations_per_minute",
        "limits.connections_per_address",
        "limits.joins_per_minute",
        "limits.password_changes_per_minute",
        "limits.new_rooms_per_minute",
        "limits.rooms_per_session",
        "limits.login_timeout_seconds",
    ] {
        assert!(setting(&printed, key).is_integer(), "{key}");
    }
    // What is printed is a file to start from.
    fs::write(folder.path().join("veche.toml"), &printed).unwrap();
    assert_eq!(veche(folder.path(), &["--print-config"], &[]).success(), printed);
    assert!(!folder.path().join("data").exists(), "and nothing was started");
}

// issue 2, line 19
#[test]
fn an_option_beats_the_environment_beats_the_file_beats_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let listen = |arguments: &[&str], environment: &[(&str, &str)]| {
        let arguments: Vec<_> = arguments.iter().copied().chain(["--print-config"]).collect();
        let printed = veche(folder.path(), &arguments, environment).success();
        setting(&printed, "server.listen").as_str().unwrap().to_owned()
    };
    let environment = [("VECHE_LISTEN", "127.0.0.1:2")];
    let option = ["--listen", "127.0.0.1:3"];
    assert_eq!(listen(&[], &[]), "127.0.0.1:7878");
    fs::write(folder.path().join("veche.toml"), "[server]\nlisten = \"127.0.0.1:1\"\n").unwrap();
    assert_eq!(listen(&[], &[]), "127.0.0.1:1");
    assert_eq!(listen(&[], &environment), "127.0.0.1:2");
    assert_eq!(listen(&option, &environment), "127.0.0.1:3");
    fs::write(folder.path().join("other.toml"), "[server]\nlisten = \"127.0.0.1:4\"\n").unwrap();
    assert_eq!(listen(&["--config", "other.toml"], &[]), "127.0.0.1:4", "named, it takes the other's place");
    assert_eq!(listen(&[], &[("VECHE_CONFIG", "other.toml")]), "127.0.0.1:4");
    let set = ["--set", "server.listen=127.0.0.1:5"];
    assert_eq!(listen(&set, &environment), "127.0.0.1:5");
    assert_eq!(listen(&[], &[("VECHE_SET", "server.listen=127.0.0.1:6")]), "127.0.0.1:6");
}

// issue 2, line 19
#[test]
fn every_option_has_its_environment_variable() {
    let folder = tempfile::tempdir().unwrap();
    let environment = [
        ("VECHE_DATA_DIR", "elsewhere"),
        ("VECHE_LOG_FILE", "log of mine"),
        ("VECHE_STRICT_PORT", "true"),
        ("VECHE_SET", "limits.bad_frames=7,journal.durability=os"),
    ];
    let printed = veche(folder.path(), &["--print-config"], &environment).success();
    for (key, value) in [
        ("server.data_dir", "\"elsewhere\""),
        ("server.log_file", "\"log of mine\""),
        ("server.strict_port", "true"),
        ("limits.bad_frames", "7"),
        ("journal.durability", "\"os\""),
    ] {
        assert_eq!(setting(&printed, key).to_string(), value, "{key}");
    }
}

// issue 2, line 19
#[test]
fn unknown_and_impossible_settings_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str], code: i32, words: &[&str]| {
        let told = veche(folder.path(), arguments, &[]).failure(code, words);
        assert_eq!(told.lines().count(), 1, "one sentence: {told}");
    };
    refused(
        &["--set", "limits.mesages_per_second=1"],
        2,
        &["mesages_per_second", "limits.messages_per_second"],
    );
    refused(&["--set", "samovar=1"], 2, &["samovar"]);
    refused(&["--set", "limits.bad_frames=many"], 2, &["limits.bad_frames", "many", "whole number"]);
    refused(&["--set", "limits.bad_frames=-1"], 2, &["limits.bad_frames", "-1"]);
    refused(&["--set", "journal.durability=maybe"], 2, &["journal.durability", "fsync", "os"]);
    refused(&["--set", "limits.bad_frames"], 2, &["KEY=VALUE"]);
    for (file, words) in [
        ("[limits]\nbad_frame = 1\n", ["veche.toml", "bad_frame", "limits.bad_frames"]),
        ("[auth]\n\nregistration = \"perhaps\"\n", ["veche.toml", "auth.registration", "3"]),
        ("[limits\n", ["veche.toml", "1", ""]),
    ] {
        fs::write(folder.path().join("veche.toml"), file).unwrap();
        refused(&[], 1, &words);
        refused(&["--print-config"], 1, &words);
    }
    fs::remove_file(folder.path().join("veche.toml")).unwrap();
    refused(&["--config", "missing.toml"], 1, &["missing.toml"]);
    assert!(!folder.path().join("data").exists(), "nothing was begun");
}

// issue 2, line 19
#[test]
fn wrong_arguments_end_with_status_2() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&["--samovar"][..], &["brew"], &["--listen"], &["account"], &["account", "add"]] {
        veche(folder.path(), arguments, &[]).failure(2, &[]);
    }
    let help = veche(folder.path(), &["--help"], &[]).success();
    for option in
        ["--config", "--data-dir", "--listen", "--strict-port", "--log-file", "--set", "VECHE_DATA_DIR"]
    {
        assert!(help.contains(option), "{option} is not in the help");
    }
    assert!(veche(folder.path(), &["--version"], &[]).success().starts_with("veche "));
}
