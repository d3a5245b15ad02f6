//! A thin coat over epoll, level-triggered: the floor and the generator both wait with it.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

/// Events taken at once.
const EVENTS: usize = 1_024;

/// What a socket is ready for.
#[derive(Debug, Clone, Copy)]
pub struct Ready {
    /// What it was added as.
    pub key: usize,
    /// It has bytes, an end or an error to read.
    pub readable: bool,
    /// It takes bytes again.
    pub writable: bool,
}

/// Waits for many sockets.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    /// A poller with no sockets.
    ///
    /// # Errors
    /// What the system says.
    pub fn new() -> Result<Self, Errno> {
        Ok(Poller { epoll: epoll::create(CreateFlags::CLOEXEC)? })
    }

    /// Waits for `socket` to be readable from now on, as `key`.
    ///
    /// # Errors
    /// What the system says.
    pub fn add(&self, socket: impl AsFd, key: usize) -> Result<(), Errno> {
        epoll::add(&self.epoll, socket, EventData::new_u64(key as u64), EventFlags::IN)
    }

    /// Whether to wait for `socket` to be writable too.
    ///
    /// # Errors
    /// What the system says.
    pub fn want_write(&self, socket: impl AsFd, key: usize, writable: bool) -> Result<(), Errno> {
        let flags = if writable { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
        epoll::modify(&self.epoll, socket, EventData::new_u64(key as u64), flags)
    }

    /// Waits no more for `socket`.
    ///
    /// # Errors
    /// What the system says.
    pub fn remove(&self, socket: impl AsFd) -> Result<(), Errno> {
        epoll::delete(&self.epoll, socket)
    }

    /// Waits until something is ready, or for `timeout`, and writes what is ready to `ready`.
    ///
    /// # Errors
    /// What the system says; an interruption is no error.
    pub fn wait(&self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> Result<(), Errno> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs().min(3_600) as i64,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        ready.clear();
        let mut events = [const { MaybeUninit::<Event>::uninit() }; EVENTS];
        let (events, _) = match epoll::wait(&self.epoll, &mut events, timeout.as_ref()) {
            Err(Errno::INTR) => return Ok(()),
            result => result?,
        };
        ready.extend(events.iter().map(|event| {
            let (flags, data) = (event.flags, event.data);
            let failed = flags.intersects(EventFlags::ERR | EventFlags::HUP);
            Ready {
                key: data.u64() as usize,
                readable: failed || flags.contains(EventFlags::IN),
                writable: flags.contains(EventFlags::OUT),
            }
        }));
        Ok(())
    }
}
