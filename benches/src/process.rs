//! What a process has used, from `/proc`.

use std::fs;
use std::ops::Sub;
use std::time::Duration;

use crate::error::BenchError;

/// CPU time of a process since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// In its own code.
    pub user: Duration,
    /// In the kernel, for it.
    pub system: Duration,
}

impl CpuTime {
    /// Both.
    pub fn total(self) -> Duration {
        self.user + self.system
    }
}

impl Sub for CpuTime {
    type Output = CpuTime;

    fn sub(self, earlier: CpuTime) -> CpuTime {
        CpuTime {
            user: self.user.saturating_sub(earlier.user),
            system: self.system.saturating_sub(earlier.system),
        }
    }
}

/// CPU time of the process `pid`, from `/proc/PID/stat`, with all its threads; in steps of a clock tick,
/// mostly 10 ms.
///
/// # Errors
/// The process is gone.
pub fn cpu_time(pid: u32) -> Result<CpuTime, BenchError> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).map_err(BenchError::doing(format!("read {path}")))?;
    parse_stat(&stat, rustix::param::clock_ticks_per_second())
        .ok_or_else(|| BenchError::Server(format!("{path} makes no sense: {stat}")))
}

/// CPU time of this program.
///
/// # Errors
/// There is no `/proc`.
pub fn own_cpu_time() -> Result<CpuTime, BenchError> {
    cpu_time(std::process::id())
}

/// The program's name, which may hold anything, ends at the last parenthesis.
fn parse_stat(stat: &str, ticks_per_second: u64) -> Option<CpuTime> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    let mut next = || {
        let ticks = ticks.next()?.ok()?;
        Some(Duration::from_micros(ticks * 1_000_000 / ticks_per_second.max(1)))
    };
    Some(CpuTime { user: next()?, system: next()? })
}

/// Memory of the process `pid` that is in RAM, in KiB.
///
/// # Errors
/// The process is gone.
pub fn resident_kib(pid: u32) -> Result<u64, BenchError> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).map_err(BenchError::doing(format!("read {path}")))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .ok_or_else(|| BenchError::Server(format!("{path} has no VmRSS: the process has ended")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_stand_behind_the_name() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 4 0 1000 0 0";
        let cpu = CpuTime { user: Duration::from_millis(2_500), system: Duration::from_millis(500) };
        assert_eq!(parse_stat(stat, 100), Some(cpu));
        assert_eq!(parse_stat("no", 100), None);
    }

    #[test]
    fn this_process_can_be_read() {
        own_cpu_time().expect("this process lives");
        assert!(resident_kib(std::process::id()).expect("this process lives") > 0);
    }
}
