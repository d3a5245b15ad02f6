//! What documents say of the code is true: links, files, functions, types, numbers, examples.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use veche::actors::console::commands::{TABLE, usage};
use veche::codec::HEADER_BYTES;
use veche::model::{ErrorCode, Reference, RequestKind};
use veche::wire::Wire;
use veche::wire::json::{RawRequest, ServerFrame, encode};

use super::{code, files, read, root, sources};

/// Markdown that is ours: in the root and in `docs/` and `data/`.
fn documents() -> Vec<String> {
    let in_root = fs::read_dir(root()).expect("the root is readable");
    let names = in_root.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut found: Vec<_> = names.filter(|name| name.ends_with(".md")).collect();
    found.extend(files("docs", ".md"));
    found.push("data/README.md".into());
    found
}

#[test]
fn links_between_documents_lead_somewhere() {
    for path in documents() {
        let text = read(&path);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let folder = Path::new(&path).parent().unwrap_or(Path::new(""));
            assert!(root().join(folder).join(target).exists(), "{path}: the link to {link} leads nowhere");
        }
    }
}

/// Words in `code` that name something of others: of the language, of libraries, of systemd and the kernel.
const FOREIGN: &[&str] = &[
    "Arbiter",
    "Debug",
    "Drop",
    "ExecStart",
    "FramedRead",
    "LimitNOFILE",
    "LocalRuntime",
    "Option",
    "Rc",
    "Recipient",
    "SyncArbiter",
    "VmRSS",
    "do_send",
    // A name of people's.
    "Alice",
];

/// The documents that tell of the code itself.
const ON_THE_CODE: [&str; 2] = ["ARCHITECTURE.md", "CONTRIBUTING.md"];

/// Documents that tell what is, not what was.
fn present() -> impl Iterator<Item = String> {
    documents().into_iter().filter(|path| path != "CHANGELOG.md").chain(["src/lib.rs".into()])
}

/// What a document puts into `code`, examples in blocks of their own aside; each with its line.
fn named(text: &str) -> Vec<(usize, &str)> {
    let (mut found, mut in_block) = (Vec::new(), false);
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().trim_start_matches("//! ").starts_with("```") {
            in_block = !in_block;
        } else if !in_block {
            found.extend(line.split('`').skip(1).step_by(2).map(|name| (number + 1, name)));
        }
    }
    found
}

/// Files, when they look like ones of this repository. `NAME` in one stands for any.
#[test]
fn files_that_documents_name_are_there() {
    for path in present() {
        for (line, name) in named(&read(&path)) {
            let ours = ["src/", "tests/", "docs/", "benches/", "client/", ".ci/"];
            let placeholder = name.contains([' ', '*', '{', '…']) || name.contains("NAME");
            if ours.iter().any(|start| name.starts_with(start)) && !placeholder {
                assert!(root().join(name).exists(), "{path}:{line} names `{name}`, which is not there");
            }
        }
    }
}

/// A path of the code, as documents write it: `Type`, `Type::function`, `module::Type`, `macro!`, `function()`,
/// and in those on the code `snake_case` and `CONSTANT`, too.
fn code_path(name: &str, on_the_code: bool) -> Option<Vec<&str>> {
    let bare = name.strip_suffix("()").or_else(|| name.strip_suffix('!')).unwrap_or(name);
    let parts: Vec<&str> = bare.split("::").collect();
    let is_word = |part: &&str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    let is_type = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_uppercase()) && word.contains(|c: char| c.is_ascii_lowercase())
    };
    let is_code = parts.len() > 1
        || bare.len() < name.len()
        || is_type(bare)
        || on_the_code && bare.contains('_') && !bare.starts_with("VECHE_");
    (is_code && parts.iter().all(is_word)).then_some(parts)
}

