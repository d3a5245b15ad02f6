//! `veche account import`: accounts of an older server, whose CSV file holds MD5 hashes of the passwords.
//!
//! The whole file is checked first, each row by itself; then the good rows are taken over one by one, each
//! durable before the next. Accounts that are there already are skipped, so an import that was cut off goes
//! on where it stopped. No hash of the file is ever written anywhere: the AuthActor hashes it again first.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use csv::{ByteRecord, StringRecord};
use zeroize::Zeroizing;

use super::{Exit, print};
use crate::actors::messages::auth::ImportOutcome;
use crate::control::accounts::{AccountError, AccountRequest, outcome_of};
use crate::names::UserName;
use crate::printable::one_line;
use crate::protocol::Password;

/// The largest file, in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;
/// How often the progress is shown.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Why nothing of the file can be taken over.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// It cannot be read.
    #[error("cannot read {} ({problem}); see whether it is there, and a CSV file in UTF-8", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
    /// A column is missing.
    #[error("{} has no column \"{missing}\": its first line has to be login,password_md5 or login,password_md5,ip, but is {found}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// The column.
        missing: &'static str,
        /// What there is.
        found: String,
    },
}

/// A file that was read and checked.
#[derive(Debug)]
pub struct ImportList {
    accounts: Vec<Account>,
    refused: Vec<Refused>,
}

/// A row that can be taken over.
#[derive(Debug)]
struct Account {
    line: u64,
    login: String,
    password_md5: Password,
    ip: Option<String>,
}

/// A row that cannot, and why.
#[derive(Debug, PartialEq, Eq)]
struct Refused {
    line: u64,
    why: String,
}

/// Reads and checks the file.
///
/// # Errors
/// [`ImportError`] when it is no such file; a bad row is none.
pub fn read(path: &Path) -> Result<ImportList, ImportError> {
    let unreadable = |problem: String| ImportError::Read { path: path.to_owned(), problem };
    let file = File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut content = Zeroizing::new(Vec::new());
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content).map_err(|error| unreadable(error.to_string()))?;
    if content.len() as u64 > MAX_FILE_BYTES {
        return Err(unreadable(format!("it is larger than {MAX_FILE_BYTES} bytes")));
    }
    parse(&content, path)
}

fn parse(content: &[u8], path: &Path) -> Result<ImportList, ImportError> {
    let unreadable =
        |error: csv::Error| ImportError::Read { path: path.to_owned(), problem: error.to_string() };
    let mut rows = csv::ReaderBuilder::new().flexible(true).from_reader(content);
    let header = rows.headers().map_err(unreadable)?.clone();
    let columns = Columns::of(&header, path)?;

    let mut list = ImportList { accounts: Vec::new(), refused: Vec::new() };
    let mut names = HashMap::new();
    let mut lines = Lines::of(content);
    let mut row = ByteRecord::new();
    loop {
        let begin = lines.line_of_row_at(offset(rows.position()));
        if !rows.read_byte_record(&mut row).map_err(unreadable)? {
            return Ok(list);
        }
        let account = StringRecord::from_byte_record(row.clone())
            .map_err(|_| "this is not UTF-8".to_owned())
            .and_then(|row| {
                let end = lines.line_at(offset(rows.position()).saturating_sub(1));
                columns.account(&row, begin, end, &mut names)
            });
        match account {
            Ok(account) => list.accounts.push(account),
            Err(why) => list.refused.push(Refused { line: begin, why }),
        }
    }
}

fn offset(position: &csv::Position) -> usize {
    usize::try_from(position.byte()).unwrap_or(usize::MAX)
}

/// Offsets → line numbers, counted from 1. The `csv` crate's own count is behind where lines end with CRLF.
struct Lines<'a> {
    content: &'a [u8],
    offset: usize,
    line: u64,
}

impl<'a> Lines<'a> {
    fn of(content: &'a [u8]) -> Self {
        Lines { content, offset: 0, line: 1 }
    }

    /// The line in which the byte at this offset stands. Offsets only grow.
    fn line_at(&mut self, offset: usize) -> u64 {
        let end = offset.clamp(self.offset, self.content.len());
        self.line += self.content[self.offset..end].iter().filter(|byte| **byte == b'\n').count() as u64;
        self.offset = end;
        self.line
    }

    /// The line of the row that begins here, behind line ends and empty lines.
    fn line_of_row_at(&mut self, offset: usize) -> u64 {
        let rest = self.content.get(offset..).unwrap_or_default();
        let ends = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        self.line_at(offset + ends)
    }
}

/// Where the columns are, whatever their order.
struct Columns {
    login: usize,
    password_md5: usize,
    ip: Option<usize>,
}

