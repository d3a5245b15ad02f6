//! What is measured: who talks in which rooms, and how fast; and the loop that does it.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::check::{Checker, Faults};
use crate::error::BenchError;
use crate::fleet::Fleet;
use crate::instructions::{InstructionCounter, Instructions};
use crate::process::{self, CpuTime};
use crate::text::Texts;
use crate::wire::{Heard, Seat};

/// How long nothing may be heard before the rest counts as lost.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest wait for sockets.
const IDLE: Duration = Duration::from_millis(100);

/// Messages a second of an open loop whose rooms were made smaller, at most.
const MOST_PER_SECOND: u32 = 500;
/// How long such a loop goes on, in seconds.
const OPEN_SECONDS: u64 = 5;

/// When the next message is said.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// So many a second, whatever happens.
    Open {
        /// Messages a second.
        per_second: u32,
    },
    /// As soon as one of so many has reached everybody.
    Closed {
        /// Messages that are on the way at any time.
        on_the_way: u32,
    },
}

/// One scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Its letter or name.
    pub name: String,
    /// What it is, in one line.
    pub what: String,
    /// Rooms.
    pub rooms: u32,
    /// Members of each room; each is one connection.
    pub members: u32,
    /// How many of a room's members talk, in turn.
    pub talkers: u32,
    /// When they talk.
    pub pace: Pace,
    /// Messages that are measured, at least.
    pub messages: u64,
    /// How long a closed loop goes on, at least: the kernel counts CPU time in steps of 10 ms.
    pub least: Duration,
    /// Bytes of text in a message.
    pub text_bytes: usize,
    /// How many of the last members of each room hear nothing, because they do not read.
    pub deaf: u32,
}

impl Scenario {
    /// The scenario of this letter.
    ///
    /// # Errors
    /// There is none.
    pub fn named(letter: &str) -> Result<Self, BenchError> {
        let (rooms, members, talkers, pace, messages, what) = match letter.to_ascii_uppercase().as_str() {
            "A" => {
                (1, 1_000, 10, Pace::Open { per_second: 50 }, 250, "one room of 1 000, 50 messages a second")
            }
            "B" => (
                1,
                1_000,
                1,
                Pace::Closed { on_the_way: 64 },
                5_000,
                "one room of 1 000, 64 messages of one of them on the way",
            ),
            "C" => (
                100,
                10,
                10,
                Pace::Open { per_second: 2_000 },
                10_000,
                "100 rooms of 10, 2 000 messages a second",
            ),
            "G" => (1, 2, 2, Pace::Closed { on_the_way: 1 }, 5_000, "two people, there and back"),
            _ => {
                return Err(BenchError::Usage(format!(
                    "there is no scenario {letter}; there are A, B, C and G"
                )));
            }
        };
        let name = letter.to_ascii_uppercase();
        Ok(Scenario {
            name,
            what: what.into(),
            rooms,
            members,
            talkers,
            pace,
            messages,
            least: Duration::from_secs(3),
            text_bytes: 128,
            deaf: 0,
        })
    }

    /// The same with rooms of another size, and about as many deliveries a second, as far as that needs no
    /// more than 500 messages a second.
    pub fn with_members(mut self, members: u32) -> Self {
        let members = members.max(2);
        if members == self.members {
            return self;
        }
        let scaled = |count: u64| count * u64::from(self.members) / u64::from(members);
        match &mut self.pace {
            Pace::Open { per_second } => {
                *per_second = (scaled(u64::from(*per_second)) as u32).clamp(1, MOST_PER_SECOND);
                self.messages = u64::from(*per_second) * OPEN_SECONDS;
                self.what = format!("{} × {members} members, {per_second} messages a second", self.rooms);
            }
            Pace::Closed { on_the_way } => {
                self.messages = scaled(self.messages).clamp(200, 20_000);
                self.what = format!("{} × {members} members, {on_the_way} messages on the way", self.rooms);
            }
        }
        self.members = members;
        self.talkers = self.talkers.min(members);
        self
    }

    /// The same with another number of talkers, as many as there are members at most.
    pub fn with_talkers(mut self, talkers: u32) -> Self {
        self.talkers = talkers.clamp(1, self.members);
        self.what = format!("{}, {} talk", self.what, self.talkers);
        self
    }