/// What a file of code defines: items, variants and members.
struct Source {
    path: String,
    defined: BTreeSet<String>,
    /// Types that it says something of, by `impl`.
    implemented: BTreeSet<String>,
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

fn source(path: String) -> Source {
    let (mut defined, mut implemented) = (BTreeSet::new(), BTreeSet::new());
    for (_, line) in code(&path) {
        let line = line.trim_start();
        if line.starts_with("impl") {
            implemented.extend(words(line).map(str::to_owned));
        }
        let kinds = ["fn", "struct", "enum", "trait", "type", "const", "static", "mod", "macro_rules"];
        let mut rest = words(line);
        if rest.any(|word| kinds.contains(&word)) {
            defined.extend(rest.next().map(str::to_owned));
        }
        // A variant or a member begins its line.
        let line = line.strip_prefix("pub ").unwrap_or(line);
        let end = line.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(line.len());
        if line[end..].is_empty() || line[end..].starts_with([',', '(', ':', ' ']) {
            defined.insert(line[..end].to_owned());
        }
    }
    let stem = Path::new(&path).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    defined.extend(stem);
    Source { path, defined, implemented }
}

/// Types, functions, macros, constants, members. The second of two names stands in a file that defines the first,
/// or implements it, or is it.
#[test]
fn names_of_the_code_that_documents_use_are_there() {
    let all: Vec<Source> = sources().into_iter().chain(files("benches", ".rs")).map(source).collect();
    let mut missing = Vec::new();
    for path in present() {
        let on_the_code = ON_THE_CODE.contains(&path.as_str());
        let text = read(&path);
        for (line, name) in named(&text) {
            let Some(parts) = code_path(name, on_the_code) else { continue };
            if parts.iter().any(|part| FOREIGN.contains(part)) {
                continue;
            }
            let has = |source: &Source| match parts.as_slice() {
                [.., owner, last] => {
                    let knows = source.defined.contains(*owner) || source.implemented.contains(*owner);
                    let is = source.path.contains(&format!("/{owner}/"))
                        || source.path.contains(&format!("/{owner}.rs"));
                    (knows || is) && source.defined.contains(*last)
                }
                [one] => source.defined.contains(*one),
                [] => false,
            };
            if !all.iter().any(has) {
                missing.push(format!("{path}:{line} names `{name}`, which is not there"));
            }
        }
    }
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
}

/// The recipes of `CONTRIBUTING.md`: what a step that names files tells to change, stands in one of them.
#[test]
fn what_a_recipe_names_is_in_the_file_that_it_names() {
    let text = read("CONTRIBUTING.md");
    let mut steps: Vec<Vec<&str>> = Vec::new();
    for line in text.lines() {
        if line.starts_with(|c: char| c.is_ascii_digit()) {
            steps.push(vec![line]);
        } else if line.starts_with(' ') {
            steps.last_mut().expect("a step that goes on has begun").push(line);
        } else {
            steps.push(Vec::new()); // and so ends the step before
        }
    }
    for step in steps.iter().map(|step| step.join("\n")) {
        let names = named(&step);
        let is_file =
            |name: &str| name.starts_with("src/") && name.ends_with(".rs") && !name.contains("NAME");
        let places: Vec<String> =
            names.iter().filter(|(_, name)| is_file(name)).map(|(_, name)| read(name)).collect();
        if places.is_empty() {
            continue;
        }
        for name in names.iter().filter_map(|(_, name)| code_path(name, true)?.pop()) {
            let is_there = places.iter().any(|place| words(place).any(|word| word == name));
            let elsewhere = FOREIGN.contains(&name) || step.contains(&format!("`{name}` does"));
            assert!(is_there || elsewhere, "`{name}` is in none of the files of its step:\n{step}");
        }
    }
}

/// The settings by their names, with their defaults.
fn settings() -> BTreeMap<String, String> {
    let text = veche::config::Config::default().to_toml().expect("the defaults are TOML");
    let (mut section, mut found) = ("", BTreeMap::new());
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name;
        } else if let Some((name, value)) = line.split_once(" = ") {
            found.insert(format!("{section}.{name}"), value.to_owned());
        }
    }
    found
}

/// Settings are there, but for the two paths that have no default.
#[test]
fn settings_that_documents_name_are_there() {
    let settings = settings();
    let sections: BTreeSet<&str> = settings.keys().filter_map(|key| key.split('.').next()).collect();
    for path in present() {
        for (line, name) in named(&read(&path)) {
            let Some((section, rest)) = name.split_once('.') else { continue };
            let is_key = sections.contains(section)
                && rest.chars().all(|c| c.is_ascii_lowercase() || "_0123456789".contains(c));
            let known = settings.contains_key(name)
                || ["server.log_file", "auth.key_file"].contains(&name)
                || root().join("src").join(name.replace('.', "/")).exists()
                || rest == "rs"
                || rest == "toml";
            assert!(!is_key || known, "{path}:{line} names the setting `{name}`, which is not there");
        }
    }
}

