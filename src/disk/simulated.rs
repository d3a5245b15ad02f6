//! A disk in memory that does the worst that a disk may do.
//!
//! What is written is *cached* until a `sync` forces it, and names are cached until their folder's `sync`. A
//! life of a server ends
//! - by being killed ([`SimulatedDisk::after_kill`]): the cache stays, and is as unforced as before; or
//! - by a power cut ([`SimulatedDisk::after_power_cut`]): of what was not forced, any sectors may be there and
//!   any lost (a hole reads as zeros), also those of a later write without those of an earlier one; of the names
//!   of a folder, the first few changes.
//!
//! The next life goes on with the disk that the one before left. A `sync` of a file that fails loses what it
//! should have forced, and says nothing of it the next time, as Linux does.
//!
//! `turmoil`'s simulated file system was looked at first. It fails and forgets at random, by probabilities, only
//! inside a simulated host: there is no "the third call fails with this error", no torn or reordered write, no
//! rename that is undone, and no second life over what a kill left in the cache. This is the smaller solution.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::{Access, File, FileKind, Folder, Stat, not_a_regular_file};

/// The sizes in bytes in which content gets to the disk; one of them for each power cut.
const SECTOR_BYTES: [usize; 2] = [512, 4_096];
/// The number of the outermost folder.
const ROOT: u64 = 0;

/// The disk. Clones are the same one; [`SimulatedDisk::copy`] makes another.
#[derive(Debug, Clone)]
pub struct SimulatedDisk(Arc<Mutex<State>>);

/// What is to go wrong in a life.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// The process dies before this change, counted from 0 in the life; a write is done in part.
    pub dies_at_change: Option<u64>,
    /// This call, counted from 0 in the life, fails in this way.
    pub fails_at_call: Option<(u64, Errno)>,
    /// No write takes more bytes than this at once; 0: there is no bound.
    pub short_write_bytes: usize,
    /// The disk takes no more bytes than this in all its files; 0: there is no bound.
    pub capacity_bytes: usize,
}

#[derive(Debug, Clone)]
struct State {
    things: BTreeMap<u64, Thing>,
    faults: Faults,
    changes: u64,
    calls: u64,
    dead: bool,
    random: Random,
}

#[derive(Debug, Clone)]
enum Thing {
    File(Content),
    Folder(Names),
}

#[derive(Debug, Clone, Default)]
struct Content {
    cached: Vec<u8>,
    durable: Vec<u8>,
    /// What `durable` lacks, in order.
    unforced: Vec<ContentChange>,
}

#[derive(Debug, Clone)]
enum ContentChange {
    Bytes { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Debug, Clone, Default)]
struct Names {
    cached: BTreeMap<String, u64>,
    durable: BTreeMap<String, u64>,
    unforced: Vec<NameChange>,
}

#[derive(Debug, Clone)]
enum NameChange {
    Add(String, u64),
    Rename(String, String),
    Remove(String),
}

impl ContentChange {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            ContentChange::Bytes { offset, bytes } => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(bytes);
            }
            ContentChange::Length(len) => content.resize(*len, 0),
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            NameChange::Add(name, thing) => drop(names.insert(name.clone(), *thing)),
            NameChange::Remove(name) => drop(names.remove(name)),
            NameChange::Rename(from, to) => {
                if let Some(thing) = names.remove(from) {
                    names.insert(to.clone(), thing);
                }
            }
        }
    }
}

impl Content {
    fn change(&mut self, change: ContentChange) {
        change.apply(&mut self.cached);
        self.unforced.push(change);
    }

    fn force(&mut self) {
        for change in self.unforced.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// Loses what was to be forced, but for some of it: of each sector, the disk has an older state or a newer.
    fn force_some(&mut self, sector_bytes: usize, random: &mut Random) {
        let mut changes = std::mem::take(&mut self.unforced);
        // A new length gives the file other places on the disk: without it, nothing that came after it is there.
        let lengths = changes.iter().enumerate().filter(|(_, c)| matches!(c, ContentChange::Length(_)));
        let lengths: Vec<usize> = lengths.map(|(at, _)| at).collect();
        if let Some(first_lost) = lengths.get(random.below(lengths.len() + 1)) {
            changes.truncate(*first_lost);
        }
        // All, nothing, or each sector by itself.
        let everywhere = [Some(changes.len()), Some(0), None, None][random.below(4)];
        let mut kept = BTreeMap::new();
        for (number, change) in changes.iter().enumerate() {
            let ContentChange::Bytes { offset, bytes } = change else {
                change.apply(&mut self.durable);
                continue;
            };
            let (mut at, end) = (*offset, offset + bytes.len());
            while at < end {
                let sector = at / sector_bytes;
                let next = ((sector + 1) * sector_bytes).min(end);
                let kept = kept
                    .entry(sector)
                    .or_insert_with(|| everywhere.unwrap_or_else(|| random.below(changes.len() + 1)));
                if number < *kept {
                    let part = bytes[at - offset..next - offset].to_vec();
                    ContentChange::Bytes { offset: at, bytes: part }.apply(&mut self.durable);
                }
                at = next;
            }
        }
    }

    fn cut_power(&mut self, sector_bytes: usize, random: &mut Random) {
        self.force_some(sector_bytes, random);
        self.cached.clone_from(&self.durable);
    }
}

impl Names {
    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.cached);
        self.unforced.push(change);
    }

    fn force(&mut self) {
        for change in self.unforced.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    fn cut_power(&mut self, random: &mut Random) {
        let kept = random.below(self.unforced.len() + 1);
        for change in std::mem::take(&mut self.unforced).iter().take(kept) {
            change.apply(&mut self.durable);
        }
        self.cached.clone_from(&self.durable);
    }
}