    /// The same with another number of rooms, and as many messages a second in all.
    pub fn with_rooms(mut self, rooms: u32) -> Self {
        self.rooms = rooms.max(1);
        if let Pace::Open { per_second } = self.pace {
            self.what = format!("{} × {} members, {per_second} messages a second", self.rooms, self.members);
        }
        self
    }

    /// Two people in a room of their own, who show what others feel of a burden elsewhere.
    pub fn two_elsewhere() -> Self {
        Scenario {
            name: "elsewhere".into(),
            what: "two people, 200 messages a second".into(),
            rooms: 1,
            members: 2,
            talkers: 2,
            pace: Pace::Open { per_second: 200 },
            messages: 600,
            least: Duration::ZERO,
            text_bytes: 128,
            deaf: 0,
        }
    }

    /// The seats of [`Scenario::two_elsewhere`], above all other numbers.
    pub fn seats_elsewhere() -> Vec<Seat> {
        const OTHERS: u32 = 1_000_000;
        (0..2).map(|number| Seat { number: number + OTHERS, room: OTHERS, ..Seat::default() }).collect()
    }

    /// The clients that take part.
    pub fn seats(&self) -> Vec<Seat> {
        let seat = |number: u32| Seat { number, room: number / self.members, token: Vec::new() };
        (0..self.rooms * self.members).map(seat).collect()
    }

    /// Messages that are said before the measured ones.
    fn warm_up(&self) -> u64 {
        (self.messages / 10).max(10)
    }

    /// Room and talker of the message with this number: the rooms in turn, and in each its talkers.
    fn place(&self, message: u64) -> (u32, u32) {
        let room = message % u64::from(self.rooms);
        let talker = message / u64::from(self.rooms) % u64::from(self.talkers);
        (room as u32, talker as u32)
    }
}

/// What one run of a scenario against one server gave.
#[derive(Debug)]
pub struct Measured {
    /// Deliveries.
    pub deliveries: u64,
    /// What was not as it has to be, the warm-up included.
    pub faults: Faults,
    /// From the first message to the last delivery.
    pub wall: Duration,
    /// The server's CPU time for it.
    pub server_cpu: CpuTime,
    /// Its instructions, where they were counted.
    pub instructions: Option<Instructions>,
    /// The generator's.
    pub generator_cpu: CpuTime,
    /// From when a message was due to when a member heard it, in nanoseconds.
    pub latency: Histogram<u64>,
    /// The server's memory at the end, in KiB.
    pub resident_kib: u64,
}

/// Says what a scenario says, and keeps the books.
pub struct Run<'a> {
    scenario: &'a Scenario,
    fleet: &'a mut Fleet,
    checker: Checker,
    /// The number of the message that is next.
    next: u64,
    text: Vec<u8>,
    /// Messages of the closed loop that everybody has heard, and that wait for their successor.
    arrived: u32,
}

impl<'a> Run<'a> {
    /// A run with a fleet whose clients are those of [`Scenario::seats`], all in their rooms.
    pub fn new(scenario: &'a Scenario, fleet: &'a mut Fleet) -> Self {
        let texts = Texts::new(scenario.text_bytes);
        let mut checker = Checker::new(scenario.rooms, scenario.members, scenario.talkers, texts);
        checker.expect_nothing_of(scenario.deaf);
        Run { scenario, fleet, checker, next: 0, text: Vec::new(), arrived: 0 }
    }

    /// Warms up, measures the process `pid`, and tells `progress` the share that is done, in thousandths.
    ///
    /// # Errors
    /// The server broke off.
    pub fn measure(self, pid: u32, progress: impl Fn(u64)) -> Result<Measured, BenchError> {
        self.measure_counted(pid, None, progress)
    }

