//! A line of the account file: how an account becomes one, and what makes a line an account again.

use std::net::IpAddr;

use crate::model::{Account, MAX_ADDRESSES, MessageId, SessionsFrom, Timestamp, UserName};
use crate::secrets::password::parse_stored;
use crate::secrets::seal::{CellPlace, Sealer, TAG_TEXT_BYTES, same_tag};

/// The columns, in order. The last one's name in the header goes on with version, key and epoch.
const COLUMNS: [&str; 12] = [
    "row",
    "index",
    "login",
    "ip",
    "password",
    "created_at",
    "first_id",
    "last_seen_at",
    "state",
    "sessions",
    "change",
    "seal",
];
/// Columns that the seal binds.
const BOUND: usize = COLUMNS.len() - 1;
/// The same in the format before, which had neither `sessions` nor `change`.
const OLD_BOUND: usize = BOUND - 2;
/// The longest line that can be one of ours, in bytes.
const MAX_LINE_BYTES: usize = 4_096;
/// No number that we give is larger: a header that says so is damaged.
const MAX_ROW: u64 = 1 << 53;

/// Why a line is not an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum AccountRowFault {
    /// It has not the columns of a row.
    #[error("it is not a whole row")]
    Shape,
    /// A number or a time in it is not written as we write them.
    #[error("a number or a time in it was rewritten, as spreadsheets do")]
    Reformatted,
    /// Its columns do not belong together, or were changed.
    #[error("it was changed, or put together from other rows")]
    Changed,
    /// It is from another version of the file.
    #[error("it comes from an older version of the file, a backup perhaps")]
    OtherEpoch,
    /// A row before it has its number or its name.
    #[error("a row before it has the same number or name")]
    Twice,
    /// A newer row of the same account stands before it.
    #[error("a newer row of the same account stands before it")]
    Older,
    /// A newer row of the same account is damaged, and nobody knows what it said.
    #[error("a newer row of the same account is damaged")]
    NewerDamaged,
    /// It is ours, and yet does not say what it should.
    #[error("it is sealed by this key and holds no account; another version of the program wrote it")]
    Content,
}

impl AccountRowFault {
    /// Whether an account may be lost by it, rather than an older row of one that is there.
    pub fn is_damage(self) -> bool {
        !matches!(self, AccountRowFault::Twice | AccountRowFault::Older | AccountRowFault::NewerDamaged)
    }
}

/// What the header tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Which key sealed the rows.
    pub key_id: String,
    /// Which version of the file this is.
    pub epoch: String,
    /// The largest account number that was given.
    pub highest_row: u64,
    /// Whether the file is of the format before.
    pub is_old: bool,
}

impl Header {
    /// The header of a file that is written anew.
    pub fn fresh(key_id: &str, epoch: String, highest_row: u64) -> Self {
        Header { key_id: key_id.to_owned(), epoch, highest_row, is_old: false }
    }

    /// The header's line.
    pub fn line(&self) -> String {
        let Header { key_id, epoch, highest_row, .. } = self;
        format!("{} v2 key={key_id} epoch={epoch} rows={highest_row}\n", COLUMNS.join(","))
    }

    /// Reads a header's line, also of the format before.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)).ok()?;
        let names: Vec<&str> = cells(line)?.collect();
        let (last, bound) = names.split_last()?;
        let is_old = bound == &COLUMNS[..OLD_BOUND];
        if !is_old && bound != &COLUMNS[..BOUND] {
            return None;
        }
        let rest = last.strip_prefix("seal ")?;
        let (key_id, epoch, rows) = if is_old {
            let (key_id, epoch) = rest.strip_prefix("v1 key=")?.split_once(" epoch=")?;
            (key_id, epoch, "0")
        } else {
            let (key_id, rest) = rest.strip_prefix("v2 key=")?.split_once(" epoch=")?;
            let (epoch, rows) = rest.split_once(" rows=")?;
            (key_id, epoch, rows)
        };
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        let highest_row = rows.parse().ok().filter(|rows| *rows <= MAX_ROW)?;
        (plain(key_id) && plain(epoch)).then(|| Header {
            key_id: key_id.to_owned(),
            epoch: epoch.to_owned(),
            highest_row,
            is_old,
        })
    }
}

/// Whether a line can be a header, damaged perhaps: then it is no row that was lost.
pub fn looks_like_header(line: &[u8]) -> bool {
    // Most of the names have to be there, so that one spoiled byte does not make a row of it.
    COLUMNS[..OLD_BOUND].iter().filter(|name| contains(line, name.as_bytes())).count() * 2 > OLD_BOUND
}

fn contains(line: &[u8], name: &[u8]) -> bool {
    line.windows(name.len()).any(|window| window == name)
}

/// What a row says of its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowState {
    /// It is there.
    Active,
    /// It is there, and the operator has banned it.
    Banned,
    /// It is no more.
    Removed,
}

impl RowState {
    /// What the row of an account that is there says.
    pub fn of(account: &Account) -> Self {
        if account.banned { RowState::Banned } else { RowState::Active }
    }

