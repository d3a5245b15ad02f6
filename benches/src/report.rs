//! Results: what is kept in JSON, and the tables that people read.

mod changes;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::check::Faults;
use crate::error::BenchError;
use crate::scenario::{Measured, Scenario};

/// All that one call of the program measured.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Report {
    /// On what.
    pub machine: Machine,
    /// The scenarios, each with its servers.
    pub scenarios: Vec<ScenarioResult>,
    /// Rows of the scale table.
    pub points: Vec<Point>,
}

/// What was measured on.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// Cores that this program may use.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Median time of an fdatasync after 300 appended bytes, in microseconds.
    pub fsync_us: f64,
}

/// One scenario.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ScenarioResult {
    /// Its letter.
    pub name: String,
    /// What it is.
    pub what: String,
    /// Members of a room.
    pub members: u32,
    /// Rooms.
    pub rooms: u32,
    /// Bytes of text.
    pub text_bytes: usize,
    /// The servers.
    pub targets: Vec<TargetResult>,
}

impl ScenarioResult {
    /// Whether instructions were counted, so that its times mean nothing.
    pub fn is_counted(&self) -> bool {
        self.targets.iter().flat_map(|target| &target.rounds).any(|round| round.instructions.is_some())
    }

    /// Of this scenario, nothing measured yet.
    pub fn new(scenario: &Scenario) -> Self {
        ScenarioResult {
            name: scenario.name.clone(),
            what: scenario.what.clone(),
            members: scenario.members,
            rooms: scenario.rooms,
            text_bytes: scenario.text_bytes,
            targets: Vec::new(),
        }
    }
}

/// One server in one scenario.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TargetResult {
    /// Its name.
    pub target: String,
    /// What it says its version is.
    pub version: Option<String>,
    /// Its runs, in turn with those of the others.
    pub rounds: Vec<Round>,
    /// Why a run broke off.
    pub failed: Option<String>,
}

/// One run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Round {
    /// Deliveries.
    pub deliveries: u64,
    /// CPU time of the server for one, in microseconds.
    pub cost_us: f64,
    /// The part of it that is the server's own code.
    pub user_us: f64,
    /// Instructions of the server for one, where they were counted: in all, and in its own code.
    #[serde(default)]
    pub instructions: Option<(f64, f64)>,
    /// The cost as a multiple of the floor's in the same round: of instructions where they were counted, of
    /// CPU time elsewhere.
    pub ratio: Option<f64>,
    /// CPU time of the generator for one, in microseconds.
    pub generator_us: f64,
    /// Deliveries a second of wall clock.
    pub per_second: f64,
    /// Latency percentiles, in microseconds: percentile and value.
    pub latency_us: Vec<(f64, f64)>,
    /// The server's memory at the end, in KiB.
    pub resident_kib: u64,
    /// What was not as it has to be.
    pub faults: Faults,
}

/// The percentiles that are kept.
const PERCENTILES: [f64; 8] = [10.0, 50.0, 75.0, 90.0, 99.0, 99.9, 99.99, 100.0];

impl Round {
    /// What a run gave, beside the floor's run in the same round.
    pub fn new(measured: &Measured, floor: Option<&Round>) -> Self {
        let each = |time: Duration| time.as_secs_f64() * 1e6 / measured.deliveries.max(1) as f64;
        let cost_us = each(measured.server_cpu.total());
        let count = |count: u64| count as f64 / measured.deliveries.max(1) as f64;
        let instructions = measured.instructions.map(|both| (count(both.total()), count(both.user)));
        let ratio = floor.map(|floor| match (instructions, floor.instructions) {
            (Some((ours, _)), Some((floor, _))) => ours / floor,
            _ => cost_us / floor.cost_us,
        });
        let percentile = |at| (at, measured.latency.value_at_percentile(at) as f64 / 1e3);
        Round {
            deliveries: measured.deliveries,
            cost_us,
            user_us: each(measured.server_cpu.user),
            instructions,
            ratio: ratio.filter(|ratio| ratio.is_finite()),
            generator_us: each(measured.generator_cpu.total()),
            per_second: measured.deliveries as f64 / measured.wall.as_secs_f64().max(1e-9),
            latency_us: PERCENTILES.map(percentile).to_vec(),
            resident_kib: measured.resident_kib,
            faults: measured.faults,
        }
    }

