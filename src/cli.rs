//! The command line of `veche`: what can be typed, and what it asks for.
//!
//! [`parse`] turns arguments into an [`Invocation`]: the settings that they override, and one [`Task`].
//! `src/main.rs` does the task: the server's own, [`ctl`] or [`account`]. Environment variables are not read
//! here but in [`Overrides::from_environment`], so that each layer of settings stays apart from the next.

pub mod account;
pub mod ctl;
pub mod import;
mod offline;

use std::ffi::OsString;
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};

pub use self::account::AccountCommand;
use crate::config::load::Overrides;
use crate::sanitize::lines;

/// How the program ends, as a shell sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All went well: 0.
    Success,
    /// An error at start, or a command that was refused: 1, with a sentence on standard error.
    Failure,
    /// Wrong arguments: 2.
    Usage,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Success => 0,
            Exit::Failure => 1,
            Exit::Usage => 2,
        })
    }
}

/// What the arguments ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The settings that they override.
    pub overrides: Overrides,
    /// What to do.
    pub task: Task,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Run the server.
    Serve,
    /// Show the effective settings.
    PrintConfig,
    /// Send the running server a console command.
    Ctl(ctl::Asked),
    /// Manage accounts.
    Account(AccountCommand),
}

/// A chat server built of actors: one binary, no database, nothing acknowledged is ever lost.
///
/// Runs the server in the foreground, with its console on standard input.
#[derive(Debug, Parser)]
#[command(name = "veche", version, after_help = AFTER_HELP, max_term_width = 100)]
struct Typed {
    #[command(flatten)]
    options: Options,

    /// Print the effective settings as TOML, ready to be saved as veche.toml, and exit
    #[arg(long)]
    print_config: bool,

    #[command(subcommand)]
    command: Option<TypedCommand>,
}

#[derive(Debug, Subcommand)]
enum TypedCommand {
    /// Send one console command to the running server of the data directory, and print the answer
    ///
    /// Exits with 0, or with 1 and the error; `status` also exits with 1 when something is wrong. `veche ctl help`
    /// shows the commands, `veche ctl COMMAND --help` one of them. Behind `--` everything is meant as it stands.
    #[command(after_help = CTL_HELP)]
    Ctl {
        /// The command, in one word or several; options of veche stand before it
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
        words: Vec<String>,
    },
    /// Manage accounts, whether the server is running or not
    ///
    /// A password is read from the terminal without echo, or as one line of standard input when that is no
    /// terminal.
    #[command(after_help = ACCOUNT_HELP)]
    Account {
        #[command(subcommand)]
        command: AccountCommand,
    },
}

const AFTER_HELP: &str = "\
Examples:
  veche                                  everything on its defaults, at 127.0.0.1:7878
  veche --listen 0.0.0.0:7878 --strict-port --data-dir /var/lib/veche
  veche --set limits.messages_per_second=0 --set journal.durability=os
  veche --print-config > veche.toml
  veche ctl status
  veche account add alice

Each setting comes from its option, else the environment, else the file, else its default. VECHE_SET holds \
several KEY=VALUE, separated by commas or newlines. VECHE_LOG chooses what is logged (error, warn, info, \
debug, trace).

Exit status: 0 after a shutdown, 1 on an error at start or a command that is refused, 2 on wrong arguments.";

const CTL_HELP: &str = "\
Examples:
  veche ctl status
  veche ctl say '#lobby' The server restarts at noon.
  veche ctl say '#lobby' -- \"$TEXT\"      says anything, also what looks like an option
  veche --data-dir /var/lib/veche ctl shutdown";

const ACCOUNT_HELP: &str = "\
Examples:
  veche account add alice
  printf '%s\\n' \"$PASSWORD\" | veche account passwd alice
  veche account list
  veche account import old-accounts.csv";

/// What every way to call veche understands.
#[derive(Debug, Clone, Args)]
struct Options {
    /// The configuration file, in TOML [env: VECHE_CONFIG] [default: veche.toml, where there is one]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,

    /// The folder of accounts, sessions, history, key, log and control socket [env: VECHE_DATA_DIR]
    /// [default: data]
    #[arg(long, value_name = "DIR", global = true)]
    data_dir: Option<PathBuf>,

    /// Where to listen; port 0 takes any free one [env: VECHE_LISTEN] [default: 127.0.0.1:7878]
    #[arg(long, value_name = "HOST:PORT", global = true)]
    listen: Option<String>,

    /// A busy port is an error; without this, up to 100 following ports are tried. Use it for services, so
    /// that nobody can sit on the port and collect passwords [env: VECHE_STRICT_PORT]
    #[arg(long, global = true)]
    strict_port: bool,

    /// Start although accounts cannot be read, this once: rows that cannot be are set aside in clients.rejected,
    /// and their names stay taken
    #[arg(long, global = true)]
    accept_loss: bool,

    /// The log file [env: VECHE_LOG_FILE] [default: DATA_DIR/veche.log]
    #[arg(long, value_name = "FILE", global = true)]
    log_file: Option<PathBuf>,

    /// Override one setting of the configuration file; may be given several times [env: VECHE_SET]
    #[arg(long, value_name = "KEY=VALUE", global = true)]
    set: Vec<String>,
}

impl From<Options> for Overrides {
    fn from(options: Options) -> Self {
        Overrides {
            config: options.config,
            data_dir: options.data_dir,
            listen: options.listen,
            strict_port: options.strict_port.then_some(true),
            accept_loss: options.accept_loss,
            log_file: options.log_file,
            set: options.set,
        }
    }
}

