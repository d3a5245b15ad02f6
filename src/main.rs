//! `veche`: options → settings → the task → exit status. All else is in the library, from
//! [`veche::server`] on.

use std::error::Error;
use std::process::ExitCode;

use veche::cli::{self, Exit, Invocation, Task};
use veche::config::load::{ConfigError, ConfigSource, Overrides};

fn main() -> ExitCode {
    veche::cli::survive_file_limits();
    let exit = match cli::parse(std::env::args_os()) {
        Ok(invocation) => run(invocation).unwrap_or_else(|error| {
            cli::complain(&error);
            exit_after(error.as_ref())
        }),
        Err(exit) => exit,
    };
    exit.into()
}

fn run(invocation: Invocation) -> Result<Exit, Box<dyn Error>> {
    let source = ConfigSource::new(invocation.overrides, Overrides::from_environment()?);
    let config = source.load()?;
    match invocation.task {
        Task::Serve => veche::server::run(config, source)?,
        Task::PrintConfig => {
            let note = veche::logging::check_filters()?.note;
            let strange = Overrides::strange_variables();
            strange.iter().chain(&note).chain(&config.notes).for_each(|strange| cli::complain(strange));
            cli::print(&config.to_toml()?);
        }
        Task::Ctl(asked) => return Ok(cli::ctl::run(&config.server.data_dir, &asked)?),
        Task::Account(command) => return cli::account::run(&config, command),
    }
    Ok(Exit::Success)
}

/// A setting that an option got wrong is a wrong argument; all else is an error at start.
fn exit_after(error: &(dyn Error + 'static)) -> Exit {
    match error.downcast_ref::<ConfigError>() {
        Some(error) if error.is_about_an_option() => Exit::Usage,
        _ => Exit::Failure,
    }
}