    /// The latency at this percentile, one of those that are kept, in microseconds.
    pub fn latency_at(&self, percentile: f64) -> f64 {
        let found = self.latency_us.iter().find(|(at, _)| *at == percentile);
        found.map_or(f64::NAN, |(_, value)| *value)
    }
}

/// One run for the scale table: a row, how much of it, and what that gave by name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Point {
    /// The row's name, such as `sessions`.
    pub row: String,
    /// Which server.
    pub target: String,
    /// How many of what the row counts.
    pub size: u64,
    /// The figures; each name ends in its unit.
    pub values: BTreeMap<String, f64>,
}

/// The middle one of some figures, and the least and largest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The least.
    pub least: f64,
    /// The largest.
    pub most: f64,
}

impl Spread {
    /// Of these figures; `None` when there are none.
    pub fn of(figures: impl Iterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_by(f64::total_cmp);
        let (least, most) = (*figures.first()?, *figures.last()?);
        let (low, high) = (figures[(figures.len() - 1) / 2], figures[figures.len() / 2]);
        Some(Spread { median: (low + high) / 2.0, least, most })
    }
}

impl TargetResult {
    /// The middle, least and largest of a figure over the rounds.
    pub fn spread(&self, figure: impl Fn(&Round) -> f64) -> Option<Spread> {
        Spread::of(self.rounds.iter().map(figure))
    }

    /// Everything that was wrong in any round.
    pub fn faults(&self) -> Faults {
        self.rounds.iter().fold(Faults::default(), |sum, round| sum.and(round.faults))
    }
}

impl Report {
    /// Writes it as JSON; `-` is standard output.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), BenchError> {
        let text = serde_json::to_string_pretty(self).map_err(BenchError::doing("make JSON"))?;
        if path == Path::new("-") {
            println!("{text}");
            return Ok(());
        }
        fs::write(path, text + "\n").map_err(BenchError::doing(format!("write {}", path.display())))
    }

    /// Reads what [`Report::write`] wrote, and puts several together.
    ///
    /// # Errors
    /// A file cannot be read, or is none of ours.
    pub fn read(paths: &[impl AsRef<Path>]) -> Result<Self, BenchError> {
        let mut all = Report::default();
        for path in paths {
            let doing = || format!("read {}", path.as_ref().display());
            let text = fs::read_to_string(path).map_err(BenchError::doing(doing()))?;
            let report: Report = serde_json::from_str(&text).map_err(BenchError::doing(doing()))?;
            all.machine = report.machine;
            all.scenarios.extend(report.scenarios);
            all.points.extend(report.points);
        }
        Ok(all)
    }

    /// The tables, in Markdown.
    pub fn tables(&self) -> String {
        let mut out = String::new();
        let Machine { cpu, cores, kernel, fsync_us } = &self.machine;
        let _ = writeln!(out, "{cpu}, {cores} cores, Linux {kernel}, fdatasync {fsync_us:.0} µs\n");
        for scenario in &self.scenarios {
            scenario_table(scenario, &mut out);
            changes::of_scenario(scenario, &mut out);
        }
        let mut rows: Vec<&str> = self.points.iter().map(|point| point.row.as_str()).collect();
        rows.sort_unstable();
        rows.dedup();
        for row in rows {
            let points: Vec<&Point> = self.points.iter().filter(|point| point.row == row).collect();
            point_table(row, &points, &mut out);
            changes::of_row(row, &points, &mut out);
        }
        out
    }
}

fn scenario_table(scenario: &ScenarioResult, out: &mut String) {
    let ScenarioResult { name, what, rooms, members, text_bytes, targets } = scenario;
    let _ = writeln!(out, "{name}: {what} ({rooms} × {members} members, {text_bytes} bytes of text)\n");
    if scenario.is_counted() {
        out.push_str("| server | instructions a delivery | own code | ratio to the floor | faults |\n");
        out.push_str("| --- | --- | --- | --- | --- |\n");
        targets.iter().for_each(|target| out.push_str(&counted_line(target)));
        out.push('\n');
        return;
    }
    out.push_str("| server | µs a delivery | own code | ratio to the floor | p50 | p99 | deliveries/s | generator µs | faults |\n");
    out.push_str("| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for target in targets {
        let _ = writeln!(out, "{}", target_line(target));
    }
    out.push('\n');
}