impl Columns {
    fn of(header: &StringRecord, path: &Path) -> Result<Self, ImportError> {
        let place = |name: &str| {
            let same = |cell: &str| cell.trim_start_matches('\u{feff}').trim().eq_ignore_ascii_case(name);
            header.iter().position(same)
        };
        let needed = |missing| {
            let found = one_line(&header.iter().collect::<Vec<_>>().join(",")).chars().take(200).collect();
            place(missing).ok_or_else(|| ImportError::Header { path: path.to_owned(), missing, found })
        };
        Ok(Columns { login: needed("login")?, password_md5: needed("password_md5")?, ip: place("ip") })
    }

    /// The account in this row, unless something is wrong with it. `lines` remembers who stood where.
    fn account(
        &self,
        row: &StringRecord,
        line: u64,
        last_line: u64,
        lines: &mut HashMap<UserName, u64>,
    ) -> Result<Account, String> {
        let cell = |column: usize| row.get(column).unwrap_or_default().trim();
        let login = cell(self.login);
        let name = UserName::parse(login).map_err(|error| {
            let quote = if last_line > line {
                format!("; this row reaches to line {last_line}, is a quote missing?")
            } else {
                String::new()
            };
            format!("\"{}\" is no name: {error}{quote}", one_line(login).chars().take(80).collect::<String>())
        })?;
        let hash = cell(self.password_md5);
        if hash.len() != 32 || !hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("the password_md5 of {name} is not 32 hexadecimal digits"));
        }
        if let Some(first) = lines.insert(name.clone(), line) {
            lines.insert(name.clone(), first);
            return Err(format!("{name} is in line {first} already"));
        }
        let ip = self.ip.map(cell).filter(|ip| !ip.is_empty()).map(str::to_owned);
        let password_md5 = Password::given(hash.to_ascii_lowercase());
        Ok(Account { line, login: login.to_owned(), password_md5, ip })
    }
}

/// Takes the accounts over, one by one, and tells on standard error how it goes. Ends with a summary, and
/// with [`Exit::Failure`] when a row was refused or the rest could not be taken over.
pub fn run(list: ImportList, mut ask: impl FnMut(AccountRequest) -> Result<String, AccountError>) -> Exit {
    for Refused { line, why } in &list.refused {
        tell(&format!("line {line}: {why}"));
    }
    let rows = list.accounts.len() + list.refused.len();
    let mut tally = Tally { refused: list.refused.len(), ..Tally::default() };
    let mut progress = Progress::begin(rows);
    for Account { line, login, password_md5, ip } in list.accounts {
        match ask(AccountRequest::Import { login, password_md5, ip }) {
            Ok(word) => tally.count(outcome_of(&word)),
            Err(AccountError::Refused(why)) => {
                progress.clear();
                tell(&format!("line {line}: {}", one_line(&why)));
                tally.refused += 1;
            }
            Err(AccountError::Unavailable(why)) => {
                progress.clear();
                tell(&format!("stopped at line {line}: {}", one_line(&why)));
                tell("run the same command again to go on");
                print(&format!("{}\n", tally.summary()));
                return Exit::Failure;
            }
        }
        progress.show(tally.rows());
    }
    progress.clear();
    print(&format!("{}\n", tally.summary()));
    if tally.refused == 0 { Exit::Success } else { Exit::Failure }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    imported: usize,
    without_address: usize,
    already_there: usize,
    refused: usize,
}

impl Tally {
    fn count(&mut self, outcome: Option<ImportOutcome>) {
        match outcome {
            Some(ImportOutcome::Imported) | None => self.imported += 1,
            Some(ImportOutcome::ImportedWithoutAddress) => {
                self.imported += 1;
                self.without_address += 1;
            }
            Some(ImportOutcome::AlreadyThere) => self.already_there += 1,
        }
    }

    fn rows(&self) -> usize {
        self.imported + self.already_there + self.refused
    }

    fn summary(&self) -> String {
        format!(
            "Imported: {} (without an address that was none: {}). There already: {}. Refused: {}.",
            self.imported, self.without_address, self.already_there, self.refused
        )
    }
}

/// How far it is, on standard error: one line that changes at a terminal, else a line now and then.
struct Progress {
    rows: usize,
    shown_at: Instant,
    at_terminal: bool,
}

impl Progress {
    fn begin(rows: usize) -> Self {
        Progress { rows, shown_at: Instant::now(), at_terminal: io::stderr().is_terminal() }
    }

    fn show(&mut self, done: usize) {
        if self.shown_at.elapsed() < PROGRESS_EVERY {
            return;
        }
        self.shown_at = Instant::now();
        let text = format!("{done} of {} rows", self.rows);
        if self.at_terminal {
            let _ = write!(io::stderr(), "\r{text} "); // nobody to show it to is no fault
        } else {
            tell(&text);
        }
    }

    fn clear(&self) {
        if self.at_terminal {
            let _ = write!(io::stderr(), "\r{:40}\r", ""); // as above
        }
    }
}

