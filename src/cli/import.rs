//! `veche account import`: accounts of an older server, whose CSV file holds MD5 hashes of the passwords.
//!
//! The whole file is checked first, each row by itself; then the good rows are taken over one by one, each
//! durable before the next. Accounts that are there already are skipped, so an import that was cut off goes
//! on where it stopped. No hash of the file is ever written anywhere: the AuthActor hashes it again first. Nor
//! is anything of a row ever printed, not even what stands where a name should: in a file whose columns are
//! swapped or whose quotes are open, any cell may be the secret. The line is enough to find it.

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
use crate::model::{Password, UserName};
use crate::sanitize::one_line;
use crate::secrets::common::CommonPasswords;
use crate::secrets::password::Md5Hex;

/// The largest file, in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;
/// How often the progress is shown.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// How often it is told at last where it is no terminal.
const QUIET_PROGRESS_EVERY: Duration = Duration::from_secs(60);
/// What a line of progress covers, in columns.
const WIDTH: usize = 60;

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
    /// A column is missing. What the line holds instead is not repeated: it may be the first account.
    #[error("{} has no column \"{missing}\"{hint}: its first line has to be login,password_md5 or login,password_md5,ip", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// The column.
        missing: &'static str,
        /// What is probably wrong, to go behind the name of the column.
        hint: &'static str,
    },
}

/// A file that was read and checked.
#[derive(Debug)]
pub struct ImportList {
    accounts: Vec<Account>,
    refused: Vec<Refused>,
    /// Lines whose password anybody guesses first.
    guessable: Vec<u64>,
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

    let mut list = ImportList { accounts: Vec::new(), refused: Vec::new(), guessable: Vec::new() };
    let (mut names, common) = (HashMap::new(), CommonPasswords::new());
    let mut lines = Lines::of(content);
    let mut row = ByteRecord::new();
    loop {
        let start = offset(rows.position());
        let begin = lines.line_of_row_at(start);
        if !rows.read_byte_record(&mut row).map_err(unreadable)? {
            return Ok(list);
        }
        let bytes = content.get(start..offset(rows.position())).unwrap_or_default();
        // Whatever column it is in, it has swallowed the rows behind it.
        let open_quote = bytes.iter().filter(|byte| **byte == b'"').count() % 2 == 1;
        let account = StringRecord::from_byte_record(row.clone())
            .map_err(|_| "this is not UTF-8".to_owned())
            .and_then(|row| columns.account(&row, begin, &mut names))
            .and_then(|account| if open_quote { Err("a quote is not closed".into()) } else { Ok(account) });
        match account {
            Ok((account, md5)) => {
                if common.have(&md5) || md5.expose() == Md5Hex::of_text(&account.login).expose() {
                    list.guessable.push(begin);
                }
                list.accounts.push(account);
            }
            Err(mut why) => {
                let end = lines.line_at(offset(rows.position()).saturating_sub(1));
                if end > begin {
                    why += &format!("; this row reaches to line {end}, is a quote missing?");
                }
                list.refused.push(Refused { line: begin, why });
            }
        }
    }
}

fn offset(position: &csv::Position) -> usize {
    usize::try_from(position.byte()).unwrap_or(usize::MAX)
}

/// Offsets → line numbers, counted from 1, as an editor counts them: a line ends with LF, CRLF or CR. The `csv`
/// crate's own count is behind where lines end with CRLF, and knows no CR.
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
        let ends_line = |at: &usize| match self.content.get(*at) {
            Some(b'\n') => true,
            Some(b'\r') => self.content.get(at + 1) != Some(&b'\n'),
            _ => false,
        };
        self.line += (self.offset..end).filter(ends_line).count() as u64;
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
            let path = path.to_owned();
            place(missing).ok_or(ImportError::Header { path, missing, hint: hint_at(header) })
        };
        Ok(Columns { login: needed("login")?, password_md5: needed("password_md5")?, ip: place("ip") })
    }

    /// The account in this row, unless something is wrong with it. `lines` remembers who stood where.
    fn account(
        &self,
        row: &StringRecord,
        line: u64,
        lines: &mut HashMap<UserName, u64>,
    ) -> Result<(Account, Md5Hex), String> {
        let cell = |column: usize| row.get(column).unwrap_or_default().trim();
        let login = cell(self.login);
        if Md5Hex::parse(login).is_some() {
            return Err("the login is 32 hexadecimal digits; are the columns swapped?".into());
        }
        let name = UserName::parse(login).map_err(|error| format!("the login is no name: {error}"))?;
        let md5 =
            Md5Hex::parse(cell(self.password_md5)).ok_or("the password_md5 is not 32 hexadecimal digits")?;
        if md5.is_of_nothing() {
            let why = "the password is empty, so that anybody would get in; make the account with `veche account add`";
            return Err(why.into());
        }
        if let Some(first) = lines.insert(name.clone(), line) {
            lines.insert(name, first);
            return Err(format!("this name is in line {first} already"));
        }
        let ip = self.ip.map(cell).filter(|ip| !ip.is_empty()).map(str::to_owned);
        let password_md5 = Password::given(md5.expose());
        Ok((Account { line, login: login.to_owned(), password_md5, ip }, md5))
    }
}

