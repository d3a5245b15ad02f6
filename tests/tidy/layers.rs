//! Who may import whom, and that a name means one thing. `ARCHITECTURE.md` has the table of rooms that this
//! keeps true; `tests/imports` shows what is.

use std::collections::BTreeMap;
use std::process::Command;

use super::{code, files, is_test_file, root};

/// Folders of `src/` that may import nothing of ours but these.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    // The domain's own floor.
    ("model", &[]),
    // Pure decisions: what they decide about, and the bounds that they keep.
    ("chat", &["model", "config"]),
    ("codec", &[]),
    ("transport", &[]),
    ("disk", &[]),
    // Bytes are one thing, and what they say is another; neither knows who says it.
    ("wire", &["codec", "model"]),
    // Both are shared with the client, and with everything that prints.
    ("sanitize", &[]),
    ("suggest", &[]),
];

/// Folders of `src/` that may not import these.
const MAY_NOT_IMPORT: &[(&str, &[&str])] = &[
    ("store", &["actors", "wire", "codec", "transport", "control", "cli", "server"]),
    ("secrets", &["actors", "wire", "codec", "transport", "chat", "control", "cli", "server"]),
    ("actors", &["control", "cli", "server"]),
    ("control", &["cli", "server", "wire", "codec"]),
];

/// The edge: the files of `src/actors/` in which values become bytes, by the beginnings of their paths. The others
/// send values, and know no wire.
const EDGE: [&str; 5] = [
    "actors/fanout",
    "actors/session",
    "actors/connection",
    "actors/session_context",
    // The listener's port tells which wire a new connection speaks.
    "actors/messages/fanout",
];

/// The cast. The other files of `src/actors/` are what they share.
const CAST: [&str; 8] = ["auth", "console", "directory", "fanout", "journal", "listener", "room", "session"];

/// One import: the file below `src/`, and the path of the module that it names.
struct Import {
    file: String,
    module: Vec<String>,
}

impl Import {
    /// The folder, or file, right below `src/` that imports.
    fn from(&self) -> &str {
        self.file.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }

    /// What it imports, right below `src/`.
    fn to(&self) -> &str {
        self.module.first().map_or("", String::as_str)
    }

    /// The actor in whose file or folder it stands.
    fn importing_actor(&self) -> Option<&str> {
        let name = self.file.strip_prefix("actors/")?.split('/').next()?.trim_end_matches(".rs");
        CAST.into_iter().find(|actor| *actor == name)
    }

    /// The actor whose file or folder it names.
    fn imported_actor(&self) -> Option<&str> {
        let name = self.module.get(1).filter(|_| self.to() == "actors")?;
        CAST.into_iter().find(|actor| actor == name)
    }
}

fn imports() -> Vec<Import> {
    let output = Command::new(root().join("tests/imports")).arg("--pairs").output();
    let output = output.expect("this test needs python3; install it, or run the tests by tests/run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let import = |line: &str| {
        let (file, module) = line.split_once(' ').expect("two words");
        Import { file: file.to_owned(), module: module.split("::").map(str::to_owned).collect() }
    };
    text.lines().map(import).collect()
}

/// Asserts that there are none, and tells all of them.
fn assert_none<'a>(what: &str, found: impl Iterator<Item = &'a Import>) {
    let shown: Vec<_> =
        found.map(|import| format!("{} → {}", import.file, import.module.join("::"))).collect();
    assert!(shown.is_empty(), "{what}:\n{}", shown.join("\n"));
}

#[test]
fn layers_import_only_what_lies_below_them() {
    let imports = imports();
    assert!(imports.len() > 100, "tests/imports has found next to nothing");
    for (folder, allowed) in MAY_IMPORT {
        let bad = imports.iter().filter(|import| {
            import.from() == *folder && import.to() != *folder && !allowed.contains(&import.to())
        });
        assert_none(&format!("`{folder}` may import {allowed:?} alone"), bad);
    }
    for (folder, forbidden) in MAY_NOT_IMPORT {
        let bad =
            imports.iter().filter(|import| import.from() == *folder && forbidden.contains(&import.to()));
        assert_none(&format!("`{folder}` has no business with {forbidden:?}"), bad);
    }
}

#[test]
fn actors_know_each_other_by_messages_and_handles_alone() {
    let imports = imports();
    let bad = imports.iter().filter(|import| {
        let (from, to) = (import.importing_actor(), import.imported_actor());
        from.is_some() && to.is_some() && from != to
    });
    assert_none("an actor's file names another actor's", bad);
    let bad = imports
        .iter()
        .filter(|import| import.file.starts_with("actors/messages") && import.imported_actor().is_some());
    assert_none("messages are there without the actors that take them", bad);
}

#[test]
fn values_become_bytes_at_the_edge_alone() {
    let imports = imports();
    let bad = imports.iter().filter(|import| {
        let is_edge = EDGE.iter().any(|start| import.file.starts_with(start));
        import.from() == "actors" && ["wire", "codec"].contains(&import.to()) && !is_edge
    });
    assert_none("only fan-out, session and connection know a wire", bad);
}

/// Every public type has a name of its own, within one crate: whoever reads it, or searches for it, finds one.
#[test]
fn no_two_public_types_have_one_name() {
    for folder in ["src", "client/src"] {
        let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for path in files(folder, ".rs").into_iter().filter(|path| !is_test_file(path)) {
            for (number, line) in code(&path) {
                if let Some(name) = public_type(&line) {
                    places.entry(name.to_owned()).or_default().push(format!("{path}:{number}"));
                }
            }
        }
        let twice: Vec<_> = places.iter().filter(|(_, places)| places.len() > 1).collect();
        assert!(twice.is_empty(), "several types of one name: {twice:#?}");
    }
}

/// The name of the type that this line makes known to the whole crate or beyond it, by itself or by `handle!`.
fn public_type(line: &str) -> Option<&str> {
    let line = line.trim_start();
    if let Some((handle, ways)) = line.split_once(", ")
        && handle.ends_with("Handle")
        && ways.ends_with("Ways {")
    {
        return Some(handle);
    }
    let rest = line.strip_prefix("pub(crate) ").or_else(|| line.strip_prefix("pub "))?;
    let kinds = ["struct ", "enum ", "trait ", "type ", "union "];
    let rest = kinds.iter().find_map(|kind| rest.strip_prefix(kind))?;
    rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().filter(|name| !name.is_empty())
}

#[test]
fn public_types_are_known_however_they_are_made() {
    assert_eq!(public_type("pub struct Room<T>(T);"), Some("Room"));
    assert_eq!(public_type("    pub(crate) type Rooms = Vec<Room>;"), Some("Rooms"));
    assert_eq!(public_type("    RoomHandle, RoomWays {"), Some("RoomHandle"));
    for other in ["pub(super) struct Own;", "struct Own;", "pub struct $name(u64);", "pub fn room() {"] {
        assert_eq!(public_type(other), None, "{other}");
    }
}
