//! A line of the account file: how an account becomes one, and what makes a line an account again.

use std::net::IpAddr;

use super::{Account, MAX_ADDRESSES};
use crate::names::{MessageId, Timestamp, UserName};
use crate::secrets::password::StoredPassword;
use crate::secrets::seal::{Place, Sealer, same_tag};

/// The columns, in order. The last one's name in the header goes on with version, key and epoch.
const COLUMNS: [&str; 10] =
    ["row", "index", "login", "ip", "password", "created_at", "first_id", "last_seen_at", "state", "seal"];
const BOUND_COLUMNS: usize = COLUMNS.len() - 1;
/// The longest line that can be one of ours, in bytes.
const MAX_LINE_BYTES: usize = 4_096;

/// Why a line is not an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RowFault {
    /// It has not the columns of a row.
    #[error("it is not a whole row")]
    Shape,
    /// Its columns do not belong together, or were changed.
    #[error("it was changed, or put together from other rows")]
    Changed,
    /// It is from another version of the file.
    #[error("it comes from an older version of the file, a backup perhaps")]
    OtherEpoch,
    /// A row before it has its number or its name.
    #[error("a row before it has the same number or name")]
    Twice,
    /// It is ours, and yet does not say what it should.
    #[error("it is sealed by this key and holds no account; another version of the program wrote it")]
    Content,
}

/// What the header tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Which key sealed the rows.
    pub key_id: String,
    /// Which version of the file this is.
    pub epoch: String,
}

impl Header {
    /// The header's line.
    pub fn line(&self) -> String {
        format!("{} v1 key={} epoch={}\n", COLUMNS.join(","), self.key_id, self.epoch)
    }

    /// Reads a header's line.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let line = std::str::from_utf8(line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line)).ok()?;
        let cells = cells(line)?;
        let last = cells[BOUND_COLUMNS].strip_prefix(COLUMNS[BOUND_COLUMNS])?;
        if cells[..BOUND_COLUMNS] != COLUMNS[..BOUND_COLUMNS] {
            return None;
        }
        let (key_id, epoch) = last.strip_prefix(" v1 key=")?.split_once(" epoch=")?;
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        (plain(key_id) && plain(epoch)).then(|| Header { key_id: key_id.to_owned(), epoch: epoch.to_owned() })
    }
}

/// Whether a line can be a header, damaged perhaps: then it is no row that was lost.
pub fn looks_like_header(line: &[u8]) -> bool {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    // Most of the names have to be there, so that one spoiled byte does not make a row of it.
    COLUMNS.iter().filter(|name| contains(line, name.as_bytes())).count() * 2 > COLUMNS.len()
}

fn contains(line: &[u8], name: &[u8]) -> bool {
    line.windows(name.len()).any(|window| window == name)
}

/// The line of an account, with its end.
///
/// # Errors
/// When the system has no random numbers.
pub fn encode(sealer: &Sealer, epoch: &str, account: &Account) -> Result<String, getrandom::Error> {
    let place = |column| Place { epoch, row: account.row, column };
    let addresses: Vec<String> = account.addresses.iter().map(IpAddr::to_string).collect();
    let cells = [
        account.row.to_string(),
        sealer.index(account.name.as_str()),
        sealer.seal(place("login"), account.name.as_str().as_bytes())?,
        sealer.seal(place("ip"), addresses.join(" ").as_bytes())?,
        sealer.seal(place("password"), account.password.as_str().as_bytes())?,
        account.created_at.to_string(),
        account.first_id.map(|id| id.to_string()).unwrap_or_default(),
        account.last_seen_at.map(|at| at.to_string()).unwrap_or_default(),
        if account.banned { "banned" } else { "active" }.to_owned(),
    ];
    let bound = bind(sealer, epoch, &cells.each_ref().map(String::as_str));
    Ok(format!("{},{bound}.{epoch}\n", cells.join(",")))
}

fn bind(sealer: &Sealer, epoch: &str, cells: &[&str; BOUND_COLUMNS]) -> String {
    let mut columns = vec![epoch];
    columns.extend(cells);
    sealer.bind_row(&columns)
}

/// A line whose columns belong together.
#[derive(Debug)]
pub struct BoundRow<'a> {
    cells: [&'a str; BOUND_COLUMNS],
    /// The version of the file that it was written for.
    pub epoch: &'a str,
}

impl<'a> BoundRow<'a> {
    /// Reads a line and checks that this key bound its columns together.
    ///
    /// # Errors
    /// [`RowFault::Shape`] or [`RowFault::Changed`].
    pub fn parse(sealer: &Sealer, line: &'a [u8]) -> Result<Self, RowFault> {
        let line = std::str::from_utf8(line).map_err(|_| RowFault::Shape)?;
        let all = cells(line).ok_or(RowFault::Shape)?;
        let (bound, epoch) = all[BOUND_COLUMNS].split_once('.').ok_or(RowFault::Shape)?;
        let mut cells = [""; BOUND_COLUMNS];
        cells.copy_from_slice(&all[..BOUND_COLUMNS]);
        if same_tag(&bind(sealer, epoch, &cells), bound) {
            Ok(BoundRow { cells, epoch })
        } else {
            Err(RowFault::Changed)
        }
    }

    /// The account that the row holds.
    ///
    /// # Errors
    /// [`RowFault::Changed`] or [`RowFault::Content`].
    pub fn account(&self, sealer: &Sealer) -> Result<Account, RowFault> {
        let [row, index, login, ip, password, created_at, first_id, last_seen_at, state] = self.cells;
        let row = row.parse().map_err(|_| RowFault::Content)?;
        let open = |column, cell| {
            sealer.open(Place { epoch: self.epoch, row, column }, cell).map_err(|_| RowFault::Changed)
        };
        let login = open("login", login)?;
        // A name that was made under former rules stays as it is (see `names::Spellings`).
        let name = UserName::from_canonical(&login).map_err(|_| RowFault::Content)?;
        if !same_tag(&sealer.index(&login), index) {
            return Err(RowFault::Content);
        }
        let addresses = open("ip", ip)?
            .split(' ')
            .filter(|text| !text.is_empty())
            .map(str::parse)
            .collect::<Result<_, _>>();
        Ok(Account {
            row,
            name,
            password: StoredPassword::parse(&open("password", password)?).map_err(|_| RowFault::Content)?,
            addresses: addresses
                .ok()
                .filter(|addresses: &Vec<IpAddr>| addresses.len() <= MAX_ADDRESSES)
                .ok_or(RowFault::Content)?,
            created_at: created_at.parse().map_err(|_| RowFault::Content)?,
            first_id: optional(first_id, |text| text.parse().ok().and_then(MessageId::new))?,
            last_seen_at: optional(last_seen_at, |text| text.parse::<Timestamp>().ok())?,
            banned: match state {
                "active" => false,
                "banned" => true,
                _ => return Err(RowFault::Content),
            },
        })
    }
}

fn optional<T>(cell: &str, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>, RowFault> {
    if cell.is_empty() { Ok(None) } else { read(cell).map(Some).ok_or(RowFault::Content) }
}

/// Splits a line into its cells. Ours need no quotes; those that a spreadsheet puts around them are taken
/// away.
fn cells(line: &str) -> Option<[&str; COLUMNS.len()]> {
    if line.len() > MAX_LINE_BYTES {
        return None;
    }
    let mut cells = [""; COLUMNS.len()];
    let mut parts = line.split(',');
    for cell in &mut cells {
        let part = parts.next()?;
        *cell = part.strip_prefix('"').and_then(|part| part.strip_suffix('"')).unwrap_or(part);
    }
    parts.next().is_none().then_some(cells)
}
