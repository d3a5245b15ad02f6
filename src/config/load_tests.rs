use super::*;
use crate::config::{Durability, Registration};

fn source(options: Overrides, environment: Overrides) -> ConfigSource {
    ConfigSource::new(options, environment)
}

fn with_file(text: &str) -> (tempfile::TempDir, Overrides) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("veche.toml");
    std::fs::write(&path, text).unwrap();
    (place, Overrides { config: Some(path), ..Overrides::default() })
}

fn set(pairs: &[&str]) -> Overrides {
    Overrides { set: pairs.iter().map(|pair| (*pair).to_owned()).collect(), ..Overrides::default() }
}

fn error_of(options: Overrides) -> String {
    source(options, Overrides::default()).load().expect_err("refused").to_string()
}

#[test]
fn nothing_said_means_the_defaults() {
    assert_eq!(source(Overrides::default(), Overrides::default()).load().unwrap(), Config::default());
}

#[test]
fn option_beats_environment_beats_file_beats_default() {
    let (_place, file) = with_file(
        "[server]\nlisten = '10.0.0.1:1'\nmotd = 'file'\n[limits]\nrooms = 1\nconnections = 1\n[auth]\nregistration = 'closed'\n",
    );
    let environment = Overrides {
        config: Some("/nonexistent/veche.toml".into()),
        listen: Some("10.0.0.2:2".into()),
        set: vec!["limits.rooms=2".into(), "limits.connections=2".into()],
        ..Overrides::default()
    };
    let options = Overrides {
        listen: Some("10.0.0.3:3".into()),
        set: vec!["limits.rooms=3".into(), "server.listen=10.0.0.4:4".into()],
        ..file
    };
    let config = source(options, environment).load().unwrap();
    assert_eq!(config.server.listen, "10.0.0.3:3", "the option of its own beats --set");
    assert_eq!((config.limits.rooms, config.limits.connections), (3, 2));
    assert_eq!(config.server.motd, "file");
    assert_eq!(config.auth.registration, Registration::Closed);
    assert_eq!(config.limits.bad_frames, 20);
}

#[test]
fn a_value_is_toml_and_a_bare_word_a_text() {
    let options = set(&[
        "journal.durability=os",
        "server.motd=Hello, world = all",
        "server.data_dir=2026",
        "limits.rooms = 0x10",
        "server.strict_port=true",
        "auth.key_file='a b'",
    ]);
    let config = source(options, Overrides::default()).load().unwrap();
    assert_eq!(config.journal.durability, Durability::Os);
    assert_eq!(config.server.motd, "Hello, world = all");
    assert_eq!(config.server.data_dir, Path::new("2026"));
    assert_eq!(config.limits.rooms, 16);
    assert!(config.server.strict_port);
    assert_eq!(config.auth.key_file.as_deref(), Some(Path::new("a b")));
}

#[test]
fn errors_name_the_setting_its_place_and_what_was_meant() {
    let (_place, file) = with_file("[limits]\n\nmesages_per_second = 0\n");
    let text = error_of(file);
    assert!(text.contains("veche.toml, line 3:"), "{text}");
    assert!(text.contains("\"limits.mesages_per_second\"; did you mean \"limits.messages_per_second\"?"));

    let (_place, file) = with_file("\n[limits]\nrooms = -1\n");
    let text = error_of(file);
    assert!(text.contains("veche.toml, line 3: limits.rooms = -1 will not do"), "{text}");

    for (pair, wanted) in [
        ("limits.max_frame_bytes=100", "16384"),
        ("limits.max_frame_bytes=16777217", "16777216"),
        ("limits.max_frame_bytes=1048576", "outbox_bytes"),
        ("auth.argon2_memory_kib=7", "from 8 to 1048576"),
        ("auth.argon2_passes=0", "from 1"),
        ("auth.registration=ajar", "\"open\" or \"closed\""),
        ("server.listen=nowhere", "HOST:PORT"),
        ("server.strict_port=maybe", "true or false"),
        ("limits.key_seconds=9223372036854775807", "whole number"),
        ("limits.key_seconds=99999999999999999999", "whole number"),
        ("limits.key_seconds=1.5", "whole number"),
        ("samovar=1", "--print-config"),
        ("limits={}", "no setting"),
        ("server.motd=\"x", "quotes"),
        ("limits.rooms", "KEY=VALUE"),
    ] {
        let text = error_of(set(&[pair]));
        assert!(text.starts_with("--set") || text.starts_with("with"), "{pair}: {text}");
        assert!(text.contains(wanted), "{pair}: {text}");
    }
}

#[test]
fn a_file_that_is_no_toml_is_told_with_its_line() {
    for (text, line) in [("[server]\nlisten = \n", 2), ("x", 1), ("[limits]\nrooms=1\nrooms=2\n", 3)] {
        let (_place, file) = with_file(text);
        let error = error_of(file);
        assert!(error.contains(&format!("line {line}: this is not TOML")), "{error}");
    }
    for (text, key) in [("listen = 'x'\n", "server.listen"), ("[limit]\nrooms = 1\n", "there is no setting")]
    {
        let (_place, file) = with_file(text);
        let error = error_of(file);
        assert!(error.contains(key), "{error}");
    }
}

