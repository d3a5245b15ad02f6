//! What changed between two versions: each figure of the one as a multiple of the other's in the same round,
//! beside what the newer one shows against itself in that round. A change that is no larger than that is none.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{Point, Round, ScenarioResult, Spread, digits};
use crate::target::VERSIONS;

/// What is compared of a scenario's rounds, by its name in the tables.
type Figure = (&'static str, fn(&Round) -> f64);

const TIMED: [Figure; 5] = [
    ("µs a delivery", |round| round.cost_us),
    ("own code", |round| round.user_us),
    ("p50", |round| round.latency_at(50.0)),
    ("p99", |round| round.latency_at(99.0)),
    ("deliveries/s", |round| round.per_second),
];

const COUNTED: [Figure; 2] = [
    ("instructions a delivery", |round| round.instructions.map_or(f64::NAN, |(all, _)| all)),
    ("own code", |round| round.instructions.map_or(f64::NAN, |(_, own)| own)),
];

/// The table of a scenario, for each pair of versions that was measured in it.
pub fn of_scenario(scenario: &ScenarioResult, out: &mut String) {
    let rounds = |name: &str| {
        let found = scenario.targets.iter().find(|target| target.target == name);
        found.filter(|target| target.failed.is_none()).map(|target| target.rounds.as_slice())
    };
    let figures: &[Figure] = if scenario.is_counted() { &COUNTED } else { &TIMED };
    for [new, old, again] in VERSIONS.map(|versions| versions.map(|target| target.name())) {
        let (Some(of_new), Some(of_old)) = (rounds(new), rounds(old)) else { continue };
        let _ = writeln!(out, "| {} | {new} ÷ {old} | {again} ÷ {new} |\n| --- | --- | --- |", scenario.name);
        for (name, figure) in figures {
            let each = |rounds: &[Round]| rounds.iter().map(figure).collect::<Vec<_>>();
            let (new, old) = (each(of_new), each(of_old));
            let again = rounds(again).map(each).unwrap_or_default();
            let _ = writeln!(out, "| {name} | {} | {} |", quotient(&new, &old), quotient(&again, &new));
        }
        out.push('\n');
    }
}

/// The table of a row of the scale table.
pub fn of_row(row: &str, points: &[&Point], out: &mut String) {
    let sizes: BTreeSet<u64> = points.iter().map(|point| point.size).collect();
    let names: BTreeSet<&String> = points.iter().flat_map(|point| point.values.keys()).collect();
    for [new, old, again] in VERSIONS.map(|versions| versions.map(|target| target.name())) {
        if !points.iter().any(|point| point.target == old) {
            continue;
        }
        let _ =
            writeln!(out, "| {row} | figure | {new} ÷ {old} | {again} ÷ {new} |\n| --- | --- | --- | --- |");
        for size in &sizes {
            for name in &names {
                let each = |target: &str| {
                    let found = points.iter().filter(|point| point.size == *size && point.target == target);
                    found.filter_map(|point| point.values.get(*name).copied()).collect::<Vec<_>>()
                };
                let (new, old, again) = (each(new), each(old), each(again));
                let changed = quotient(&new, &old);
                if !changed.is_empty() {
                    let _ = writeln!(out, "| {size} | {name} | {changed} | {} |", quotient(&again, &new));
                }
            }
        }
        out.push('\n');
    }
}

/// The median of the quotients round by round, with the least and the most in brackets; nothing where there are
/// none.
fn quotient(upper: &[f64], lower: &[f64]) -> String {
    let each = upper.iter().zip(lower).map(|(upper, lower)| upper / lower);
    Spread::of(each.filter(|quotient| quotient.is_finite())).map_or_else(String::new, |spread| {
        format!("{} ({}–{})", digits(spread.median), digits(spread.least), digits(spread.most))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn point(target: &str, each_kib: f64) -> Point {
        let values = BTreeMap::from([("each_kib".to_owned(), each_kib), ("faults".to_owned(), 0.0)]);
        Point { row: "sessions".into(), target: target.into(), size: 10, values }
    }

    #[test]
    fn each_round_is_compared_with_itself() {
        let points = [
            ("veche", 3.0),
            ("veche-old", 2.0),
            ("veche-again", 3.3),
            ("veche", 2.0),
            ("veche-old", 2.0),
            ("veche-again", 2.0),
            ("veche", 5.0),
            ("veche-old", 4.0),
            ("veche-again", 4.5),
        ];
        let points = points.map(|(target, figure)| point(target, figure));
        let mut out = String::new();
        of_row("sessions", &points.iter().collect::<Vec<_>>(), &mut out);
        let line = out.lines().nth(2).expect("a line under the head");
        assert_eq!(line, "| 10 | each_kib | 1.25 (1.00–1.50) | 1.00 (0.90–1.10) |");
        assert_eq!(
            out.lines().filter(|line| line.contains("faults")).count(),
            0,
            "0 of 0 is no figure: {out}"
        );
    }

    #[test]
    fn without_an_older_version_there_is_nothing_to_tell() {
        let mut out = String::new();
        of_row("sessions", &[&point("veche", 3.0)], &mut out);
        assert_eq!(out, "");
    }
}
