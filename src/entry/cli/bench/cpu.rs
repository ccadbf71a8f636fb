//! How busy this machine was, and this client with it, as the kernel counts. Where it does not tell,
//! nothing is said.
#![allow(
    clippy::float_arithmetic,
    reason = "a share of a machine, for people to read"
)]

use std::fs;
use std::time::Duration;

/// The kernel's ticks of CPU time in a second, the same on every Linux.
const TICKS: u64 = 100;
/// Where a line of `/proc/stat` counts what was idle: `idle` and `iowait`.
const IDLE: [usize; 2] = [3, 4];
/// `user` to `steal`; what follows is counted in these already.
const COUNTED: usize = 8;
/// Where `/proc/self/stat` counts own time, from the state on: `utime` and `stime`.
const OWN: [usize; 2] = [11, 12];

/// CPU time that was spent until a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// By everybody on this machine.
    machine: Duration,
    /// By this process.
    own: Duration,
}

/// What was spent between two moments, in cores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Busy {
    /// By everybody on this machine.
    pub machine: f64,
    /// By this process.
    pub client: f64,
}

impl Cpu {
    /// Until now.
    pub fn now() -> Option<Self> {
        let machine = fs::read_to_string("/proc/stat").ok()?;
        let own = fs::read_to_string("/proc/self/stat").ok()?;
        Self::read(&machine, &own)
    }

    fn read(machine: &str, own: &str) -> Option<Self> {
        let line = machine.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let counts = line.split_whitespace().take(COUNTED).enumerate();
        let busy = counts.filter(|(at, _)| !IDLE.contains(at));
        let busy: Option<Vec<u64>> = busy.map(|(_, ticks)| ticks.parse().ok()).collect();
        // The name in brackets may hold blanks, and brackets.
        let (_, rest) = own.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let spent = OWN.map(|at| fields.get(at).and_then(|ticks| ticks.parse::<u64>().ok()));
        let time = |ticks: u64| Duration::from_millis(ticks * 1_000 / TICKS);
        Some(Self {
            machine: time(busy?.into_iter().sum()),
            own: time(spent[0]? + spent[1]?),
        })
    }

    /// What was spent since, over so long.
    pub fn since(self, before: Self, took: Duration) -> Option<Busy> {
        let seconds = took.as_secs_f64();
        let share =
            |now: Duration, then: Duration| now.saturating_sub(then).as_secs_f64() / seconds;
        (seconds > 0.0).then(|| Busy {
            machine: share(self.machine, before.machine),
            client: share(self.own, before.own),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_counts_become_cores() {
        let at = |user: u64, idle: u64, own: u64| {
            let machine = format!("cpu  {user} 0 100 {idle} 50 0 0 0 9 9\ncpu0 1 2 3\n");
            let own = format!("42 (a (b) c) S 1 1 1 0 -1 0 0 0 0 0 {own} 5 0 0 20 0");
            Cpu::read(&machine, &own).unwrap()
        };
        let (before, after) = (at(1_000, 5_000, 10), at(1_300, 5_400, 60));
        let busy = after.since(before, Duration::from_secs(2)).unwrap();
        assert_eq!((busy.machine, busy.client), (1.5, 0.25));
        assert_eq!(after.since(before, Duration::ZERO), None);
        assert_eq!(Cpu::read("intr 1", "1 (x) S"), None);
    }
}