#[test]
fn a_named_file_that_is_missing_is_an_error() {
    let options = Overrides { config: Some("/nonexistent/veche.toml".into()), ..Overrides::default() };
    assert!(error_of(options).contains("cannot read the configuration file /nonexistent/veche.toml"));
}

#[test]
fn the_environment_speaks_for_every_option() {
    let variables = |name: &str| {
        let value = match name {
            "VECHE_CONFIG" => "a.toml",
            "VECHE_DATA_DIR" => "/srv/veche",
            "VECHE_LISTEN" => "[::1]:0",
            "VECHE_STRICT_PORT" => "Yes",
            "VECHE_LOG_FILE" => "",
            "VECHE_SET" => "limits.rooms=1,server.motd=\"a, \\\"b\"\nlimits.connections=2,",
            _ => return None,
        };
        Some(OsString::from(value))
    };
    let overrides = Overrides::from_variables(variables).unwrap();
    assert_eq!(overrides.config.as_deref(), Some(Path::new("a.toml")));
    assert_eq!(overrides.strict_port, Some(true));
    assert_eq!(overrides.log_file, None);
    assert_eq!(overrides.set, ["limits.rooms=1", "server.motd=\"a, \\\"b\"", "limits.connections=2"]);

    let config = source(Overrides::default(), Overrides { config: None, ..overrides }).load().unwrap();
    assert_eq!(config.server.data_dir, Path::new("/srv/veche"));
    assert_eq!(config.server.listen, "[::1]:0");
    assert_eq!(config.server.motd, "a, \"b");

    let bad = Overrides::from_variables(|name| (name == "VECHE_STRICT_PORT").then(|| "perhaps".into()));
    assert!(bad.unwrap_err().to_string().starts_with("VECHE_STRICT_PORT: "));
}

#[test]
fn what_is_printed_can_be_read_back() {
    let options = set(&["server.log_file=x.log", "limits.rooms=7", "server.motd=Grüße \"alle\""]);
    let config = source(options, Overrides::default()).load().unwrap();
    let (_place, file) = with_file(&config.to_toml().unwrap());
    assert_eq!(source(file, Overrides::default()).load().unwrap(), config);
}

/// Every setting is in the example, commented out, and says its default.
#[test]
fn the_example_file_agrees_with_the_defaults() {
    let example = include_str!("../../data/veche.example.toml");
    let (_place, file) = with_file(example);
    assert_eq!(source(file, Overrides::default()).load().unwrap(), Config::default(), "as it is");

    // A line of the form "#name = value" is a setting; prose begins with "# ".
    let uncommented: String = example
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => setting,
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    let given = parse_file(&uncommented, Path::new("veche.example.toml")).unwrap();
    let mut keys: Vec<String> = given.iter().map(|given| given.key.clone()).collect();
    keys.sort();
    assert_eq!(keys, settings::keys());
    let mut config = lay_over_defaults(given).unwrap();
    assert_eq!(config.log_file(), Path::new("data/veche.log"));
    config.server.log_file = None;
    config.auth.key_file = None;
    assert_eq!(config, Config::default());
}

#[test]
fn the_operators_manual_names_every_setting_with_its_default() {
    let manual = include_str!("../../docs/operating.md");
    let defaults = Table::try_from(Config::default()).unwrap();
    for key in settings::keys() {
        let (section, name) = key.split_once('.').unwrap();
        let row = match defaults[section].get(name) {
            Some(value) => format!("| `{key}` | `{value}` |"),
            None => format!("| `{key}` | `DATA_DIR/"),
        };
        assert!(manual.contains(&row), "docs/operating.md has no row that begins with {row}");
    }
}

#[test]
fn addresses_are_hosts_and_ports() {
    use crate::config::parse_listen;
    assert_eq!(parse_listen("127.0.0.1:7878"), Ok(("127.0.0.1", 7878)));
    assert_eq!(parse_listen("[::]:0"), Ok(("::", 0)));
    assert_eq!(parse_listen("localhost:65535"), Ok(("localhost", 65535)));
    for wrong in
        ["", ":1", "host", "host:", "host:65536", "::1:5", "[::1]", "host:-1", "a b:1", "[]:1", "h:+1"]
    {
        assert!(parse_listen(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_former_name_counts_and_is_told() {
    let (_place, file) = with_file("[journal]\ngather_ms = 7\n");
    let config = source(file, Overrides::default()).load().unwrap();
    assert_eq!(config.journal.linger_ms, 7);
    let [note] = config.notes.as_slice() else { panic!("{:?}", config.notes) };
    assert!(note.contains("veche.toml, line 2: journal.gather_ms is called journal.linger_ms now"), "{note}");
    let config = source(set(&["journal.linger_ms=3"]), set(&["journal.gather_ms=5"])).load().unwrap();
    assert_eq!(config.journal.linger_ms, 3, "an option beats the environment under either name");
    assert!(config.notes[0].starts_with("VECHE_SET: "), "{:?}", config.notes);
}