    /// The same, with the instructions that this counter counts.
    ///
    /// # Errors
    /// The server broke off.
    pub fn measure_counted(
        mut self,
        pid: u32,
        mut counter: Option<&mut InstructionCounter>,
        progress: impl Fn(u64),
    ) -> Result<Measured, BenchError> {
        let mut count = || counter.as_mut().map(|counter| counter.read()).transpose();
        self.say_all(self.scenario.warm_up(), Duration::ZERO, |_| {})?;
        self.checker.take_latency();
        let heard = self.checker.heard();
        let (server, own, counted) = (process::cpu_time(pid)?, process::own_cpu_time()?, count()?);
        let start = Instant::now();
        let wall = self.say_all(self.scenario.messages, self.scenario.least, progress)? - start;
        Ok(Measured {
            deliveries: self.checker.heard() - heard,
            faults: self.checker.faults(),
            wall,
            server_cpu: process::cpu_time(pid)? - server,
            instructions: count()?.zip(counted).map(|(after, before)| after - before),
            generator_cpu: process::own_cpu_time()? - own,
            latency: self.checker.take_latency(),
            resident_kib: process::resident_kib(pid)?,
        })
    }

    /// Says at least `count` messages, a closed loop for at least `least`, and waits for their deliveries;
    /// gives the time of the last one.
    fn say_all(
        &mut self,
        count: u64,
        least: Duration,
        progress: impl Fn(u64),
    ) -> Result<Instant, BenchError> {
        let (start, first) = (Instant::now(), self.next);
        let mut last_heard = start;
        if let Pace::Closed { on_the_way } = self.scenario.pace {
            self.arrived = on_the_way;
        }
        loop {
            let said = self.next - first;
            let closed = matches!(self.scenario.pace, Pace::Closed { .. });
            let done = said >= count && !(closed && start.elapsed() < least);
            let timeout = if done { IDLE } else { self.say_due(start, first, first + count) };
            if done && (self.checker.is_complete() || last_heard.elapsed() > PATIENCE) {
                return Ok(last_heard);
            }
            if last_heard.elapsed() > 2 * PATIENCE {
                return Err(BenchError::Server("nothing was heard for 10 s".into()));
            }
            let (checker, arrived) = (&mut self.checker, &mut self.arrived);
            self.fleet.turn(Some(timeout), |client, heard, now| {
                if let Heard::Delivery { text, order } = heard {
                    last_heard = now;
                    if checker.hear(client, text, order, now) {
                        *arrived += 1;
                    }
                }
            })?;
            progress((said * 1_000 / count.max(1)).min(1_000));
        }
    }

    /// Says what is due, and tells how long there is nothing more to say.
    fn say_due(&mut self, start: Instant, first: u64, end: u64) -> Duration {
        match self.scenario.pace {
            Pace::Open { per_second } => {
                let gap = Duration::from_secs(1) / per_second.max(1);
                while self.next < end {
                    let due = start + gap.mul_f64((self.next - first) as f64);
                    let wait = due.saturating_duration_since(Instant::now());
                    if !wait.is_zero() {
                        return wait.min(IDLE);
                    }
                    self.say_next(due);
                }
            }
            Pace::Closed { .. } => {
                for _ in 0..std::mem::take(&mut self.arrived) {
                    self.say_next(Instant::now());
                }
            }
        }
        IDLE
    }

    fn say_next(&mut self, due: Instant) {
        let (room, talker) = self.scenario.place(self.next);
        self.next += 1;
        self.checker.say(room, talker, due, &mut self.text);
        self.fleet.say((room * self.scenario.members + talker) as usize, &self.text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_room_and_talker_has_its_turn() {
        let scenario = Scenario::named("c").expect("it exists");
        assert_eq!(scenario.place(0), (0, 0));
        assert_eq!(scenario.place(99), (99, 0));
        assert_eq!(scenario.place(100), (0, 1));
        assert_eq!(scenario.place(1_000), (0, 0));
        assert_eq!(scenario.seats().len(), 1_000);
        assert!(Scenario::named("Z").is_err());
    }

    #[test]
    fn a_larger_room_takes_fewer_messages() {
        let scenario = Scenario::named("A").expect("it exists");
        assert_eq!(scenario.clone().with_members(1_000), scenario, "its own size changes nothing");
        assert_eq!(scenario.clone().with_members(10).pace, Pace::Open { per_second: 500 });
        let large = scenario.with_members(9_000);
        assert_eq!(large.with_rooms(2).seats().len(), 18_000);
        let large = Scenario::named("A").expect("it exists").with_members(9_000);
        assert_eq!((large.pace, large.messages), (Pace::Open { per_second: 5 }, 25));
        assert_eq!(Scenario::named("B").expect("it exists").with_members(10).messages, 20_000);
    }
}