    fn text(self) -> &'static str {
        match self {
            RowState::Active => "active",
            RowState::Banned => "banned",
            RowState::Removed => "removed",
        }
    }
}

/// Which change of the file a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Version {
    /// Its number; the newest row of an account has the largest.
    pub change: u64,
    /// The newest change that was on the disk when this one was written.
    pub synced: u64,
}

/// The line of an account, with its end.
///
/// # Errors
/// When the system has no random numbers.
pub fn encode(
    sealer: &Sealer,
    epoch: &str,
    version: Version,
    account: &Account,
    state: RowState,
) -> Result<String, getrandom::Error> {
    let place = |column| CellPlace { epoch, row: account.row, column };
    // Of an account that is gone nothing is kept but whose row it was.
    let sealed = |column, plain: &str| match state {
        RowState::Removed => Ok(String::new()),
        RowState::Active | RowState::Banned => sealer.seal(place(column), plain.as_bytes()),
    };
    let addresses: Vec<String> = account.addresses.iter().map(IpAddr::to_string).collect();
    let sessions = match account.sessions {
        SessionsFrom { number: 0, and: None } => String::new(),
        SessionsFrom { number, and: None } => number.to_string(),
        SessionsFrom { number, and: Some(and) } => format!("{number} {and}"),
    };
    let cells: [String; BOUND] = [
        account.row.to_string(),
        sealer.index(account.name.as_str()),
        sealer.seal(place("login"), account.name.as_str().as_bytes())?,
        sealed("ip", &addresses.join(" "))?,
        sealed("password", account.password.as_str())?,
        account.created_at.to_string(),
        account.visible_from.map(|id| id.to_string()).unwrap_or_default(),
        account.last_seen_at.map(|at| at.to_string()).unwrap_or_default(),
        state.text().to_owned(),
        sessions,
        format!("{} {}", version.change, version.synced),
    ];
    let bound = bind(sealer, epoch, &cells.each_ref().map(String::as_str));
    Ok(format!("{},{bound}.{epoch}\n", cells.join(",")))
}

fn bind(sealer: &Sealer, epoch: &str, cells: &[&str]) -> String {
    let mut columns = Vec::with_capacity(1 + cells.len());
    columns.push(epoch);
    columns.extend(cells);
    sealer.bind_row(&columns)
}

/// A line whose columns belong together.
#[derive(Debug)]
pub struct BoundRow<'a> {
    cells: [&'a str; BOUND],
    /// The version of the file that it was written for.
    pub epoch: &'a str,
    /// The account's number.
    pub row: u64,
    /// Which change it is.
    pub version: Version,
}

impl<'a> BoundRow<'a> {
    /// Reads a line and checks that this key bound its columns together.
    ///
    /// # Errors
    /// [`AccountRowFault::Shape`], [`AccountRowFault::Changed`], [`AccountRowFault::Reformatted`] or [`AccountRowFault::Content`].
    pub fn parse(sealer: &Sealer, line: &'a [u8]) -> Result<Self, AccountRowFault> {
        let line = std::str::from_utf8(line).map_err(|_| AccountRowFault::Shape)?;
        let mut all = [""; COLUMNS.len()];
        let mut count = 0;
        for cell in cells(line).ok_or(AccountRowFault::Shape)? {
            *all.get_mut(count).ok_or(AccountRowFault::Shape)? = cell;
            count += 1;
        }
        let bound = count.checked_sub(1).filter(|bound| [OLD_BOUND, BOUND].contains(bound));
        let bound = bound.ok_or(AccountRowFault::Shape)?;
        let (tag, epoch) = all[bound].split_once('.').ok_or(AccountRowFault::Shape)?;
        if !same_tag(&bind(sealer, epoch, &all[..bound]), tag) {
            let is_ours = all[0].bytes().all(|byte| byte.is_ascii_digit())
                && all[5].parse::<Timestamp>().is_ok()
                && all[6].bytes().all(|byte| byte.is_ascii_digit());
            return Err(if is_ours { AccountRowFault::Changed } else { AccountRowFault::Reformatted });
        }
        let mut cells = [""; BOUND];
        cells[..bound].copy_from_slice(&all[..bound]);
        let version =
            if bound == OLD_BOUND { Some(Version::default()) } else { version_of(cells[BOUND - 1]) };
        Ok(BoundRow {
            row: cells[0].parse().map_err(|_| AccountRowFault::Content)?,
            version: version.ok_or(AccountRowFault::Content)?,
            cells,
            epoch,
        })
    }