/// Numbers: `64 writes (`WRITES_PER_TURN`)` and `100 sessions (`limits.sessions_per_account`)` say what the code
/// says.
#[test]
fn numbers_that_documents_give_are_those_of_the_code() {
    let (settings, constants) = (settings(), constants());
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for path in present() {
        let text = read(&path);
        for (at, _) in text.match_indices("(`") {
            let name = text[at + 2..].split('`').next().unwrap_or_default();
            let values: Vec<u64> = match settings.get(name) {
                Some(value) => value.parse().into_iter().collect(),
                None => constants.get(name).cloned().unwrap_or_default(),
            };
            let sentence = text[..at].rsplit(['.', '(', ')', '|', ';', ':', '\n']).next().unwrap_or_default();
            let is_constant = !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
            if values.is_empty() && is_constant {
                wrong.push(format!("{path}: {sentence}(`{name}`), but there is no such constant"));
            }
            let (Some(told), false) = (last_number(sentence), values.is_empty()) else { continue };
            seen += 1;
            if !values.contains(&told) {
                wrong.push(format!("{path}: {sentence}(`{name}`), but it is {values:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(seen >= 10, "only {seen} numbers were found");
}

/// The last number of a sentence, in bytes or milliseconds where it has such a unit: `65 536`, `16 KiB`, `2 s`.
fn last_number(sentence: &str) -> Option<u64> {
    let words: Vec<&str> = sentence.split([' ', '*']).filter(|word| !word.is_empty()).collect();
    let is_number = |word: &&str| word.bytes().all(|byte| byte.is_ascii_digit());
    let last = words.iter().rposition(is_number)?;
    let is_group = |word: &&str| is_number(word) && word.len() == 3;
    let mut first = last;
    while first > 0 && is_group(&words[first]) && is_number(&words[first - 1]) {
        first -= 1;
    }
    let number: u64 = words[first..=last].concat().parse().ok()?;
    let unit = match words.get(last + 1).copied() {
        Some("KiB") => 1 << 10,
        Some("MiB") => 1 << 20,
        _ => 1,
    };
    Some(number * unit)
}

/// Constants by their names, with the values that files give them; times in milliseconds.
fn constants() -> BTreeMap<String, Vec<u64>> {
    let mut found: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (_, line) in sources().iter().flat_map(|path| code(path)) {
        let line = line.trim_start();
        let line = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) ")).unwrap_or(line);
        let Some((name, rest)) = line.strip_prefix("const ").and_then(|rest| rest.split_once(':')) else {
            continue;
        };
        let Some(value) = rest.split_once(" = ").and_then(|(_, value)| value.strip_suffix(';')) else {
            continue;
        };
        let (value, unit) = match value.strip_suffix(')') {
            Some(time) => match (time.split_once("from_secs("), time.split_once("from_millis(")) {
                (Some((_, value)), _) => (value, 1_000),
                (_, Some((_, value))) => (value, 1),
                _ => continue,
            },
            None => (value, 1),
        };
        let factors = value.split(" * ").map(|factor| factor.replace('_', "").parse::<u64>());
        if let Ok(product) = factors.product::<Result<u64, _>>() {
            found.entry(name.to_owned()).or_default().push(product * unit);
        }
    }
    found
}

#[test]
fn numbers_are_read_with_their_groups_and_units() {
    assert_eq!(last_number("at most 64 frames and 16 KiB a turn "), Some(16_384));
    assert_eq!(last_number("up to 10 000 and 65 536 unless "), Some(65_536));
    assert_eq!(last_number("**more than 20** such frames "), Some(20));
    assert_eq!(last_number("none "), None);
}

#[test]
fn the_protocol_document_has_every_request_and_code() {
    let text = read("docs/protocol.md");
    for kind in RequestKind::ALL {
        assert!(text.contains(&format!("### `{}`", kind.name())), "no section on `{}`", kind.name());
    }
    for code in ErrorCode::ALL {
        assert!(text.contains(&format!("| `{}` |", code.as_str())), "no row for `{}`", code.as_str());
    }
}

/// The examples: what a client says stands behind `→ `, what the server says behind `← `.
#[test]
fn every_example_of_the_protocol_document_is_true() {
    let (mut requests, mut frames) = (0, 0);
    let text = read("docs/protocol.md");
    for (number, line) in text.lines().enumerate().map(|(number, line)| (number + 1, line)) {
        if let Some(payload) = line.strip_prefix("→ ") {
            let raw =
                RawRequest::parse(payload.as_bytes()).unwrap_or_else(|why| panic!("line {number}: {why}"));
            let kind = raw.kind().unwrap_or_else(|why| panic!("line {number}: {why}"));
            raw.to_request(kind, &veche::model::Spellings::default())
                .unwrap_or_else(|why| panic!("line {number}: {why}"));
            requests += 1;
        } else if let Some(payload) = line.strip_prefix("← ") {
            let (frame, reference) =
                ServerFrame::parse(payload.as_bytes()).unwrap_or_else(|why| panic!("line {number}: {why}"));
            let reference = reference.as_deref().and_then(Reference::parse);
            let written = encode::frame(Wire::Native, &frame, reference.as_ref());
            let written = String::from_utf8_lossy(&written[HEADER_BYTES..]).into_owned();
            assert_eq!(payload, written, "line {number}: the server would write it like this");
            frames += 1;
        }
    }
    assert!(requests >= RequestKind::ALL.len() && frames >= RequestKind::ALL.len());
}

#[test]
fn the_readme_has_every_console_command() {
    let text = read("README.md");
    for entry in &TABLE {
        assert!(text.contains(&format!("`{}`", usage(entry))), "README.md lacks `{}`", usage(entry));
    }
}
