//! One message at a time to a room of many: how long until everybody has it, what it costs, and what two
//! people in another room feel of it.

use std::thread;
use std::time::Duration;

use super::{percentile_ms, point, us_each};
use crate::compare::progress_bar;
use crate::error::BenchError;
use crate::fleet::Fleet;
use crate::report::Point;
use crate::scenario::{Pace, Run, Scenario};
use crate::target::{Place, Target};

/// Measures a room of this size.
pub fn measure(size: u64, target: Target, place: &Place) -> Result<Vec<Point>, BenchError> {
    let bar = progress_bar(&format!("a room of {size}, {}", target.name()), 2 * size);
    let large = Scenario {
        name: "big-room".into(),
        what: "one message at a time".into(),
        rooms: 1,
        members: u32::try_from(size).unwrap_or(u32::MAX).max(2),
        talkers: 2,
        pace: Pace::Closed { on_the_way: 1 },
        messages: (20_000 / size.max(1)).clamp(50, 2_000),
        least: Duration::from_secs(3),
        text_bytes: 128,
        deaf: 0,
    };
    let pair = Scenario::two_elsewhere();
    let running = target.start(place)?;
    let (mut room, mut others) = (Fleet::new(target.wire())?, Fleet::new(target.wire())?);
    room.enter(running.address, large.seats(), target.entering(), || bar.inc(1))?;
    others.enter(running.address, Scenario::seats_elsewhere(), 1, || {})?;
    let pid = running.pid();
    let alone = Run::new(&large, &mut room).measure(pid, |_| {})?;
    bar.inc(size);
    // The second time with the two beside it: their own thread, their own sockets.
    let felt = thread::scope(|scope| {
        let beside = scope.spawn(|| Run::new(&pair, &mut others).measure(pid, |_| {}));
        let busy = Run::new(&large, &mut room).measure(pid, |_| {});
        let beside =
            beside.join().map_err(|_| BenchError::Server("the two in the other room died".into()))?;
        busy.and(beside)
    })?;
    bar.finish_and_clear();
    let messages = alone.deliveries / u64::from(large.members - 1);
    let values = [
        ("all_have_it_ms", us_each(alone.wall, messages) / 1e3),
        ("us_a_delivery", us_each(alone.server_cpu.total(), alone.deliveries)),
        ("other_room_p50_ms", percentile_ms(&felt.latency, 50.0)),
        ("other_room_p99_ms", percentile_ms(&felt.latency, 99.0)),
        ("faults", alone.faults.and(felt.faults).total() as f64),
    ];
    Ok(vec![point("big-room", target, size, &values)])
}
