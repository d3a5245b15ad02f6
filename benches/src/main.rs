//! `veche-bench`: what a delivery costs, in Veche, in its peers, and at least.
//!
//! Read on in this order:
//! - [`cli`]: what can be asked for;
//! - [`scenario`]: who talks where and how fast, and the loop that does it;
//! - [`text`] and [`check`]: texts whose every byte is known, and the books of who heard them;
//! - [`wire`]: the protocols; [`fleet`]: many clients in one thread; [`poller`]: epoll;
//! - [`target`]: the servers and how they are started; [`floor`]: the cheapest one there can be;
//! - [`compare`]: scenarios against servers, in turn; [`scale`]: the rows of the scale table;
//! - [`process`], [`instructions`] and [`machine`]: what was used, on what;
//! - [`report`] and [`plot`]: JSON, tables, pictures.

mod check;
mod cli;
mod compare;
mod error;
mod fleet;
mod floor;
mod instructions;
mod machine;
mod plot;
mod poller;
mod process;
mod report;
mod scale;
mod scenario;
mod target;
mod text;
mod wire;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use cli::{Command, Common, Compare, Scale};
use error::BenchError;
use report::Report;
use scenario::Scenario;
use target::{ALL, LIFTED, Place, Target};

fn main() -> ExitCode {
    match run(cli::Typed::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("veche-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<(), BenchError> {
    match command {
        Command::Compare(options) => run_compare(options),
        Command::Scale(options) => run_scale(options),
        Command::Plot(options) => plot::draw(&Report::read(&options.files)?, &options.out),
        Command::Table { files } => {
            print!("{}", Report::read(&files)?.tables());
            Ok(())
        }
        Command::Floor { listen } => floor::serve(&listen),
    }
}

fn run_compare(options: Compare) -> Result<(), BenchError> {
    let place = place(&options.common)?;
    let place = Place { counts_instructions: options.instructions, ..place };
    let mut scenarios = Vec::new();
    for letter in &options.scenarios {
        let scenario = Scenario { text_bytes: options.text_bytes, ..Scenario::named(letter)? };
        let sized = match options.members.as_slice() {
            [] => vec![scenario],
            sizes => sizes.iter().map(|members| scenario.clone().with_members(*members)).collect(),
        };
        for scenario in sized {
            match options.rooms.as_slice() {
                [] => scenarios.push(scenario),
                counts => scenarios.extend(counts.iter().map(|rooms| scenario.clone().with_rooms(*rooms))),
            }
        }
    }
    if let Some(talkers) = options.talkers {
        scenarios = scenarios.into_iter().map(|scenario| scenario.with_talkers(talkers)).collect();
    }
    let targets: Vec<Target> = match options.targets.as_slice() {
        [] => ALL.into_iter().filter(|target| target.program(&place).is_some()).collect(),
        named => target::chosen(named),
    };
    let mut report = Report { machine: machine::look(&place.scratch)?, ..Report::default() };
    report.scenarios = compare::compare(&scenarios, &targets, options.rounds.max(1), &place);
    finish(&report, &options.common)
}

fn run_scale(options: Scale) -> Result<(), BenchError> {
    let place = place(&options.common)?;
    let mut report = Report { machine: machine::look(&place.scratch)?, ..Report::default() };
    report.points = scale::measure(&options, &place)?;
    finish(&report, &options.common)
}

fn finish(report: &Report, common: &Common) -> Result<(), BenchError> {
    print!("{}", report.tables());
    common.json.as_deref().map_or(Ok(()), |path| report.write(path))
}

fn place(common: &Common) -> Result<Place, BenchError> {
    let scratch = common.scratch.clone().unwrap_or_else(std::env::temp_dir);
    if machine::is_in_memory(&scratch) {
        eprintln!(
            "veche-bench: {} is in memory, where an fsync costs nothing; name a folder on a disk with --scratch",
            scratch.display()
        );
    }
    let beside = || -> Option<PathBuf> { Some(std::env::current_exe().ok()?.parent()?.join("veche")) };
    let veche = common.veche.clone().or_else(beside).unwrap_or_else(|| "veche".into());
    let absolute = |path: &Path| {
        std::path::absolute(path).map_err(BenchError::doing(format!("find {}", path.display())))
    };
    let veche = absolute(&veche)?;
    let veche_old = common.veche_old.as_deref().map(absolute).transpose()?;
    let mut set: Vec<String> = LIFTED.into_iter().map(str::to_owned).chain(common.set.clone()).collect();
    if let Some(old) = &veche_old {
        set = target::known_to_all(set, &[&veche, old])?;
    }
    Ok(Place { veche, veche_old, scratch, set, counts_instructions: false })
}
