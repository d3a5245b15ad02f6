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

use hdrhistogram::Histogram;

use crate::cli::Row;
use crate::error::BenchError;
use crate::report::Point;
use crate::target::{Place, Target};

/// All rows, in the order in which they are measured.
const ROWS: [Row; 7] =
    [Row::Sessions, Row::Receipts, Row::Logins, Row::Slow, Row::Start, Row::BigRoom, Row::Strangers];

/// Measures these rows, or all; `sizes` and `targets` take the place of a row's own where there are any.
///
/// # Errors
/// A row that cannot be measured against Veche. A peer that breaks off is told on standard error.
pub fn measure(
    rows: &[Row],
    sizes: &[u64],
    targets: &[Target],
    place: &Place,
) -> Result<Vec<Point>, BenchError> {
    let rows = if rows.is_empty() { &ROWS } else { rows };
    let mut points = Vec::new();
    for row in rows {
        points.extend(measure_row(*row, sizes, targets, place)?);
    }
    Ok(points)
}

fn measure_row(row: Row, sizes: &[u64], targets: &[Target], place: &Place) -> Result<Vec<Point>, BenchError> {
    let or = |own: &[u64]| if sizes.is_empty() { own.to_vec() } else { sizes.to_vec() };
    let with = |own: &[Target]| if targets.is_empty() { own.to_vec() } else { targets.to_vec() };
    match row {
        Row::Sessions => sessions::measure(&or(&[10, 100, 1_000, 9_000]), &with(&[Target::Veche]), place),
        Row::Receipts => receipts::measure(&or(&[1, 8, 64]), &with(&[Target::Veche, Target::VecheOs]), place),
        Row::Logins => logins::measure(&or(&[1_000]), place),
        Row::Slow => slow::measure(place),
        Row::Strangers => strangers::measure(&or(&[1_000]), place),
        Row::Start => start::measure(&or(&[1_000, 10_000, 100_000, 1_000_000]), place),
        Row::BigRoom => {
            big_room::measure(&or(&[10, 100, 1_000, 9_000]), &with(&[Target::Floor, Target::Veche]), place)
        }
    }
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