/// A writer of strings never fails, so the results of `writeln!` are of no interest here.
fn target_line(target: &TargetResult) -> String {
    let name = &target.target;
    if let Some(reason) = &target.failed {
        return format!("| {name} | broke off: {} | | | | | | | |", reason.replace('|', "/"));
    }
    let figure = |figure: &dyn Fn(&Round) -> f64, show: &dyn Fn(f64) -> String| {
        target.spread(figure).map_or_else(String::new, |spread| show(spread.median))
    };
    let latency = |at: f64| figure(&|round| round.latency_at(at), &time);
    let faults = target.faults();
    let faults = match faults.total() {
        0 => "0".to_owned(),
        _ => format!(
            "{} lost, {} doubled, {} reordered, {} corrupt",
            faults.lost, faults.doubled, faults.reordered, faults.corrupt
        ),
    };
    format!(
        "| {name} | {} | {} | {} | {} | {} | {} | {} | {faults} |",
        shown_spread(target, |round| Some(round.cost_us)),
        figure(&|round| round.user_us, &digits),
        shown_spread(target, |round| round.ratio),
        latency(50.0),
        latency(99.0),
        figure(&|round| round.per_second, &|rate| format!("{rate:.0}")),
        figure(&|round| round.generator_us, &digits),
    )
}

/// The median of a figure, with the least and the most in brackets; nothing where a round has none.
fn shown_spread(target: &TargetResult, figure: impl Fn(&Round) -> Option<f64>) -> String {
    let spread = target.spread(|round| figure(round).unwrap_or(f64::NAN));
    spread.filter(|spread| spread.median.is_finite()).map_or_else(String::new, |spread| {
        format!("{} ({}–{})", digits(spread.median), digits(spread.least), digits(spread.most))
    })
}

fn counted_line(target: &TargetResult) -> String {
    if let Some(reason) = &target.failed {
        return format!("| {} | broke off: {} | | | |\n", target.target, reason.replace('|', "/"));
    }
    let all = shown_spread(target, |round| round.instructions.map(|(all, _)| all));
    let own = shown_spread(target, |round| round.instructions.map(|(_, own)| own));
    let ratio = shown_spread(target, |round| round.ratio);
    format!("| {} | {all} | {own} | {ratio} | {} |\n", target.target, target.faults().total())
}

/// A line for each size and server, with the medians of its runs.
fn point_table(row: &str, points: &[&Point], out: &mut String) {
    let names: BTreeSet<&String> = points.iter().flat_map(|point| point.values.keys()).collect();
    let heads: String = names.iter().map(|name| format!(" {name} |")).collect();
    let _ = writeln!(out, "| {row} | server |{heads}\n|{}", " --- |".repeat(names.len() + 2));
    let mut told = Vec::new();
    for point in points {
        let line = (point.size, point.target.as_str());
        if told.contains(&line) {
            continue;
        }
        told.push(line);
        let runs = || points.iter().filter(|run| (run.size, run.target.as_str()) == line);
        let value = |name: &&String| {
            let figures = runs().filter_map(|run| run.values.get(*name).copied());
            Spread::of(figures).map_or_else(String::new, |spread| digits(spread.median))
        };
        let cells: String = names.iter().map(|name| format!(" {} |", value(name))).collect();
        let _ = writeln!(out, "| {} | {} |{cells}", point.size, point.target);
    }
    out.push('\n');
}

/// Three digits that count, never more than two behind the point.
fn digits(figure: f64) -> String {
    match figure.abs() {
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

/// Microseconds as a person reads them.
fn time(us: f64) -> String {
    if us >= 10_000.0 {
        format!("{:.0} ms", us / 1e3)
    } else if us >= 1_000.0 {
        format!("{:.1} ms", us / 1e3)
    } else {
        format!("{us:.0} µs")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let spread = Spread::of([3.0, 1.0, 2.0].into_iter()).expect("three figures");
        assert_eq!(spread, Spread { median: 2.0, least: 1.0, most: 3.0 });
        assert_eq!(Spread::of([1.0, 2.0].into_iter()).expect("two figures").median, 1.5);
        assert_eq!(Spread::of(std::iter::empty()), None);
    }

    #[test]
    fn figures_read_well() {
        assert_eq!([digits(0.256), digits(12.96), digits(1234.5)], ["0.26", "13.0", "1234"]);
        assert_eq!([time(106.2), time(1_500.0), time(25_000.0)], ["106 µs", "1.5 ms", "25 ms"]);
    }
}