/// Reads the arguments, the program's name first.
///
/// # Errors
/// How to end when there is nothing to do: after `--help` and `--version`, which are answered on standard
/// output, and after wrong arguments, which are told on standard error.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Invocation, Exit> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let typed = Typed::try_parse_from(&arguments).map_err(|error| {
        match unquoted(&error, &arguments) {
            Some(sentence) => complain(&sentence),
            None => drop(error.print()), // a closed output is no reason to end differently
        }
        if error.use_stderr() { Exit::Usage } else { Exit::Success }
    })?;
    let task = match typed.command {
        Some(_) if typed.print_config => {
            complain(&"--print-config stands alone, without a command");
            return Err(Exit::Usage);
        }
        None if typed.print_config => Task::PrintConfig,
        None => Task::Serve,
        Some(TypedCommand::Ctl { words }) => Task::Ctl(ctl::read(&words).map_err(|problem| {
            complain(&problem);
            Exit::Usage
        })?),
        Some(TypedCommand::Account { command }) => Task::Account(command),
    };
    Ok(Invocation { overrides: typed.options.into(), task })
}

/// What to say instead of clap's own words about `veche account`, which repeat what was typed: behind a name or
/// in its place that may be a password.
fn unquoted(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    use clap::error::ErrorKind;
    let about_accounts = arguments.iter().skip(1).any(|word| word == "account");
    match error.kind() {
        ErrorKind::ValueValidation if about_accounts => {
            let why = std::error::Error::source(error)?;
            Some(format!("this is no NAME: {why}"))
        }
        ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand | ErrorKind::TooManyValues
            if about_accounts =>
        {
            Some(
                "this is more than `veche account` takes: add, passwd and remove a NAME, list nothing, import a \
                 FILE; a password is never an argument, which other users can see, but asked for, or read from \
                 standard input; `veche account --help` has examples"
                    .into(),
            )
        }
        _ => None,
    }
}

/// Makes a file that may not grow (`ulimit -f`) an error of that write, and not the end of the process: from the
/// first file on, also where no server runs.
pub fn survive_file_limits() {
    /// The number of SIGXFSZ on every Unix that Rust's standard library supports except MIPS Linux.
    const SIGXFSZ: i32 = 25;
    // Where no handler can be installed, the signal does what it always did.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
}

/// Writes a text to standard output, which may be closed.
pub fn print(text: &str) {
    let mut output = io::stdout().lock();
    let _ = output.write_all(text.as_bytes()).and_then(|()| output.flush()); // nobody reads: nobody misses it
}

/// Tells an error on standard error, which may be closed, in one sentence.
pub fn complain(error: &dyn fmt::Display) {
    let _ = writeln!(io::stderr(), "veche: {}", lines(&error.to_string()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parsed(line: &str) -> Result<Invocation, Exit> {
        parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_definition_is_sound() {
        Typed::command().debug_assert();
    }

    #[test]
    fn nothing_said_means_to_serve_on_the_defaults() {
        let invocation = parsed("veche").unwrap();
        assert_eq!(invocation, Invocation { overrides: Overrides::default(), task: Task::Serve });
    }

    #[test]
    fn options_become_overrides() {
        let overrides = parsed(
            "veche --config a.toml --data-dir d --listen [::1]:0 --strict-port --log-file l --set a.b=1 --set c.d=x=y",
        )
        .unwrap()
        .overrides;
        assert_eq!(overrides.listen.as_deref(), Some("[::1]:0"));
        assert_eq!(overrides.strict_port, Some(true));
        assert!(!overrides.accept_loss && parsed("veche --accept-loss").unwrap().overrides.accept_loss);
        assert_eq!(overrides.set, ["a.b=1", "c.d=x=y"]);
        assert_eq!(parsed("veche --print-config").unwrap().task, Task::PrintConfig);
    }

    #[test]
    fn commands_take_the_options_of_veche() {
        let task = |line: &str| parsed(line).unwrap().task;
        let line = |line: &str| Task::Ctl(ctl::Asked::Line(line.into()));
        assert_eq!(task("veche ctl stop listen"), line("stop listen"));
        assert_eq!(task("veche ctl say -- --data-dir -x ctl"), line("say -- --data-dir -x ctl"));
        assert_eq!(task("veche ctl -- say x"), line("say -- x"));
        let alice = crate::model::UserName::parse("alice").unwrap();
        assert_eq!(task("veche account add Alice"), Task::Account(AccountCommand::Add { name: alice }));
        assert_eq!(task("veche account list"), Task::Account(AccountCommand::List));
        for line in
            ["veche --data-dir d ctl who", "veche ctl --data-dir d who", "veche account list --data-dir d"]
        {
            let overrides = parsed(line).unwrap().overrides;
            assert_eq!(overrides.data_dir.as_deref(), Some(std::path::Path::new("d")), "{line}");
        }
    }

    #[test]
    fn wrong_arguments_end_with_their_own_status() {
        for line in [
            "veche --samovar",
            "veche brew",
            "veche --listen",
            "veche --set",
            "veche ctl",
            "veche ctl say --data-dir x",
            "veche account",
            "veche account add",
            "veche account add a/b",
            "veche account list x",
            "veche --print-config ctl who",
        ] {
            assert_eq!(parsed(line).unwrap_err(), Exit::Usage, "{line}");
        }
        assert_eq!(parsed("veche --help").unwrap_err(), Exit::Success);
        assert_eq!(parsed("veche --version").unwrap_err(), Exit::Success);
    }
}