impl SimulatedDisk {
    /// An empty one. What is left to chance comes from `seed`.
    pub fn new(seed: u64) -> Self {
        SimulatedDisk(Arc::new(Mutex::new(State {
            things: BTreeMap::from([(ROOT, Thing::Folder(Names::default()))]),
            faults: Faults::default(),
            changes: 0,
            calls: 0,
            dead: false,
            random: Random(seed),
        })))
    }

    /// The outermost folder.
    pub fn root(&self) -> Arc<dyn Folder> {
        Arc::new(SimulatedFolder { disk: self.clone(), thing: ROOT, path: PathBuf::from("/disk") })
    }

    /// Another disk that is as this one is.
    pub fn copy(&self) -> Self {
        SimulatedDisk(Arc::new(Mutex::new(self.state().clone())))
    }

    /// Begins a life in which these things go wrong.
    pub fn begin(&self, faults: Faults) {
        let mut state = self.state();
        (state.faults, state.changes, state.calls, state.dead) = (faults, 0, 0, false);
    }

    /// How many calls that change something there were in this life.
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// How many calls of any kind there were in this life.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Whether the process has died. Every call fails then.
    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// The disk as the next process finds it, after this one was killed.
    pub fn after_kill(&self) -> Self {
        let after = self.copy();
        after.begin(Faults::default());
        after
    }

    /// The disk as it is after a power cut. `seed` decides what of the unforced is there.
    pub fn after_power_cut(&self, seed: u64) -> Self {
        let after = self.after_kill();
        {
            let mut state = after.state();
            let mut random = Random(seed);
            let sector = SECTOR_BYTES[random.below(SECTOR_BYTES.len())];
            for thing in state.things.values_mut() {
                match thing {
                    Thing::File(content) => content.cut_power(sector, &mut random),
                    Thing::Folder(names) => names.cut_power(&mut random),
                }
            }
            state.random = random;
        }
        after
    }

