//! The device file, `devices.csv`: tokens that have died, by their hashes, for a few months, so that a device
//! that shows one is known ([`crate::chat::accounts::devices`]).
//!
//! It is a log like `sessions.csv`: a line says that an account *had* a token, or that the account is *gone*.
//! A line is bound together with a key, and one that is damaged is left out: that device is unknown then. The
//! file is written anew, from itself, when it has grown or holds much that is over.

use std::io;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::accounts::StoreError;
use crate::chat::accounts::devices::Devices;
use crate::disk::append::{AppendFile, replace};
use crate::disk::{Folder, read_whole};
use crate::model::{Device, StoredSession, Timestamp, TokenHash};
use crate::secrets::seal::{Sealer, same_tag};

const FILE_NAME: &str = "devices.csv";
const HEADER: &str = "event,account,session,token,at,check\n";
const COLUMNS: usize = 6;
/// What a hash begins with, so that no cell begins a formula.
const PREFIX: &str = "v1:";
/// The file is written anew when it is larger than this, in bytes, …
const COMPACT_ABOVE_BYTES: u64 = 1 << 20;
/// … and this many times as large as it was after the last time.
const COMPACT_GROWTH: u64 = 4;
/// More than is ever read, in bytes: a file of ours is written anew long before.
const MOST_BYTES: u64 = 1 << 32;

/// Something to remember.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceEvent {
    /// A token has died.
    Had(Device),
    /// The account with this row is no more.
    Gone(u64),
}

/// How much is remembered, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct DeviceLimits {
    /// Tokens of one account.
    pub per_account: usize,
    /// Days since a token died.
    pub days: u32,
}

/// What was found on opening.
#[derive(Debug)]
pub struct OpenedDevices {
    /// The file, for the thread that writes.
    pub file: DeviceFile,
    /// What is remembered.
    pub devices: Devices,
    /// Lines that were none of this file's.
    pub damaged: usize,
}

impl OpenedDevices {
    /// Remembers the tokens of sessions that have ended unseen.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn add(&mut self, ended: &[StoredSession], at: Timestamp) -> Result<(), StoreError> {
        let tokens = ended.iter().flat_map(|session| {
            let tokens = std::iter::once(session.token).chain(session.previous);
            let (account, number) = (session.account, session.number);
            tokens.map(move |token| Device { account, session: number, token, at })
        });
        let events: Vec<_> = tokens.map(DeviceEvent::Had).collect();
        self.file.commit(&events, true)?;
        for event in events {
            if let DeviceEvent::Had(device) = event {
                self.devices.add(device);
            }
        }
        Ok(())
    }
}

/// `devices.csv`, open for one writer.
#[derive(Debug)]
pub struct DeviceFile {
    folder: Arc<dyn Folder>,
    sealer: Arc<Sealer>,
    limits: DeviceLimits,
    file: AppendFile,
    compacted_len: u64,
    /// The file is not known to hold what it should, or to take more: the next commit writes it anew.
    distrusted: bool,
}

impl DeviceFile {
    /// Reads `devices.csv` in `folder`; tokens of accounts that `keep` refuses are forgotten.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(
        folder: Arc<dyn Folder>,
        sealer: Arc<Sealer>,
        limits: DeviceLimits,
        now: Timestamp,
        keep: impl Fn(u64) -> bool,
    ) -> Result<OpenedDevices, StoreError> {
        let failed = |source| StoreError::Io { path: folder.path().join(FILE_NAME), source };
        let found = ScannedDevices::read(&*folder, &sealer, limits).map_err(failed)?;
        let ScannedDevices { mut devices, lines, damaged, is_torn } = found;
        let of_nobody = devices.iter().any(|device| !keep(device.account));
        devices.retain(now, keep);
        // A line too many for each that counts is a file half
        // of which is over.
        if is_torn || damaged > 0 || of_nobody || lines > 2 * devices.len() + 1_000 {
            write_anew(&*folder, &sealer, &devices).map_err(failed)?;
        }
        let file = AppendFile::open(&*folder, FILE_NAME, HEADER.as_bytes()).map_err(failed)?;
        let compacted_len = file.len();
        let file = DeviceFile { folder, sealer, limits, file, compacted_len, distrusted: false };
        Ok(OpenedDevices { file, devices, damaged })
    }

    /// Writes events; with `durable` they are on the disk when this returns.
    ///
    /// # Errors
    /// [`StoreError`]; the events are lost then.
    pub fn commit(&mut self, events: &[DeviceEvent], durable: bool) -> Result<(), StoreError> {
        if events.is_empty() {
            return Ok(());
        }
        let path = self.folder.path().join(FILE_NAME);
        let failed = |source| StoreError::Io { path: path.clone(), source };
        let most = COMPACT_ABOVE_BYTES.max(self.compacted_len.saturating_mul(COMPACT_GROWTH));
        if self.distrusted || self.file.len() > most || !self.file.in_place().map_err(failed)? {
            self.compact().map_err(failed)?;
        }
        let lines: String = events.iter().map(|event| encode(&self.sealer, event)).collect();
        let appended = self.file.append(lines.as_bytes());
        let result = appended.and_then(|_| if durable { self.file.sync() } else { Ok(()) });
        self.distrusted = result.is_err();
        result.map_err(|source| StoreError::Append { path, source })
    }

    /// Forgets all.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn clear(&mut self) -> Result<(), StoreError> {
        let path = self.folder.path().join(FILE_NAME);
        self.replace(&Devices::new(0, 0)).map_err(|source| StoreError::Io { path, source })
    }

    /// Writes the file anew from what it holds, without what is over.
    fn compact(&mut self) -> io::Result<()> {
        let mut devices = ScannedDevices::read(&*self.folder, &self.sealer, self.limits)?.devices;
        devices.retain(Timestamp::now(), |_| true);
        self.replace(&devices)
    }

    fn replace(&mut self, devices: &Devices) -> io::Result<()> {
        self.distrusted = true;
        write_anew(&*self.folder, &self.sealer, devices)?;
        self.file = AppendFile::open(&*self.folder, FILE_NAME, HEADER.as_bytes())?;
        (self.compacted_len, self.distrusted) = (self.file.len(), false);
        Ok(())
    }
}

