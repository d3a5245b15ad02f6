//! What was set aside because it was damaged, and whether the operator has looked at it.
//!
//! Damage is told in the log when it is found, and logs are not read every day; so `status` tells it too, as
//! something that is wrong, until `status --seen` says that somebody knows. That is kept in the file `seen`:
//! a line for each thing that was known then. What changes after that is something new.

use std::io;
use std::sync::Arc;

use crate::disk::append::replace;
use crate::disk::{Folder, read_whole};

/// The name of the file in the data directory.
const SEEN_FILE: &str = "seen";
/// How the names of files end that hold rows which were set aside.
const REJECTED_ENDING: &str = ".rejected";
/// The largest file of its kind that is read, in bytes.
const MAX_SEEN_BYTES: u64 = 64 * 1024;

/// Something that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What tells it from another, without spaces at its ends or newlines.
    mark: String,
    /// What it is, in words.
    pub sentence: String,
}

/// What there is to look at.
#[derive(Debug, Clone)]
pub struct SetAside {
    data: Arc<dyn Folder>,
    history: Option<Finding>,
}

impl SetAside {
    /// What is set aside in the data directory `data`, with damaged places of the history: the first of them, each
    /// with its file and place, and how many there are in all.
    pub fn new(data: &Arc<dyn Folder>, history: &[String], in_all: u64) -> Self {
        let history = (in_all > 0).then(|| {
            let mut sum = crc32fast::Hasher::new();
            history.iter().for_each(|place| sum.update(place.as_bytes()));
            let places =
                if in_all == 1 { "1 damaged place".into() } else { format!("{in_all} damaged places") };
            let first = history.first().map(|place| format!(", the first in {place}")).unwrap_or_default();
            Finding {
                mark: format!("history {in_all} {:08x}", sum.finalize()),
                sentence: format!("{places} in the history{first}"),
            }
        });
        SetAside { data: Arc::clone(data), history }
    }

    /// What nobody has acknowledged yet. Reads the data directory.
    ///
    /// # Errors
    /// What the system says.
    pub fn unseen(&self) -> io::Result<Vec<Finding>> {
        let mut findings = self.findings()?;
        if !findings.is_empty() {
            let seen = self.read_seen()?;
            findings.retain(|finding| !seen.lines().any(|line| line == finding.mark));
        }
        Ok(findings)
    }

    /// Notes that somebody knows of everything that is set aside now. Answers of how many things that is new.
    ///
    /// # Errors
    /// What the system says; what was noted before is still there then.
    pub fn acknowledge(&self) -> io::Result<usize> {
        let unseen = self.unseen()?.len();
        if unseen == 0 {
            return Ok(0);
        }
        let marks: String = self.findings()?.into_iter().map(|finding| finding.mark + "\n").collect();
        replace(&*self.data, SEEN_FILE, marks.as_bytes())?;
        Ok(unseen)
    }

    fn findings(&self) -> io::Result<Vec<Finding>> {
        let mut findings: Vec<Finding> = self.history.iter().cloned().collect();
        for name in self.data.list()? {
            let Some(of) = name.strip_suffix(REJECTED_ENDING) else { continue };
            match self.data.stat(&name)? {
                Some(about) if about.len > 0 => findings.push(Finding {
                    mark: format!("{name} {}", about.len).replace('\n', " "),
                    sentence: format!("rows of {of}.csv were set aside in {name}"),
                }),
                _ => {}
            }
        }
        findings.sort_by(|one, other| one.mark.cmp(&other.mark));
        Ok(findings)
    }

    fn read_seen(&self) -> io::Result<String> {
        match read_whole(&*self.data, SEEN_FILE, MAX_SEEN_BYTES) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()),
            // Whatever else has taken its place says nothing.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) =>
            {
                Ok(String::new())
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::simulated::SimulatedDisk;

    fn sentences(set_aside: &SetAside) -> Vec<String> {
        set_aside.unseen().unwrap().into_iter().map(|finding| finding.sentence).collect()
    }

    #[test]
    fn what_was_seen_is_told_no_more_until_it_changes() {
        let disk = SimulatedDisk::new(1);
        let data = disk.root();
        let sound = SetAside::new(&data, &[], 0);
        assert_eq!(sentences(&sound), Vec::<String>::new());
        assert_eq!(sound.acknowledge().unwrap(), 0);

        let damaged = SetAside::new(&data, &["2026-11.csv, line 5: x".into()], 2);
        let told = "2 damaged places in the history, the first in 2026-11.csv, line 5: x";
        assert_eq!(sentences(&damaged), [told]);
        replace(&*data, "clients.rejected", b"a row\n").unwrap();
        assert_eq!(sentences(&damaged), ["rows of clients.csv were set aside in clients.rejected", told]);
        assert_eq!(damaged.acknowledge().unwrap(), 2);
        assert_eq!(sentences(&damaged), Vec::<String>::new());
        assert_eq!(damaged.acknowledge().unwrap(), 0);

        let again = SetAside::new(&data, &["2026-11.csv, line 5: x".into()], 2);
        assert_eq!(sentences(&again), Vec::<String>::new(), "also in the next life");
        replace(&*data, "clients.rejected", b"a row\nanother\n").unwrap();
        assert_eq!(sentences(&again).len(), 1);
        let other = SetAside::new(&data, &["2026-11.csv, line 6: x".into()], 2);
        assert_eq!(sentences(&other).len(), 2);
    }
}
