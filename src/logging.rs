//! Service messages: what the server does, for the operator, in a file of lines.
//!
//! The rest of the crate says `log::info!` and is never held up by it: a line is put into a bounded queue,
//! and a thread of its own writes it (see [`writer`]). A line that finds the queue full is dropped and
//! counted. Every line looks like
//!
//! ```text
//! 2026-11-21T18:05:21.311Z INFO  session  alice logged in from 192.0.2.7
//! ```
//!
//! and goes through [`crate::sanitize::one_line`] as a whole, so that no input can forge a line or drive the
//! terminal of whoever reads it.

mod filter;
mod fold;
pub mod writer;

use std::io::{self, Write};
use std::path::Path;

use env_logger::{Builder, Logger, Target};
use log::kv::Key;
use log::{Level, LevelFilter, Log, Metadata, Record};

pub use filter::{FilterError, Filters};
use fold::{CallSite, Line};
pub use writer::{LogControl, LogError};

use crate::config::Limits;
use crate::model::Timestamp;
use crate::sanitize::one_line;

/// The longest line, in bytes; the rest of a longer one is cut off.
const MAX_LINE_BYTES: usize = 8 * 1024;

/// Opens the log file (made with mode 0600) and sends every `log` message of the process there. What is
/// written follows `VECHE_LOG`, else `RUST_LOG` (such as `debug` or `warn,veche::actors=trace`), else `info`.
///
/// A second call in one process opens another file, but the messages keep going to the first.
///
/// # Errors
/// [`LogError`] when the file cannot be opened, or the variable says what cannot be understood.
pub fn start(path: &Path, limits: &Limits) -> Result<LogControl, LogError> {
    let filters = check_filters()?;
    let control = writer::open(path, limits)?;
    let mut builder = Builder::new();
    builder.filter_level(LevelFilter::Info);
    // The line editor would tell every key that is typed.
    builder.filter_module("rustyline", LevelFilter::Off);
    if let Some(filters) = filters.text {
        builder.parse_filters(&filters);
    }
    builder.format(|buffer, record| writeln!(buffer, "{}", line_of(Timestamp::now(), record)));
    builder.target(Target::Pipe(Box::new(Queue(control.clone()))));
    let inner = builder.build();
    let most = inner.filter();
    // An error means that there is a logger already, which stays.
    if log::set_boxed_logger(Box::new(Folding { inner, log: control.clone() })).is_ok() {
        log::set_max_level(most);
    }
    Ok(control)
}

/// Hands on what is to be written; of lines that others bring about ([`fold`]) only the first few.
struct Folding {
    inner: Logger,
    log: LogControl,
}

impl Log for Folding {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.inner.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        let by = record.key_values().get(Key::from_str("by"));
        let Some(by) = by.filter(|_| self.inner.matches(record)) else {
            return self.inner.log(record);
        };
        let kind = CallSite {
            module: record.module_path_static().unwrap_or_default(),
            line: record.line().unwrap_or_default(),
        };
        let by = by.to_string();
        let line = Line { kind, by: &by, level: record.level(), target: record.target() };
        if self.log.admits(line, || record.args().to_string()) {
            self.log.queue_repeat(format!("{}\n", line_of(Timestamp::now(), record)).as_bytes());
        }
    }

    fn flush(&self) {}
}

/// Makes panics show in the log, as errors of one line, besides standard error.
pub fn log_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        log::error!("panic: {panic}");
        before(panic);
    }));
}

/// What the environment says about what is logged, if it can be understood.
///
/// # Errors
/// [`FilterError`] when it cannot.
pub fn check_filters() -> Result<Filters, FilterError> {
    filter::from_environment()
}

fn line_of(at: Timestamp, record: &Record<'_>) -> String {
    line_with(at, record.level(), record.target(), &record.args().to_string())
}

fn line_with(at: Timestamp, level: Level, target: &str, text: &str) -> String {
    let mut line = format!("{at} {level:<5} {:<8} {}", who(target), one_line(text));
    if line.len() > MAX_LINE_BYTES {
        let end = (0..=MAX_LINE_BYTES).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
        line.truncate(end);
        line.push('…');
    }
    line
}

/// The part of the server that speaks: `session` for `veche::actors::session::login`. Another crate goes by
/// its whole target.
fn who(target: &str) -> &str {
    let Some(path) = target.strip_prefix("veche::") else { return target };
    let mut parts = path.split("::");
    match (parts.next(), parts.next()) {
        (Some("actors" | "store" | "chat" | "protocol"), Some(name)) => name,
        (Some(name), _) => name,
        (None, _) => target,
    }
}

/// env_logger's way to the writer: it hands over one whole line at a time.
struct Queue(LogControl);

impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.queue_line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::Level;

    fn line(target: &str, text: &str) -> String {
        let at = Timestamp::from_millis(1_795_284_321_311);
        let record = |args: std::fmt::Arguments<'_>| {
            line_of(at, &Record::builder().level(Level::Info).target(target).args(args).build())
        };
        record(format_args!("{text}"))
    }

    #[test]
    fn a_line_has_its_form() {
        assert_eq!(
            line("veche::actors::session::login", "alice logged in"),
            "2026-11-21T18:05:21.311Z INFO  session  alice logged in"
        );
        assert_eq!(line("veche::server", "ready"), "2026-11-21T18:05:21.311Z INFO  server   ready");
        assert_eq!(line("actix_rt", "x"), "2026-11-21T18:05:21.311Z INFO  actix_rt x");
    }

    #[test]
    fn no_text_forges_a_line_or_drives_a_terminal() {
        let line = line("veche::x", "a\n2026-11-21T18:05:21.311Z INFO  x  forged \u{1b}[2J \u{202e}");
        assert!(
            line.ends_with("a\\n2026-11-21T18:05:21.311Z INFO  x  forged \\u{1b}[2J \\u{202e}"),
            "{line}"
        );
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let line = line("veche::x", &"ж".repeat(MAX_LINE_BYTES));
        assert!(line.len() <= MAX_LINE_BYTES + '…'.len_utf8() && line.ends_with("ж…"), "{}", line.len());
    }
}
