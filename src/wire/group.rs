//! A child's whole process group, so that nothing it started outlives it.
//!
//! `bash -c` and its like start the real server as a process of their own; ending the child alone
//! would leave that one behind, with its credentials. A [`Group`] is killed when it is dropped,
//! however that comes about. Against a death of the broker itself that lets it drop nothing
//! (`kill -9`), a [`Watchdog`] stands by: a process of its own that holds the end of a pipe, and
//! kills the groups it was told of once the other end is gone.
//!
//! What remains: a server that leaves its group on purpose (`setsid`), and a watchdog that is killed
//! together with the broker. Such a server still loses its standard input.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group};

/// The group that a child leads. Killed when dropped.
pub(super) struct Group {
    leader: Pid,
    watchdog: Option<Watchdog>,
}

impl Group {
    /// The group of a child that was started as the leader of one; `None` if it has ended already.
    pub(super) fn of(child: &tokio::process::Child, watchdog: Option<Watchdog>) -> Option<Self> {
        let leader = i32::try_from(child.id()?).ok().and_then(Pid::from_raw)?;
        if let Some(watchdog) = &watchdog {
            watchdog.note(leader, true);
        }
        Some(Self { leader, watchdog })
    }

    /// Asks everybody in it to leave.
    pub(super) fn ask(&self) {
        // Fails only if nobody is left.
        let _ = kill_process_group(self.leader, Signal::TERM);
    }

    /// True while anybody is in it.
    pub(super) fn is_there(&self) -> bool {
        rustix::process::test_kill_process_group(self.leader).is_ok()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Fails only if nobody is left.
        let _ = kill_process_group(self.leader, Signal::KILL);
        if let Some(watchdog) = &self.watchdog {
            watchdog.note(self.leader, false);
        }
    }
}

/// Kills the groups of children whose broker has died. Cheap to clone; started with the first child.
#[derive(Clone)]
pub struct Watchdog(Arc<Mutex<Kennel>>);

struct Kennel {
    program: PathBuf,
    process: Option<Child>,
    groups: BTreeSet<i32>,
}

impl Watchdog {
    /// `program` is this very program.
    pub fn new(program: &Path) -> Self {
        Self(Arc::new(Mutex::new(Kennel {
            program: program.to_owned(),
            process: None,
            groups: BTreeSet::new(),
        })))
    }

    fn note(&self, leader: Pid, there: bool) {
        let mut kennel = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let leader = leader.as_raw_nonzero().get();
        if there {
            kennel.groups.insert(leader);
        } else {
            kennel.groups.remove(&leader);
        }
        let line = format!("{}{leader}\n", if there { '+' } else { '-' });
        if kennel.tell(&line).is_err() && there {
            let groups = kennel.groups.iter();
            let all: String = groups.map(|group| format!("+{group}\n")).collect();
            kennel.release();
            let told = kennel.start().and_then(|()| kennel.tell(&all));
            if let Err(error) = told {
                tracing::warn!(%error, "no watchdog: after a kill -9 children may stay behind");
            }
        }
    }
}

impl Kennel {
    fn start(&mut self) -> std::io::Result<()> {
        let mut command = Command::new(&self.program);
        command
            .args(["sidecar", "watch"])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // An interrupt at the terminal is for the broker alone.
            .process_group(0);
        self.process = Some(command.spawn()?);
        Ok(())
    }

    fn tell(&mut self, line: &str) -> std::io::Result<()> {
        let stdin = self.process.as_mut().and_then(|it| it.stdin.as_mut());
        let stdin = stdin.ok_or(std::io::ErrorKind::NotConnected)?;
        stdin.write_all(line.as_bytes())
    }

    fn release(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.stdin.take());
            let _ = process.wait();
        }
    }
}

impl Drop for Kennel {
    /// With nothing left to watch it leaves at once.
    fn drop(&mut self) {
        self.release();
    }
}

/// What the watchdog does: reads `+GROUP` and `-GROUP`, one a line, to the end, and says which
/// groups were left. Lines that are neither are skipped.
pub fn left_behind(lines: impl Iterator<Item = String>) -> BTreeSet<i32> {
    let mut groups = BTreeSet::new();
    for line in lines {
        let there = line.starts_with('+');
        let group = line.strip_prefix(['+', '-']).and_then(|id| id.parse().ok());
        match group {
            // Never our own group, nor everybody.
            Some(group) if there && group > 1 => {
                groups.insert(group);
            }
            Some(group) => {
                groups.remove(&group);
            }
            None => {}
        }
    }
    groups
}

/// Sends a signal to what was left behind: a request to leave, or the end.
pub fn end(groups: &BTreeSet<i32>, politely: bool) {
    let signal = if politely { Signal::TERM } else { Signal::KILL };
    for group in groups.iter().filter_map(|group| Pid::from_raw(*group)) {
        let _ = kill_process_group(group, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_of_and_not_taken_back_is_left() {
        let told = ["+10", "+11", "-10", "x", "+1", "+0", "-99", "+-5", ""];
        let left = left_behind(told.into_iter().map(str::to_owned));
        assert_eq!(left, BTreeSet::from([11]));
    }
}
