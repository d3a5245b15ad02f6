//! Trying a property over the lives of a simulated disk for as long as one likes: what `tests/lives` runs.

use std::io::{IsTerminal, Write};
use std::time::Instant;

/// The seeds from `VECHE_LIVES_SEED` on (1 000 when it is not set), until `VECHE_LIVES_POINTS` points (100 000)
/// were tried. `try_seed` tries everything of one seed and says how many points that were. A failure is repeated
/// by its seed, which is told before each.
pub fn try_many(what: &str, mut try_seed: impl FnMut(u64) -> u64) {
    let number = |name: &str, otherwise| {
        std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(otherwise)
    };
    let (first, wanted) = (number("VECHE_LIVES_SEED", 1_000), number("VECHE_LIVES_POINTS", 100_000));
    let (mut points, started) = (0, Instant::now());
    for seed in first.. {
        tell(what, seed, points, wanted, started);
        points += try_seed(seed);
        if points >= wanted {
            tell(what, seed, points, points, started);
            let _ = writeln!(std::io::stderr());
            return;
        }
    }
}

/// A bar where there is a terminal to draw it on, a line elsewhere.
fn tell(what: &str, seed: u64, points: u64, wanted: u64, started: Instant) {
    let mut out = std::io::stderr();
    let seconds = started.elapsed().as_secs_f64();
    let a_second = points as f64 / seconds.max(0.001);
    let filled = (points * 30 / wanted.max(1)) as usize;
    let (start, end) = if out.is_terminal() { ("\r", "") } else { ("", "\n") };
    // Whoever runs this may have closed the terminal.
    let _ = write!(
        out,
        "{start}{what} [{:<30}] {points}/{wanted} points, {a_second:.0} a second, seed {seed} {end}",
        "#".repeat(filled.min(30)),
    );
}
