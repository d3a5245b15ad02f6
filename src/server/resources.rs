//! What a server needs of the system: threads and descriptors. All of it is taken before anybody is served, so
//! that a system that has too little of it is an error at the start, and not a panic later.

use std::fs::File;
use std::io;
use std::thread;
use std::time::Duration;

use actix_rt::{System, SystemRunner};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Builder;

/// How long a runtime keeps a thread for work that blocks. tokio panics when it cannot start the first one, and
/// lets work wait when it cannot start another; so the first one is started at the beginning, and stays.
pub const KEEP_THREADS: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
/// Descriptors that are needed to start at all, but for those of each I/O thread and each month of the history.
const FILES_TO_START: usize = 24;
/// Descriptors that each I/O thread takes.
const FILES_OF_A_THREAD: usize = 4;
/// Descriptors that have to be left once everything is open: a client, a new month, a rewrite, the log.
const FILES_TO_SERVE: usize = 12;

/// Too few files may be open.
#[derive(Debug, thiserror::Error)]
#[error(
    "the system allows {} open files, and that is {wanted} too few ({error}); raise the limit (ulimit -n, LimitNOFILE of a service)",
    allowed()
)]
pub struct FewFiles {
    wanted: usize,
    error: io::Error,
}

/// Raises the soft limit on open files to the hard one: every connection is a file, and the usual soft limit
/// of 1 024 is there for programs that use `select`. Answers what to tell when that is not possible.
pub fn raise_open_files() -> Option<String> {
    let limit = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    raised.err().map(|why| format!("the limit on open files stays at {:?}: {why}", limit.current))
}

/// Whether there are descriptors to start with, for so many I/O threads.
///
/// # Errors
/// [`FewFiles`].
pub fn files_to_start(io_threads: usize) -> Result<(), FewFiles> {
    spare_files(FILES_TO_START + FILES_OF_A_THREAD * io_threads)
}

/// Whether there are descriptors left to serve clients with, or to work on the accounts.
///
/// # Errors
/// [`FewFiles`].
pub fn files_to_serve() -> Result<(), FewFiles> {
    spare_files(FILES_TO_SERVE)
}

fn spare_files(count: usize) -> Result<(), FewFiles> {
    let mut open = Vec::with_capacity(count);
    while open.len() < count {
        match File::open("/dev/null") {
            Ok(file) => open.push(file),
            Err(error) => return Err(FewFiles { wanted: count - open.len(), error }),
        }
    }
    Ok(())
}

fn allowed() -> String {
    getrlimit(Resource::Nofile).current.map_or_else(|| "some".into(), |most| most.to_string())
}

/// An actix system whose runtime does not panic for want of threads.
///
/// # Errors
/// What the system says when it has no thread or no epoll left.
pub fn system() -> io::Result<SystemRunner> {
    let runtime =
        Builder::new_current_thread().enable_io().enable_time().thread_keep_alive(KEEP_THREADS).build()?;
    one_more_thread()?;
    drop(runtime.spawn_blocking(|| {}));
    Ok(System::with_tokio_rt(|| runtime))
}

/// Whether there can be one more thread. Its place is free again when this returns, for a thread that is started
/// by somebody who would panic.
///
/// # Errors
/// What the system says.
pub fn one_more_thread() -> io::Result<()> {
    let thread = thread::Builder::new().name("trial".into()).spawn(|| {})?;
    thread.join().map_err(|_| io::Error::other("a thread ended while it began"))
}
