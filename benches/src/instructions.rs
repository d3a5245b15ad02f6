//! Instructions that a server executes, counted by the processor.
//!
//! CPU time depends on who else uses the machine; the number of instructions hardly does. Counting has its own
//! price, at every switch of threads above all, so it is done in runs of its own, in which times mean nothing.

use std::ops::Sub;

use perf_event::events::Hardware;
use perf_event::{Builder, Counter};

use crate::error::BenchError;

/// Instructions since counting began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Instructions {
    /// In the server's own code.
    pub user: u64,
    /// In the kernel, for it.
    pub kernel: u64,
}

impl Instructions {
    /// Both.
    pub fn total(self) -> u64 {
        self.user + self.kernel
    }
}

impl Sub for Instructions {
    type Output = Instructions;

    fn sub(self, earlier: Instructions) -> Instructions {
        Instructions {
            user: self.user.saturating_sub(earlier.user),
            kernel: self.kernel.saturating_sub(earlier.kernel),
        }
    }
}

/// Counts what one process executes.
#[derive(Debug)]
pub struct InstructionCounter {
    user: Counter,
    kernel: Counter,
}

impl InstructionCounter {
    /// Counts the process `pid`, which has just begun: threads that it begins from now on are counted, too.
    ///
    /// # Errors
    /// The processor has no counters (some virtual machines), or the system keeps them from us.
    pub fn of(pid: u32) -> Result<Self, BenchError> {
        let counter = |exclude_user: bool| {
            let mut builder = Builder::new(Hardware::INSTRUCTIONS);
            builder.observe_pid(pid as i32).any_cpu().inherit(true).enabled(true);
            builder.exclude_user(exclude_user).exclude_kernel(!exclude_user).build()
        };
        let doing = "count instructions; see that /proc/sys/kernel/perf_event_paranoid is at most 1";
        Ok(InstructionCounter {
            user: counter(false).map_err(BenchError::doing(doing))?,
            kernel: counter(true).map_err(BenchError::doing(doing))?,
        })
    }

    /// What was counted so far.
    ///
    /// # Errors
    /// What the system says.
    pub fn read(&mut self) -> Result<Instructions, BenchError> {
        Ok(Instructions {
            user: self.user.read().map_err(BenchError::doing("read a counter"))?,
            kernel: self.kernel.read().map_err(BenchError::doing("read a counter"))?,
        })
    }
}