/// What is probably wrong with a first line that lacks a column.
fn hint_at(header: &StringRecord) -> &'static str {
    let has = |wanted: fn(char) -> bool| header.iter().any(|cell| cell.contains(wanted));
    if has(|c| c == '\n' || c == '\r') {
        " (a quote in its first line is not closed)"
    } else if header.iter().any(|cell| Md5Hex::parse(cell.trim()).is_some()) {
        " (its first line is an account already)"
    } else if has(|c| c == ';') {
        " (it has semicolons between its cells, where commas should be)"
    } else if has(|c| c == '\t') {
        " (it has tabs between its cells, where commas should be)"
    } else {
        ""
    }
}

/// Takes the accounts over, one by one, and tells on standard error how it goes. Ends with a summary, and
/// with [`Exit::Failure`] when a row was refused or the rest could not be taken over.
pub fn run(list: ImportList, mut ask: impl FnMut(AccountRequest) -> Result<String, AccountError>) -> Exit {
    for Refused { line, why } in &list.refused {
        tell(&format!("line {line}: {why}"));
    }
    for line in &list.guessable {
        tell(&format!(
            "line {line}: this password is one of those that anybody guesses first; it is taken over, set another \
             one with `veche account passwd NAME`"
        ));
    }
    let mut tally = Tally { refused: list.refused.len(), ..Tally::default() };
    let mut progress = Progress::begin(list.accounts.len());
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
        progress.one_more();
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

    fn summary(&self) -> String {
        format!(
            "Imported: {} (without an address that was none: {}). There already: {}. Refused: {}.",
            self.imported, self.without_address, self.already_there, self.refused
        )
    }
}

/// How far it is and how long it will take, on standard error: one line that changes at a terminal, else a line
/// now and then.
struct Progress {
    accounts: usize,
    done: usize,
    begun: Instant,
    shown_at: Instant,
    every: Duration,
    at_terminal: bool,
}

impl Progress {
    fn begin(accounts: usize) -> Self {
        let (begun, at_terminal) = (Instant::now(), io::stderr().is_terminal());
        Progress { accounts, done: 0, begun, shown_at: begun, every: PROGRESS_EVERY, at_terminal }
    }

    fn one_more(&mut self) {
        self.done += 1;
        if self.shown_at.elapsed() < self.every {
            return;
        }
        self.shown_at = Instant::now();
        let left = time_left(self.done, self.accounts, self.begun.elapsed());
        let text = format!("{} of {} accounts, {left}", self.done, self.accounts);
        if self.at_terminal {
            let _ = write!(io::stderr(), "\r{text:WIDTH$}"); // nobody to show it to is no fault
        } else {
            // In a file of an import that takes the night, every second would be too much.
            self.every = (self.every * 2).min(QUIET_PROGRESS_EVERY);
            tell(&text);
        }
    }

    fn clear(&self) {
        if self.at_terminal {
            let _ = write!(io::stderr(), "\r{:WIDTH$}\r", ""); // as above
        }
    }
}