fn tell(text: &str) {
    let _ = writeln!(io::stderr(), "{text}"); // nobody to tell is no fault
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "5f4dcc3b5aa765d61d8327deb882cf99";

    fn parsed(text: &str) -> ImportList {
        parse(text.as_bytes(), Path::new("old.csv")).unwrap()
    }

    fn names(list: &ImportList) -> Vec<&str> {
        list.accounts.iter().map(|account| account.login.as_str()).collect()
    }

    #[test]
    fn columns_are_found_in_any_case_and_order() {
        let upper = HASH.to_uppercase();
        for text in [
            format!("login,password_md5\nalice,{HASH}\n"),
            format!("\u{feff}Login,PASSWORD_MD5,ip\r\nalice,{upper},\r\n"),
            format!("id,\"ip\", Password_md5 ,login,note\n7,,{HASH},alice,\"x, \"\"y\"\"\"\n"),
        ] {
            let list = parsed(&text);
            assert_eq!(names(&list), ["alice"], "{text}");
            assert_eq!(list.accounts[0].password_md5.expose(), HASH);
            assert_eq!((&list.accounts[0].ip, list.accounts[0].line), (&None, 2));
        }
        let list = parsed(&format!("ip,login,password_md5\n192.0.2.7,alice,{HASH}\n"));
        assert_eq!(list.accounts[0].ip.as_deref(), Some("192.0.2.7"));
    }

    #[test]
    fn a_missing_column_is_named() {
        for (text, missing) in
            [("", "login"), ("name,password_md5\n", "login"), ("login,md5\n", "password_md5")]
        {
            let error = parse(text.as_bytes(), Path::new("old.csv")).unwrap_err();
            assert!(error.to_string().contains(&format!("no column \"{missing}\"")), "{error}");
        }
    }

    #[test]
    fn each_bad_row_is_refused_by_itself_with_its_line() {
        let text = format!(
            "login,password_md5\nalice,{HASH}\nbob,123\n../x,{HASH}\nALICE,{HASH}\ncarol\nzoë,{HASH}\ndave,{}\n",
            "g".repeat(32)
        );
        let list = parsed(&text);
        assert_eq!(names(&list), ["alice", "zoë"]);
        let refused: Vec<(u64, &str)> = list.refused.iter().map(|row| (row.line, row.why.as_str())).collect();
        assert_eq!(refused.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3, 4, 5, 6, 8]);
        let spread = parsed(&text.replace('\n', "\r\n\r\n"));
        assert_eq!(spread.refused.iter().map(|row| row.line).collect::<Vec<_>>(), [5, 7, 9, 11, 15]);
        assert_eq!(refused[2].1, "alice is in line 2 already");
        assert!(refused.iter().all(|(_, why)| !why.contains(HASH)), "{refused:?}");
    }

    #[test]
    fn bytes_that_are_no_text_and_open_quotes_are_told() {
        let mut bytes = format!("login,password_md5\nalice,{HASH}\n").into_bytes();
        bytes.extend_from_slice(b"b\xffb,1\n");
        bytes.extend_from_slice(format!("bob,{HASH}\n\"carol,{HASH}\ndave,{HASH}\n").as_bytes());
        let list = parse(&bytes, Path::new("old.csv")).unwrap();
        assert_eq!(names(&list), ["alice", "bob"]);
        assert_eq!(list.refused[0], Refused { line: 3, why: "this is not UTF-8".into() });
        assert!(list.refused[1].why.contains("is a quote missing?"), "{:?}", list.refused[1]);
    }

    #[test]
    fn an_import_goes_on_where_it_stopped() {
        let text = format!("login,password_md5\na1,{HASH}\na2,{HASH}\na3,{HASH}\n");
        let mut there = vec!["a1".to_owned()];
        let mut space = 1;
        let mut ask = |request: AccountRequest| {
            let AccountRequest::Import { login, .. } = request else { panic!("an import asks for imports") };
            if there.contains(&login) {
                return Ok("already there".to_owned());
            }
            if space == 0 {
                space = 10;
                return Err(AccountError::Unavailable("no space".into()));
            }
            space -= 1;
            there.push(login);
            Ok("imported".to_owned())
        };
        assert_eq!(run(parsed(&text), &mut ask), Exit::Failure);
        assert_eq!(run(parsed(&text), &mut ask), Exit::Success);
        assert_eq!(there, ["a1", "a2", "a3"]);
    }

    #[test]
    fn a_refused_row_is_a_failure_but_stops_nothing() {
        let text = format!("login,password_md5\na1,{HASH}\na2,{HASH}\n");
        let mut asked = 0;
        let exit = run(parsed(&text), |_| {
            asked += 1;
            if asked == 1 { Err(AccountError::Refused("no".into())) } else { Ok("imported".into()) }
        });
        assert_eq!((exit, asked), (Exit::Failure, 2));
    }
}