    /// Changes a file behind the server's back, in the cache and on the disk.
    pub fn tamper(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let thing = path.split('/').fold(ROOT, |folder, name| match &state.things[&folder] {
            Thing::Folder(names) => names.cached[name],
            Thing::File(_) => panic!("{name} is in no folder"),
        });
        let Some(Thing::File(content)) = state.things.get_mut(&thing) else { panic!("{path} is no file") };
        content.force();
        change(&mut content.cached);
        content.durable.clone_from(&content.cached);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What stands before a call is done.
enum Before {
    Goes,
    /// It dies; of a write, this many bytes in a thousand are done.
    Dies(usize),
}

impl State {
    /// Counts a call and lets it fail, when it is to fail.
    fn call(&mut self) -> io::Result<()> {
        if self.dead {
            return Err(io::Error::other("the process is dead"));
        }
        let number = self.calls;
        self.calls += 1;
        match self.faults.fails_at_call {
            Some((at, errno)) if at == number => Err(errno.into()),
            _ => Ok(()),
        }
    }

    /// The same for a call that changes something.
    fn change(&mut self) -> io::Result<Before> {
        self.call()?;
        let number = self.changes;
        self.changes += 1;
        if self.faults.dies_at_change == Some(number) {
            self.dead = true;
            return Ok(Before::Dies(self.random.below(1_000)));
        }
        Ok(Before::Goes)
    }

    fn change_whole(&mut self) -> io::Result<()> {
        match self.change()? {
            Before::Goes => Ok(()),
            Before::Dies(_) => Err(io::Error::other("the process dies")),
        }
    }

    fn file(&mut self, thing: u64) -> io::Result<&mut Content> {
        match self.things.get_mut(&thing) {
            Some(Thing::File(content)) => Ok(content),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn names(&mut self, thing: u64) -> io::Result<&mut Names> {
        match self.things.get_mut(&thing) {
            Some(Thing::Folder(names)) => Ok(names),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn add(&mut self, folder: u64, name: &str, thing: Thing) -> io::Result<u64> {
        let number = self.things.len() as u64;
        self.things.insert(number, thing);
        self.names(folder)?.change(NameChange::Add(name.to_owned(), number));
        Ok(number)
    }

    fn stat(&self, thing: u64) -> Option<Stat> {
        let (kind, len) = match self.things.get(&thing)? {
            Thing::File(content) => (FileKind::File, content.cached.len() as u64),
            Thing::Folder(_) => (FileKind::Folder, 0),
        };
        Some(Stat { kind, inode: (1, thing), len, mode: 0o600 })
    }

    fn used(&self) -> usize {
        let files = self.things.values().map(|thing| match thing {
            Thing::File(content) => content.cached.len(),
            Thing::Folder(_) => 0,
        });
        files.sum()
    }
}

#[derive(Debug)]
struct SimulatedFolder {
    disk: SimulatedDisk,
    thing: u64,
    path: PathBuf,
}

impl Folder for SimulatedFolder {
    fn path(&self) -> &Path {
        &self.path
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let mut state = self.disk.state();
        let found = state.names(self.thing)?.cached.get(name).copied();
        let thing = match (found, access) {
            (Some(_), Access::Create) => return Err(io::ErrorKind::AlreadyExists.into()),
            (None, Access::Create) => {
                state.change_whole()?;
                state.add(self.thing, name, Thing::File(Content::default()))?
            }
            (found, _) => {
                state.call()?;
                found.ok_or(io::ErrorKind::NotFound)?
            }
        };
        if state.file(thing).is_err() {
            return Err(not_a_regular_file(&self.path.join(name)));
        }
        let (disk, folder, name) = (self.disk.clone(), self.thing, name.to_owned());
        Ok(Arc::new(SimulatedFile { disk, thing, folder, name }))
    }

    fn folder(&self, name: &str) -> io::Result<Arc<dyn Folder>> {
        let mut state = self.disk.state();
        let thing = match state.names(self.thing)?.cached.get(name).copied() {
            Some(thing) => thing,
            None => {
                state.change_whole()?;
                state.add(self.thing, name, Thing::Folder(Names::default()))?
            }
        };
        state.names(thing)?;
        let (disk, path) = (self.disk.clone(), self.path.join(name));
        Ok(Arc::new(SimulatedFolder { disk, thing, path }))
    }

    fn stat(&self, name: &str) -> io::Result<Option<Stat>> {
        let mut state = self.disk.state();
        state.call()?;
        let thing = state.names(self.thing)?.cached.get(name).copied();
        Ok(thing.and_then(|thing| state.stat(thing)))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.disk.state();
        state.call()?;
        Ok(state.names(self.thing)?.cached.keys().cloned().collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.disk.state();
        if !state.names(self.thing)?.cached.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_whole()?;
        state.names(self.thing)?.change(NameChange::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.disk.state();
        if !state.names(self.thing)?.cached.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_whole()?;
        state.names(self.thing)?.change(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.change_whole()?;
        state.names(self.thing)?.force();
        Ok(())
    }

    fn in_place(&self) -> io::Result<bool> {
        self.disk.state().call()?;
        Ok(true)
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    thing: u64,
    folder: u64,
    name: String,
}

impl File for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.call()?;
        let cached = &state.file(self.thing)?.cached;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(cached.len());
        let count = buffer.len().min(cached.len() - start);
        buffer[..count].copy_from_slice(&cached[start..start + count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        let before = state.change()?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let Faults { short_write_bytes, capacity_bytes, .. } = state.faults;
        let mut count = bytes.len();
        if short_write_bytes > 0 {
            count = count.min(short_write_bytes);
        }
        if capacity_bytes > 0 {
            let overwritten = state.file(self.thing)?.cached.len().saturating_sub(offset);
            let room = overwritten + capacity_bytes.saturating_sub(state.used());
            if room == 0 && count > 0 {
                return Err(Errno::NOSPC.into());
            }
            count = count.min(room);
        }
        if let Before::Dies(thousandths) = before {
            count = count * thousandths / 1_000;
        }
        let change = ContentChange::Bytes { offset, bytes: bytes[..count].to_vec() };
        state.file(self.thing)?.change(change);
        match before {
            Before::Goes => Ok(count),
            Before::Dies(_) => Err(io::Error::other("the process dies")),
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.change_whole()?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        state.file(self.thing)?.change(ContentChange::Length(len));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        let dead = state.dead;
        if let Err(error) = state.change_whole() {
            // One that fails forgets what it should have forced; one that was not made, or was interrupted, does not.
            if !dead && !state.dead && error.kind() != io::ErrorKind::Interrupted {
                let State { things, random, .. } = &mut *state;
                if let Some(Thing::File(content)) = things.get_mut(&self.thing) {
                    content.force_some(SECTOR_BYTES[0], random);
                }
            }
            return Err(error);
        }
        state.file(self.thing)?.force();
        Ok(())
    }

    fn stat(&self) -> io::Result<Stat> {
        let mut state = self.disk.state();
        state.call()?;
        state.stat(self.thing).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn stat_by_path(&self) -> io::Result<Option<Stat>> {
        let mut state = self.disk.state();
        state.call()?;
        let thing = state.names(self.folder)?.cached.get(&self.name).copied();
        Ok(thing.and_then(|thing| state.stat(thing)))
    }
}

/// Steele, Lea and Flood's SplitMix64: small, and the same for a seed everywhere.
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(disk: &SimulatedDisk) -> Arc<dyn File> {
        disk.root().open("file", Access::Create).expect("made")
    }

    fn content(disk: &SimulatedDisk) -> Option<Vec<u8>> {
        crate::disk::read_whole(&*disk.root(), "file", 1 << 20).expect("read")
    }

    #[test]
    fn what_was_not_forced_outlives_a_kill_and_may_not_outlive_a_power_cut() {
        let disk = SimulatedDisk::new(1);
        let open = file(&disk);
        open.write_all_at(b"forced", 0).expect("written");
        open.sync().expect("forced");
        disk.root().sync().expect("forced");
        open.write_all_at(b"unforced", 6).expect("written");
        assert_eq!(content(&disk.after_kill()).as_deref(), Some(&b"forcedunforced"[..]));
        let outcomes: std::collections::BTreeSet<_> =
            (0..200).map(|seed| content(&disk.after_power_cut(seed)).expect("its name was forced")).collect();
        assert!(outcomes.contains(&b"forced"[..]) && outcomes.contains(&b"forcedunforced"[..]));
        assert!(outcomes.iter().all(|outcome| outcome.starts_with(b"forced")), "{outcomes:?}");
        assert!(content(&disk.after_power_cut(3).after_kill()).is_some());
    }

    #[test]
    fn a_name_that_was_not_forced_may_be_undone_and_a_folder_that_failed_is_owed() {
        let disk = SimulatedDisk::new(1);
        let open = file(&disk);
        open.sync().expect("forced");
        assert!((0..50).any(|seed| content(&disk.after_power_cut(seed)).is_none()));
        disk.begin(Faults { fails_at_call: Some((0, Errno::IO)), ..Faults::default() });
        disk.root().sync().expect_err("it fails once");
        assert!((0..50).any(|seed| content(&disk.after_power_cut(seed)).is_none()));
        disk.root().sync().expect("forced");
        assert!((0..50).all(|seed| content(&disk.after_power_cut(seed)).is_some()));
    }

    #[test]
    fn a_second_sync_does_not_bring_back_what_the_first_one_lost() {
        let lost = (0..50).any(|seed| {
            let disk = SimulatedDisk::new(seed);
            let open = file(&disk);
            disk.root().sync().expect("forced");
            open.write_all_at(b"lost", 0).expect("written");
            disk.begin(Faults { fails_at_call: Some((0, Errno::IO)), ..Faults::default() });
            open.sync().expect_err("it fails once");
            open.sync().expect("it says nothing of it");
            assert_eq!(content(&disk).as_deref(), Some(&b"lost"[..]), "it can be read");
            content(&disk.after_power_cut(seed)).as_deref() != Some(&b"lost"[..])
        });
        assert!(lost);
    }

    #[test]
    fn a_life_ends_at_the_change_that_it_is_told_and_writes_are_short() {
        let disk = SimulatedDisk::new(1);
        disk.begin(Faults { dies_at_change: Some(2), short_write_bytes: 3, ..Faults::default() });
        let open = file(&disk);
        assert_eq!(open.write_at(b"abcdef", 0).expect("a part"), 3);
        open.write_at(b"def", 3).expect_err("dies");
        assert!(disk.is_dead());
        open.sync().expect_err("nobody is there");
        assert!(content(&disk.after_kill()).expect("its name is cached").len() < 6);
    }

    #[test]
    fn a_full_disk_takes_what_it_has_room_for() {
        let disk = SimulatedDisk::new(1);
        disk.begin(Faults { capacity_bytes: 4, ..Faults::default() });
        let open = file(&disk);
        assert_eq!(open.write_at(b"abcdef", 0).expect("a part"), 4);
        assert_eq!(
            open.write_at(b"e", 4).expect_err("full").raw_os_error(),
            Some(Errno::NOSPC.raw_os_error())
        );
        assert_eq!(open.write_at(b"A", 0).expect("overwritten"), 1);
    }
}