/// How long the rest takes at the pace so far.
fn time_left(done: usize, of: usize, took: Duration) -> String {
    let left = of.saturating_sub(done);
    let seconds = took.as_secs_f64() * left as f64 / done.max(1) as f64;
    match seconds as u64 {
        0..60 => "less than a minute left".into(),
        seconds @ 60..7_200 => format!("about {} min left", seconds.div_ceil(60)),
        seconds => format!("about {} h left", seconds.div_ceil(3_600)),
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
        // issue 7: with CR line ends every bad row is "line 1"
        let old_mac = parsed(&text.replace('\n', "\r"));
        assert_eq!(old_mac.refused.iter().map(|row| row.line).collect::<Vec<_>>(), [3, 4, 5, 6, 8]);
        assert_eq!(refused[2].1, "this name is in line 2 already");
        assert!(refused.iter().all(|(_, why)| !why.contains(HASH)), "{refused:?}");
    }

    /// Everything that is told about a file.
    fn told(text: &str) -> String {
        match parse(text.as_bytes(), Path::new("old.csv")) {
            Ok(list) => list.refused.iter().map(|row| format!("line {}: {}\n", row.line, row.why)).collect(),
            Err(error) => error.to_string(),
        }
    }

    // issue 7: a file whose columns are swapped or whose quote is open has its MD5 hashes printed in the error
    #[test]
    fn nothing_of_a_row_is_repeated_wherever_it_stands() {
        let other = "0123456789abcdef0123456789ABCDEF";
        for (text, wanted) in [
            (format!("login,password_md5\n{HASH},alice\n{other},bob\n"), "line 3: the login is 32 hex"),
            (format!("login,password_md5\n{HASH},{other}\n"), "are the columns swapped?"),
            (
                format!("login,password_md5\n\"alice,{HASH}\nbob,{other}\n"),
                "reaches to line 3, is a quote missing?",
            ),
            (
                format!("login,password_md5\nalice,\"{HASH}\nbob,{other}\n"),
                "reaches to line 3, is a quote missing?",
            ),
            (
                format!("login,password_md5,ip\nalice,{HASH},\"192.0.2.7\nbob,{other},\n"),
                "line 2: a quote is not closed; this row reaches to line 3",
            ),
            (format!("login,password_md5\nhunter2 and more,{HASH}\n"), "line 2: the login is no name"),
            ("login,password_md5\nalice,hunter2 and more\n".into(), "line 2: the password_md5 is not"),
            (
                format!("login,password_md5\nhunter2,{HASH}\nhunter2,{other}\n"),
                "line 3: this name is in line 2",
            ),
            (format!("alice,{HASH}\nbob,{other}\n"), "(its first line is an account already)"),
            (format!("\"login,password_md5\nalice,{HASH}\n"), "a quote in its first line is not closed"),
            (format!("login;password_md5\nalice;{HASH}\n"), "semicolons between its cells"),
            (format!("login\tpassword_md5\nalice\t{HASH}\n"), "tabs between its cells"),
            (format!("login,hunter2\nalice,{HASH}\n"), "no column \"password_md5\""),
        ] {
            let told = told(&text);
            assert!(told.contains(wanted), "{text}: {told}");
            for secret in [HASH, other, "hunter2", "alice", "bob"] {
                assert!(!told.contains(secret), "{text}: {told}");
            }
        }
    }

    // issue 7: MD5 of the empty text is taken and logs in without a password; hashes that anybody knows
    #[test]
    fn an_empty_password_is_refused_and_common_ones_are_told() {
        let empty = "D41D8CD98F00B204E9800998ECF8427E";
        let own_name = Md5Hex::of_text("carol");
        let rare = Md5Hex::of_text("a rare password");
        let list = parsed(&format!(
            "login,password_md5\nalice,{empty}\nbob,{HASH}\ncarol,{}\ndave,{}\n",
            own_name.expose(),
            rare.expose()
        ));
        assert_eq!(names(&list), ["bob", "carol", "dave"]);
        assert_eq!(list.guessable, [3, 4]);
        assert!(list.refused[0].line == 2 && list.refused[0].why.contains("the password is empty"));
    }

    #[test]
    fn the_time_that_is_left_is_told_at_the_pace_so_far() {
        let left = |done, of, seconds| time_left(done, of, Duration::from_secs(seconds));
        assert_eq!(left(10, 20, 10), "less than a minute left");
        assert_eq!(left(100, 1_000, 10), "about 2 min left");
        assert_eq!(left(100, 1_000_000, 4), "about 12 h left");
        assert_eq!(left(0, 1_000, 5), "about 84 min left");
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
