//! What is measured on: figures without it mean little.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use crate::error::BenchError;
use crate::report::Machine;

/// Appends that are timed.
const APPENDS: usize = 200;
/// What `statfs` says of a file system in memory, where an fsync costs nothing.
const TMPFS: u64 = 0x0102_1994;

/// Looks at this machine; `scratch` is the folder of the servers' files.
///
/// # Errors
/// The folder cannot be written to.
pub fn look(scratch: &Path) -> Result<Machine, BenchError> {
    let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default(); // a name is nice to have
    let cpu = cpu_info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Ok(Machine {
        cpu: cpu.trim_start_matches([' ', '\t', ':']).to_owned(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        kernel: kernel.trim().to_owned(),
        fsync_us: fsync_us(scratch)?,
    })
}

/// Whether an fsync in this folder costs nothing, so that durable figures would be a lie.
pub fn is_in_memory(scratch: &Path) -> bool {
    rustix::fs::statfs(scratch).is_ok_and(|fs| fs.f_type as u64 == TMPFS)
}

fn fsync_us(scratch: &Path) -> Result<f64, BenchError> {
    let failed = || BenchError::doing(format!("append to a file in {}", scratch.display()));
    let dir = tempfile::tempdir_in(scratch).map_err(failed())?;
    let mut file =
        OpenOptions::new().append(true).create(true).open(dir.path().join("fsync")).map_err(failed())?;
    let mut times = Vec::with_capacity(APPENDS);
    for _ in 0..APPENDS {
        file.write_all(&[b'x'; 300]).map_err(failed())?;
        let start = Instant::now();
        file.sync_data().map_err(failed())?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    Ok(times[APPENDS / 2].as_secs_f64() * 1e6)
}