    /// The index of its name.
    pub fn index(&self) -> &'a str {
        self.cells[1]
    }

    /// Whether it says that its account is no more.
    pub fn is_removal(&self) -> bool {
        self.cells[8] == RowState::Removed.text()
    }

    /// The account that the row holds.
    ///
    /// # Errors
    /// [`AccountRowFault::Changed`] or [`AccountRowFault::Content`].
    pub fn account(&self, sealer: &Sealer) -> Result<Account, AccountRowFault> {
        let [_, index, login, ip, password, created_at, visible_from, last_seen_at, state, sessions, _] =
            self.cells;
        let row = self.row;
        let open = |column, cell| {
            sealer
                .open(CellPlace { epoch: self.epoch, row, column }, cell)
                .map_err(|_| AccountRowFault::Changed)
        };
        let login = open("login", login)?;
        // A name that was made under former rules stays as it is (see `names::Spellings`).
        let name = UserName::from_canonical(&login).map_err(|_| AccountRowFault::Content)?;
        if !same_tag(&sealer.index(&login), index) {
            return Err(AccountRowFault::Content);
        }
        let addresses = open("ip", ip)?
            .split(' ')
            .filter(|text| !text.is_empty())
            .map(str::parse)
            .collect::<Result<_, _>>();
        Ok(Account {
            row,
            name,
            password: parse_stored(&open("password", password)?).map_err(|_| AccountRowFault::Content)?,
            addresses: addresses
                .ok()
                .filter(|addresses: &Vec<IpAddr>| addresses.len() <= MAX_ADDRESSES)
                .ok_or(AccountRowFault::Content)?,
            created_at: created_at.parse().map_err(|_| AccountRowFault::Content)?,
            visible_from: optional(visible_from, |text| text.parse().ok().and_then(MessageId::new))?,
            last_seen_at: optional(last_seen_at, |text| text.parse::<Timestamp>().ok())?,
            sessions: sessions_from(sessions).ok_or(AccountRowFault::Content)?,
            banned: match state {
                "active" => false,
                "banned" => true,
                _ => return Err(AccountRowFault::Content),
            },
        })
    }
}

/// Whether a line goes on to where a row of ours ends: a seal and an epoch, of their lengths, in the last of as
/// many columns as there are.
pub fn has_an_end(line: &[u8]) -> bool {
    let mut cells = line.split(|byte| *byte == b',').map(|cell| cell.trim_ascii_end());
    let (last, before) = (cells.next_back().unwrap_or_default(), cells.count());
    let last = last.strip_suffix(b"\"").unwrap_or(last);
    let epoch_bytes = last.iter().rev().take_while(|byte| **byte != b'.').count();
    let is_whole = last.len() > TAG_TEXT_BYTES && epoch_bytes == TAG_TEXT_BYTES - "v1:".len();
    is_whole && [OLD_BOUND, BOUND].contains(&before)
}

/// The indexes of the names that a line may have held, by whatever of it is whole: what stands where an index
/// does, and the name itself where it opens.
pub fn indexes_in(sealer: &Sealer, line: &[u8]) -> Vec<String> {
    // In UTF-16 every other byte is 0.
    let text: Vec<u8> = line.iter().copied().filter(|byte| *byte != 0).collect();
    let text = String::from_utf8_lossy(&text);
    let mut found = Vec::new();
    // The index is the first thing that begins like a sealed cell, whatever separates the cells.
    if let Some(index) = text.find("v1:").and_then(|at| text.get(at..at + TAG_TEXT_BYTES)) {
        found.push(index.to_owned());
    }
    let cells: Vec<&str> = text.split([',', ';', '\t']).map(|cell| cell.trim_matches('"')).collect();
    let row = cells.first().and_then(|row| row.parse().ok());
    let epoch = cells.last().and_then(|seal| seal.split_once('.')).map(|(_, epoch)| epoch);
    if let (Some(row), Some(epoch)) = (row, epoch) {
        let place = CellPlace { epoch, row, column: "login" };
        let sealed = cells.iter().filter(|cell| cell.len() > TAG_TEXT_BYTES && cell.starts_with("v1:"));
        found.extend(sealed.filter_map(|cell| Some(sealer.index(&sealer.open(place, cell).ok()?))));
    }
    found.dedup();
    found
}

fn version_of(cell: &str) -> Option<Version> {
    let (change, synced) = cell.split_once(' ')?;
    Some(Version { change: change.parse().ok()?, synced: synced.parse().ok()? })
}

fn sessions_from(cell: &str) -> Option<SessionsFrom> {
    if cell.is_empty() {
        return Some(SessionsFrom::default());
    }
    let (number, and) = match cell.split_once(' ') {
        Some((number, and)) => (number, Some(and.parse().ok()?)),
        None => (cell, None),
    };
    Some(SessionsFrom { number: number.parse().ok()?, and })
}

fn optional<T>(cell: &str, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>, AccountRowFault> {
    if cell.is_empty() { Ok(None) } else { read(cell).map(Some).ok_or(AccountRowFault::Content) }
}

/// Splits a line into its cells. Ours need no quotes; those that a spreadsheet puts around them are taken
/// away.
fn cells(line: &str) -> Option<impl Iterator<Item = &str>> {
    (line.len() <= MAX_LINE_BYTES).then(|| {
        line.split(',')
            .map(|part| part.strip_prefix('"').and_then(|part| part.strip_suffix('"')).unwrap_or(part))
    })
}
