//! Reading what the server keeps, as an operator with other tools would.

use std::fs;
use std::path::{Path, PathBuf};

/// Every file below a folder.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("a readable folder").path();
        let is_folder = path.symlink_metadata().expect("it is there").is_dir();
        if is_folder { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// The files of the history, the months in their order.
pub fn history_files(data_dir: &Path) -> Vec<PathBuf> {
    let files = files_below(&data_dir.join("history"));
    files.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "csv")).collect()
}

/// The newest file of the history.
pub fn newest_history(data_dir: &Path) -> PathBuf {
    history_files(data_dir).pop().expect("a month's file")
}

/// The rows of a CSV file, the header first, without CSV quotes but with the cells as they are.
pub fn csv_rows(path: &Path) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_path(path)
        .unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let rows = reader.records().map(|row| row.expect("a row in UTF-8").iter().map(str::to_owned).collect());
    rows.collect()
}

/// The lines of a file, without their ends.
pub fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    text.lines().map(str::to_owned).collect()
}

/// Changes one line of a file, counted from 0.
pub fn edit_line(path: &Path, number: usize, edit: impl FnOnce(&str) -> String) {
    let mut all = lines(path);
    all[number] = edit(&all[number]);
    fs::write(path, all.join("\n") + "\n").expect("the file can be written");
}

/// A cell's text, as `docs/data-formats.md` tells to read it.
pub fn unescape(cell: &str) -> String {
    let mut rest = cell.strip_prefix('\'').unwrap_or(cell).chars();
    let mut text = String::new();
    while let Some(c) = rest.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        match rest.next().expect("something follows a backslash") {
            'n' => text.push('\n'),
            'r' => text.push('\r'),
            't' => text.push('\t'),
            'u' => {
                let digits: String = rest.by_ref().skip(1).take_while(|c| *c != '}').collect();
                let code = u32::from_str_radix(&digits, 16).expect("hexadecimal digits");
                text.push(char::from_u32(code).expect("a character"));
            }
            other => text.push(other),
        }
    }
    text
}

/// The files below a folder that contain these bytes.
pub fn files_with(folder: &Path, needle: &[u8]) -> Vec<PathBuf> {
    let contains = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap_or_default();
        bytes.windows(needle.len()).any(|window| window == needle)
    };
    files_below(folder).into_iter().filter(contains).collect()
}
