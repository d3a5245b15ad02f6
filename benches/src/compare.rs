//! The scenarios, run against several servers in turn, so that all of them see the same machine.

use indicatif::{ProgressBar, ProgressStyle};

use crate::error::BenchError;
use crate::fleet::Fleet;
use crate::report::{Round, ScenarioResult, TargetResult};
use crate::scenario::{Measured, Run, Scenario};
use crate::target::{Place, Target};

/// Runs each scenario `rounds` times against each of the targets, in turn.
pub fn compare(
    scenarios: &[Scenario],
    targets: &[Target],
    rounds: u32,
    place: &Place,
) -> Vec<ScenarioResult> {
    scenarios.iter().map(|scenario| compare_in(scenario, targets, rounds, place)).collect()
}

fn compare_in(scenario: &Scenario, targets: &[Target], rounds: u32, place: &Place) -> ScenarioResult {
    let mut result = ScenarioResult::new(scenario);
    let of = |target: &Target| TargetResult {
        target: target.name().to_owned(),
        version: target.version(place),
        rounds: Vec::new(),
        failed: None,
    };
    result.targets = targets.iter().map(of).collect();
    for round in 1..=rounds {
        let mut floor = None;
        for index in in_turn(targets, round) {
            let (Some(target), Some(into)) = (targets.get(index), result.targets.get_mut(index)) else {
                continue;
            };
            let label = format!("{} {} ({round}/{rounds})", scenario.name, target.name());
            match measure(scenario, *target, place, &label) {
                Ok(measured) => {
                    if *target == Target::Floor {
                        floor = Some(Round::new(&measured, None));
                    }
                    into.rounds.push(Round::new(&measured, floor.as_ref()));
                }
                Err(error) => into.failed = Some(error.to_string()),
            }
        }
    }
    result
}

/// The order of a round: the floor first, since all are measured against it; the others from the front and from
/// the back by turns, so that none always has the machine as the same other one left it.
pub fn in_turn(targets: &[Target], round: u32) -> Vec<usize> {
    let is_floor = |index: &usize| targets[*index] == Target::Floor;
    let (floor, mut others): (Vec<usize>, Vec<usize>) = (0..targets.len()).partition(is_floor);
    if round.is_multiple_of(2) {
        others.reverse();
    }
    [floor, others].concat()
}

/// Runs a scenario once against a server that is started for it.
fn measure(scenario: &Scenario, target: Target, place: &Place, label: &str) -> Result<Measured, BenchError> {
    let bar = progress_bar(label, 2_000);
    let mut running = target.start(place)?;
    let mut fleet = Fleet::new(target.wire())?;
    let seats = scenario.seats();
    let total = seats.len() as u64;
    let mut entered = 0;
    fleet.enter(running.address, seats, target.entering(), || {
        entered += 1;
        bar.set_position(entered * 1_000 / total);
    })?;
    let progress = |done| bar.set_position(1_000 + done);
    let (pid, counter) = (running.pid(), running.counter.as_mut());
    let measured = Run::new(scenario, &mut fleet).measure_counted(pid, counter, progress);
    bar.finish_and_clear();
    measured
}

/// A bar on standard error, where it is a terminal.
pub fn progress_bar(label: &str, length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg:24} {bar:40} {elapsed}");
    let bar = ProgressBar::new(length);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(label.to_owned());
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_comes_first_and_the_others_by_turns() {
        let targets = [Target::Floor, Target::Veche, Target::VecheOld];
        assert_eq!(in_turn(&targets, 1), [0, 1, 2]);
        assert_eq!(in_turn(&targets, 2), [0, 2, 1]);
    }
}