fn write_anew(folder: &dyn Folder, sealer: &Sealer, devices: &Devices) -> io::Result<()> {
    let lines = devices.iter().map(|device| encode(sealer, &DeviceEvent::Had(*device)));
    let text: String = std::iter::once(HEADER.to_owned()).chain(lines).collect();
    Ok(replace(folder, FILE_NAME, text.as_bytes())?)
}

/// The line of an event, with its end.
fn encode(sealer: &Sealer, event: &DeviceEvent) -> String {
    let cells = match event {
        DeviceEvent::Had(Device { account, session, token, at }) => {
            let token = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(token.as_bytes()));
            ["had".to_owned(), account.to_string(), session.to_string(), token, at.to_string()]
        }
        DeviceEvent::Gone(account) => {
            ["gone".to_owned(), account.to_string(), String::new(), String::new(), String::new()]
        }
    };
    let check = check(sealer, &cells.each_ref().map(String::as_str));
    format!("{},{check}\n", cells.join(","))
}

fn check(sealer: &Sealer, cells: &[&str]) -> String {
    // Its own word in front keeps a line of this file apart from one of the session file.
    sealer.bind_session(&[&["device"], cells].concat())
}

/// Reads a line, `None` when it is none that we wrote.
fn decode(sealer: &Sealer, line: &[u8]) -> Option<DeviceEvent> {
    let unquoted = |cell| str::strip_prefix(cell, '"').and_then(|c| c.strip_suffix('"')).unwrap_or(cell);
    let cells: Vec<&str> = std::str::from_utf8(line).ok()?.split(',').map(unquoted).collect();
    let cells: [&str; COLUMNS] = cells.try_into().ok()?;
    if !same_tag(&check(sealer, &cells[..COLUMNS - 1]), cells[COLUMNS - 1]) {
        return None;
    }
    let account = cells[1].parse().ok()?;
    match cells[0] {
        "had" => {
            let token = BASE64_URL_SAFE_NO_PAD.decode(cells[3].strip_prefix(PREFIX)?).ok()?;
            Some(DeviceEvent::Had(Device {
                account,
                session: cells[2].parse().ok()?,
                token: TokenHash::from_bytes(token.try_into().ok()?),
                at: cells[4].parse().ok()?,
            }))
        }
        "gone" => Some(DeviceEvent::Gone(account)),
        _ => None,
    }
}

/// What the file says when it is read to its end.
struct ScannedDevices {
    devices: Devices,
    lines: usize,
    damaged: usize,
    /// Whether its last line lacks its end.
    is_torn: bool,
}

impl ScannedDevices {
    fn read(folder: &dyn Folder, sealer: &Sealer, limits: DeviceLimits) -> io::Result<Self> {
        let bytes = read_whole(folder, FILE_NAME, MOST_BYTES)?.unwrap_or_default();
        let devices = Devices::new(limits.per_account, limits.days);
        let is_torn = bytes.last().is_some_and(|byte| *byte != b'\n');
        let mut found = ScannedDevices { devices, lines: 0, damaged: 0, is_torn };
        for line in bytes.split(|byte| *byte == b'\n').skip(1) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            found.lines += 1;
            match decode(sealer, line) {
                Some(DeviceEvent::Had(device)) => found.devices.add(device),
                Some(DeviceEvent::Gone(account)) => found.devices.forget(account),
                None => found.damaged += 1,
            }
        }
        // What a crash tore off was no damage.
        found.damaged = found.damaged.saturating_sub(usize::from(is_torn));
        Ok(found)
    }
}

#[cfg(test)]
#[path = "devices_tests.rs"]
mod tests;
