//! The pictures: what was measured, as SVG, made from the JSON alone.

mod chart;

use std::fs;
use std::path::Path;

use chart::{Chart, Series, Ticks, Upwards};

use crate::error::BenchError;
use crate::report::{Point, Report, Round, ScenarioResult, TargetResult};

/// The percentiles of a latency plot, and what they are called.
const PERCENTILES: [(f64, &str); 6] =
    [(10.0, "10 %"), (50.0, "50 %"), (90.0, "90 %"), (99.0, "99 %"), (99.9, "99.9 %"), (100.0, "all")];

/// Draws what this report has the figures for into the folder `out`.
///
/// # Errors
/// The folder cannot be written to, or there is nothing to draw.
pub fn draw(report: &Report, out: &Path) -> Result<(), BenchError> {
    fs::create_dir_all(out).map_err(BenchError::doing(format!("make {}", out.display())))?;
    let mut charts = Vec::new();
    for letter in ["A", "B", "C", "G"] {
        let of_letter = report.scenarios.iter().filter(|scenario| scenario.name == letter);
        let (counted, timed): (Vec<_>, Vec<_>) = of_letter.partition(|scenario| scenario.is_counted());
        charts.extend(cost_by_members(letter, &timed, Cost::Time));
        charts.extend(cost_by_members(letter, &counted, Cost::Instructions));
        charts.extend(timed.last().and_then(|scenario| latency(scenario)));
    }
    charts.extend(by_size(report, "sessions", "held_kib", 1.0 / 1_024.0, Words::MEMORY));
    charts.extend(by_size(report, "rows", "start_ms", 1.0 / 1_000.0, Words::START));
    charts.retain(|(_, chart): &(String, Chart)| chart.series.iter().any(|series| series.points.len() > 1));
    if charts.is_empty() {
        return Err(BenchError::Usage("there is nothing to draw in these measurements".into()));
    }
    for (name, chart) in charts {
        let path = out.join(name).with_extension("svg");
        fs::write(&path, chart.svg()).map_err(BenchError::doing(format!("write {}", path.display())))?;
        println!("{}", path.display());
    }
    Ok(())
}

/// How a cost is told.
#[derive(Clone, Copy)]
enum Cost {
    Time,
    Instructions,
}

/// What a delivery costs in rooms of several sizes.
fn cost_by_members(letter: &str, scenarios: &[&ScenarioResult], cost: Cost) -> Option<(String, Chart)> {
    let (file, title, y, upwards) = match cost {
        Cost::Time => ("cost", "server CPU for a delivery", "µs a delivery", Upwards::Powers),
        Cost::Instructions => {
            ("instructions", "instructions of a delivery", "instructions, × the floor", Upwards::FromZero)
        }
    };
    let figure = |round: &Round| match cost {
        Cost::Time => round.cost_us,
        Cost::Instructions => round.ratio.unwrap_or(f64::NAN),
    };
    let mut names: Vec<&str> = Vec::new();
    for target in scenarios.iter().flat_map(|scenario| &scenario.targets) {
        if !names.contains(&target.target.as_str()) {
            names.push(&target.target);
        }
    }
    let cost = |scenario: &ScenarioResult, name: &str| {
        let target = scenario.targets.iter().find(|target| target.target == name)?;
        let median = target.spread(figure)?.median;
        median.is_finite().then_some((f64::from(scenario.members), median))
    };
    let series = names.iter().map(|name| {
        let mut points: Vec<_> = scenarios.iter().filter_map(|scenario| cost(scenario, name)).collect();
        points.sort_by(|one, other| one.0.total_cmp(&other.0));
        // A size that was measured twice has one place.
        points.dedup_by_key(|point| point.0);
        Series { name: (*name).to_owned(), points }
    });
    let series: Vec<Series> = series.collect();
    let sizes: Vec<u32> = scenarios.iter().map(|scenario| scenario.members).collect();
    sizes.iter().any(|size| *size != sizes[0]).then(|| {
        let title = format!("{letter}: {title}, by room size");
        let (x, y) = ("members of the room".to_owned(), y.to_owned());
        (
            format!("{file}-{}", letter.to_lowercase()),
            Chart { title, x, y, ticks: Ticks::Powers, upwards, series },
        )
    })
}

/// The latency percentiles of each server in one scenario.
fn latency(scenario: &ScenarioResult) -> Option<(String, Chart)> {
    let point = |target: &TargetResult, place: usize| {
        let (percentile, _) = PERCENTILES[place];
        let us = target.spread(|round| round.latency_at(percentile))?.median;
        us.is_finite().then_some((place as f64, us / 1e3))
    };
    let of = |target: &TargetResult| Series {
        name: target.target.clone(),
        points: (0..PERCENTILES.len()).filter_map(|place| point(target, place)).collect(),
    };
    let series: Vec<Series> = scenario.targets.iter().map(of).collect();
    let names = PERCENTILES.map(|(_, name)| name.to_owned()).to_vec();
    let (x, y) = ("of the deliveries had come after".to_owned(), "ms".to_owned());
    let title = format!("{}: latency, {}", scenario.name, scenario.what);
    let chart = Chart { title, x, y, ticks: Ticks::Names(names), upwards: Upwards::Powers, series };
    Some((format!("latency-{}", scenario.name.to_lowercase()), chart))
}

/// What a picture of a row of the scale table says.
struct Words {
    file: &'static str,
    title: &'static str,
    x: &'static str,
    y: &'static str,
}

impl Words {
    const MEMORY: Words = Words {
        file: "memory",
        title: "Resident memory of the server, by idle sessions",
        x: "sessions, each in a room",
        y: "MiB",
    };
    const START: Words = Words {
        file: "start",
        title: "Start-up, by rows of history",
        x: "rows",
        y: "seconds until it listens",
    };
}

fn by_size(report: &Report, row: &str, value: &str, scale: f64, words: Words) -> Option<(String, Chart)> {
    let of_row: Vec<&Point> = report.points.iter().filter(|point| point.row == row).collect();
    let mut series: Vec<Series> = Vec::new();
    for point in of_row {
        let at = (point.size as f64, point.values.get(value)? * scale);
        match series.iter_mut().find(|series| series.name == point.target) {
            Some(series) => series.points.push(at),
            None => series.push(Series { name: point.target.clone(), points: vec![at] }),
        }
    }
    series.iter_mut().for_each(|series| series.points.sort_by(|one, other| one.0.total_cmp(&other.0)));
    let Words { file, title, x, y } = words;
    let chart = Chart {
        title: title.into(),
        x: x.into(),
        y: y.into(),
        ticks: Ticks::Powers,
        upwards: Upwards::Powers,
        series,
    };
    (!chart.series.is_empty()).then(|| (file.to_owned(), chart))
}
