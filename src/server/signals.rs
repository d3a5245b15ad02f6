//! What the process does about signals.
//!
//! SIGTERM and SIGINT stop the server in order, a second one at once; SIGHUP opens the log anew and reads the
//! configuration again. SIGXFSZ is caught so that a file that may not grow is an error of that write (EFBIG)
//! and not the end of the process. SIGTSTP, which a terminal sends for Ctrl-Z, would stop the chat of everybody,
//! and only gets a sentence. SIGPIPE is ignored by Rust already.

use std::io;
use std::sync::Arc;

use log::{info, warn};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;

use crate::actors::console::printer::Printer;
use crate::actors::console::terminal;
use crate::config::load::ConfigSource;
use crate::logging::LogControl;

/// The number of SIGXFSZ on every Unix that Rust's standard library supports except MIPS Linux.
const SIGXFSZ: i32 = 25;
/// That of SIGTSTP, which Ctrl-Z sends.
const SIGTSTP: i32 = rustix::process::Signal::TSTP.as_raw();
/// The exit status after a second SIGTERM or SIGINT: the same as after one. What was acknowledged is stored.
const ENDED_AT_ONCE: i32 = 0;

/// Watches for signals from now on. `stop` is notified for the first SIGTERM or SIGINT.
///
/// # Errors
/// What the system says when it installs no handler.
pub fn watch(stop: Arc<Notify>, log: LogControl, source: ConfigSource, printer: Printer) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    let mut file_size = signal(SignalKind::from_raw(SIGXFSZ))?;
    let mut suspend = signal(SignalKind::from_raw(SIGTSTP))?;
    actix_rt::spawn(async move {
        let mut stopping = false;
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
                _ = hang_up.recv() => {
                    reload(&log, &source);
                    continue;
                }
                _ = suspend.recv() => {
                    info!("SIGTSTP, which does nothing: SIGSTOP stops the process all the same");
                    printer.print(terminal::NOT_SUSPENDED);
                    continue;
                }
                _ = file_size.recv() => {
                    warn!("a file has reached the size that the system allows (SIGXFSZ)");
                    continue;
                }
            };
            info!("{name}");
            if stopping {
                terminal::put_back();
                std::process::exit(ENDED_AT_ONCE);
            }
            stopping = true;
            stop.notify_one();
        }
    });
    Ok(())
}

/// Opens the log anew, and looks whether the configuration can be used.
fn reload(log: &LogControl, source: &ConfigSource) {
    log.reopen();
    match source.load_again() {
        Ok(_) => info!(
            "server: SIGHUP: the log is opened anew; the configuration is good, and taken up at the next start"
        ),
        Err(why) => warn!("SIGHUP: the log is opened anew; the configuration stays as it was: {why}"),
    }
}
