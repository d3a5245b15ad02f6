//! Logs for tests: each implementation, as something that can be opened again and be made to refuse.

use super::history::{self, CsvLog, CsvLogOptions, HistoryOptions};
use super::log::MessageLog;
use super::memory_log::MemoryStore;
use crate::config::Durability;
use crate::disk::simulated::{Faults, SimulatedDisk};
use crate::model::{MessageId, Timestamp};

/// A log that can be opened again, and be made to refuse.
pub trait LogRig {
    /// An empty one.
    fn new(seed: u64) -> Self;

    /// Opens the log over what the last one stored.
    fn open(&self) -> Box<dyn MessageLog>;

    /// Whether what comes is refused from now on.
    fn set_refusing(&self, refuses: bool);
}

/// The CSV log over a simulated disk, with a thread that forces, or on the spot.
pub struct CsvRig<const FSYNC: bool>(SimulatedDisk);

impl<const FSYNC: bool> CsvRig<FSYNC> {
    /// Opens the log; an id up to this one was used.
    pub fn open_above(&self, used: Option<MessageId>) -> CsvLog {
        let options = HistoryOptions { now: Timestamp::now(), key_seconds: 3_600, keys_per_account: 1_000 };
        let opened = history::open(&self.0.root(), options).expect("it opens");
        let durability = if FSYNC { Durability::Fsync } else { Durability::Os };
        CsvLog::new(opened, CsvLogOptions { durability, batch_messages: 5, used }, ()).expect("a thread")
    }
}

impl<const FSYNC: bool> LogRig for CsvRig<FSYNC> {
    fn new(seed: u64) -> Self {
        CsvRig(SimulatedDisk::new(seed))
    }

    fn open(&self) -> Box<dyn MessageLog> {
        Box::new(self.open_above(None))
    }

    fn set_refusing(&self, refuses: bool) {
        self.0.begin(Faults { capacity_bytes: usize::from(refuses), ..Faults::default() });
    }
}

impl LogRig for MemoryStore {
    fn new(seed: u64) -> Self {
        MemoryStore::new(seed)
    }

    fn open(&self) -> Box<dyn MessageLog> {
        Box::new(MemoryStore::open(self))
    }

    fn set_refusing(&self, refuses: bool) {
        self.refuse(if refuses { usize::MAX } else { 0 });
    }
}
