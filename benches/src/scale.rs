//! The rows of the scale table: what grows, and how.

mod big_room;
mod logins;
mod receipts;
mod sessions;
mod slow;
mod start;
mod strangers;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::ValueEnum;
use hdrhistogram::Histogram;

use crate::cli::{Row, Scale};
use crate::compare::in_turn;
use crate::error::BenchError;
use crate::report::Point;
use crate::target::{self, Place, Target, VERSIONS};

/// All rows, in the order in which they are measured.
const ROWS: [Row; 7] =
    [Row::Sessions, Row::Receipts, Row::Logins, Row::Slow, Row::Start, Row::BigRoom, Row::Strangers];

/// Measures the rows that are asked for, or all, as many rounds of each as are asked for; the servers of a row
/// are measured in turn.
///
/// # Errors
/// A row that cannot be measured against Veche. A peer that breaks off is told on standard error.
pub fn measure(options: &Scale, place: &Place) -> Result<Vec<Point>, BenchError> {
    let rows = if options.rows.is_empty() { ROWS.as_slice() } else { &options.rows };
    let mut points = Vec::new();
    for row in rows {
        let targets = match options.targets.as_slice() {
            [] => targets_of(*row, place),
            named => target::chosen(named),
        };
        let sizes = if options.sizes.is_empty() { sizes_of(*row) } else { &options.sizes };
        for round in 1..=options.rounds.max(1) {
            for size in sizes {
                for index in in_turn(&targets, round) {
                    points.extend(measure_at(*row, *size, targets[index], place)?);
                }
            }
        }
    }
    Ok(points)
}

/// The sizes that a row is measured at.
fn sizes_of(row: Row) -> &'static [u64] {
    match row {
        Row::Sessions | Row::BigRoom => &[10, 100, 1_000, 9_000],
        Row::Receipts => &[1, 8, 64],
        Row::Logins | Row::Strangers => &[1_000],
        Row::Slow => &[0, 1],
        Row::Start => &[1_000, 10_000, 100_000, 1_000_000],
    }
}

/// The servers that a row is measured at; with each version of Veche the older one, where there is one.
fn targets_of(row: Row, place: &Place) -> Vec<Target> {
    let own: &[Target] = match row {
        Row::Receipts => &[Target::Veche, Target::VecheOs],
        Row::BigRoom => &[Target::Floor, Target::Veche],
        _ => &[Target::Veche],
    };
    let mut targets = own.to_vec();
    if place.veche_old.is_some() {
        targets.extend(VERSIONS.iter().filter(|[new, ..]| own.contains(new)).map(|[_, old, _]| *old));
    }
    target::chosen(&targets)
}

fn measure_at(row: Row, size: u64, target: Target, place: &Place) -> Result<Vec<Point>, BenchError> {
    let points = match row {
        Row::Sessions => sessions::measure(size, target, place),
        Row::Receipts => receipts::measure(size, target, place),
        Row::Logins => logins::measure(size, target, place),
        Row::Slow => slow::measure(size, target, place),
        Row::Start => start::measure(size, target, place),
        Row::BigRoom => big_room::measure(size, target, place),
        Row::Strangers => strangers::measure(size, target, place),
    };
    match points {
        Err(error) if !target.is_veche() => {
            eprintln!("veche-bench: {} with {size} at {}: {error}", row_name(row), target.name());
            Ok(Vec::new())
        }
        points => points,
    }
}

fn row_name(row: Row) -> String {
    row.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

/// A point of a row.
fn point(row: &str, target: Target, size: u64, values: &[(&str, f64)]) -> Point {
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), *value));
    Point {
        row: row.to_owned(),
        target: target.name().to_owned(),
        size,
        values: values.collect::<BTreeMap<_, _>>(),
    }
}

/// A percentile of a histogram of nanoseconds, in milliseconds.
fn percentile_ms(histogram: &Histogram<u64>, percentile: f64) -> f64 {
    histogram.value_at_percentile(percentile) as f64 / 1e6
}

/// A time for each of `count`, in microseconds.
fn us_each(time: Duration, count: u64) -> f64 {
    time.as_secs_f64() * 1e6 / count.max(1) as f64
}
