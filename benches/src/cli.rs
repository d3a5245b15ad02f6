//! The command line of `veche-bench`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::target::Target;

/// Measures what a delivery costs: in Veche, in the servers that people use, and at least.
///
/// Every delivery is checked by sequence and content. Costs are the server's CPU time from /proc, as a ratio
/// to the floor's in the same round. docs/performance.md says how it is meant.
#[derive(Debug, Parser)]
#[command(name = "veche-bench", version, max_term_width = 100)]
pub struct Typed {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run scenarios against the floor, Veche and each peer that is installed, in turn
    Compare(Compare),
    /// Measure rows of the scale table
    Scale(Scale),
    /// Draw the plots of measurements that were kept with --json
    Plot(Plot),
    /// Print the tables of measurements that were kept with --json
    Table {
        /// The measurements
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// Serve as the floor: the cheapest program that does a chat server's socket work
    Floor {
        /// Where to listen
        #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
        listen: String,
    },
}

/// Which scenarios, and against whom.
#[derive(Debug, Args)]
pub struct Compare {
    /// A: a room of 1 000, ten of them say 50 messages a second. B: the same room, one of them has 64 messages
    /// on the way. C: 100 rooms of 10, 2 000 messages a second. G: two people, one message at a time
    #[arg(default_values = ["A", "B", "C", "G"], value_name = "SCENARIO")]
    pub scenarios: Vec<String>,

    /// Only these servers; the floor is needed for ratios
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub targets: Vec<Target>,

    /// How many times, in turn
    #[arg(long, default_value_t = 3)]
    pub rounds: u32,

    /// So many of a room's members talk instead of the scenario's own
    #[arg(long, value_name = "MEMBERS")]
    pub talkers: Option<u32>,

    /// Rooms of these sizes instead of the scenario's own
    #[arg(long, value_delimiter = ',', value_name = "MEMBERS,…")]
    pub members: Vec<u32>,

    /// So many rooms instead of the scenario's own
    #[arg(long, value_delimiter = ',', value_name = "ROOMS,…")]
    pub rooms: Vec<u32>,

    /// Count the server's instructions in place of its CPU time: they are nearly the same on a busy machine.
    /// Counting slows the server down, so times mean nothing then
    #[arg(long)]
    pub instructions: bool,

    /// Bytes of text in a message
    #[arg(long, default_value_t = 128)]
    pub text_bytes: usize,

    /// Where and how.
    #[command(flatten)]
    pub common: Common,
}

/// Which rows of the scale table.
#[derive(Debug, Args)]
pub struct Scale {
    /// The rows to measure; all of them when none is named
    #[arg(value_name = "ROW")]
    pub rows: Vec<Row>,

    /// Sizes instead of the row's own
    #[arg(long, value_delimiter = ',', value_name = "SIZE,…")]
    pub sizes: Vec<u64>,

    /// How many times, in turn; the tables have the medians
    #[arg(long, default_value_t = 1)]
    pub rounds: u32,

    /// Other servers than the row's own, where the row can be measured at them
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    pub targets: Vec<Target>,

    /// Where and how.
    #[command(flatten)]
    pub common: Common,
}

/// A row of the scale table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Row {
    /// Memory and CPU of idle sessions, each logged in and in a room
    Sessions,
    /// Durable receipts a second, with 64 senders
    Receipts,
    /// Registrations, logins, and resumes by token
    Logins,
    /// One session of 20 that never reads
    Slow,
    /// Start-up with rows of history, and pages of 50 from anywhere in it
    Start,
    /// One message to a large room, and what another room feels of it
    BigRoom,
    /// A thousand connections without a session that pour what they may, a storm of joins, and what two who
    /// talk feel of it
    Strangers,
}

/// What to draw.
#[derive(Debug, Args)]
pub struct Plot {
    /// The measurements
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// The folder for the pictures
    #[arg(long, default_value = "docs/plots", value_name = "DIR")]
    pub out: PathBuf,
}

/// Where and how.
#[derive(Debug, Args)]
pub struct Common {
    /// The server program of Veche [default: beside this one]
    #[arg(long, value_name = "FILE")]
    pub veche: Option<PathBuf>,

    /// An older server program of Veche, measured in the same rounds as `veche-old` (and `veche-old-os`), and the
    /// newer one once more, as `veche-again`: the tables tell what changed beside what one program differs from
    /// itself. Settings that one of the two does not know, neither gets
    #[arg(long, value_name = "FILE")]
    pub veche_old: Option<PathBuf>,

    /// A folder on a real disk for the servers' files [default: the system's temporary folder]
    #[arg(long, value_name = "DIR")]
    pub scratch: Option<PathBuf>,

    /// A further setting for Veche; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,

    /// Keep the measurements in this file; - is standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}
