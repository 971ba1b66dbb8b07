//! Servers as process groups that never outlive the run: a guard ends each, and so does a signal that ends us.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, ExitStatus};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

/// The groups that live, by their leaders' ids, for [`end_all`].
struct Live {
    leaders: Vec<u32>,
    /// The run is being ended: nothing is started any more.
    ending: bool,
}

static LIVE: Mutex<Live> = Mutex::new(Live { leaders: Vec::new(), ending: false });

/// How long a server may take to stop before it is killed.
const PATIENCE: Duration = Duration::from_secs(15);

/// A child with its whole process group. Dropping it ends the group.
#[derive(Debug)]
pub(super) struct Group {
    child: Child,
    done: bool,
}

impl Group {
    /// Starts the command as the leader of a new group.
    pub(super) fn spawn(command: &mut Command) -> Result<Self> {
        let shown = command.get_program().to_string_lossy().into_owned();
        // Held while it is started: a run that is being ended either knows of it or has forbidden it.
        let mut live = live();
        if live.ending {
            bail!("{shown} is not started: the run is being ended");
        }
        let child = command.process_group(0).spawn().with_context(|| format!("cannot start {shown}"))?;
        live.leaders.push(child.id());
        Ok(Self { child, done: false })
    }

    /// As [`Self::spawn`], with what writes to its standard input, if that is a pipe.
    pub(super) fn spawn_taking(command: &mut Command) -> Result<(Self, Option<ChildStdin>)> {
        let mut group = Self::spawn(command)?;
        let stdin = group.child.stdin.take();
        Ok((group, stdin))
    }

    /// The leader's id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().ok().flatten();
        if status.is_some() {
            self.forget();
        }
        status
    }

    /// Asks the group to end, waits, and kills what is left.
    pub(super) fn end(&mut self) {
        if self.done {
            return;
        }
        signal(self.id(), Signal::TERM);
        let deadline = Instant::now() + PATIENCE;
        while self.ended().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        // Stragglers of the group; the leader too if it has not heard.
        signal(self.child.id(), Signal::KILL);
        let _reaped = self.child.wait();
        self.forget();
    }

    fn forget(&mut self) {
        self.done = true;
        let id = self.child.id();
        live().leaders.retain(|&other| other != id);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

fn live() -> std::sync::MutexGuard<'static, Live> {
    LIVE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn signal(leader: u32, which: Signal) {
    // A group that has gone already cannot be told anything.
    if let Some(pid) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        let _gone = kill_process_group(pid, which);
    }
}

/// Ends every group that lives, and lets none begin. For a signal that ends this process without dropping anything.
pub(super) fn end_all() {
    let leaders = {
        let mut live = live();
        live.ending = true;
        live.leaders.clone()
    };
    leaders.iter().for_each(|&leader| signal(leader, Signal::TERM));
    std::thread::sleep(Duration::from_secs(2));
    leaders.iter().for_each(|&leader| signal(leader, Signal::KILL));
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::process::Stdio;

    use super::*;

    #[test]
    fn dropping_a_group_ends_its_children_too() {
        let mut command = Command::new("sh");
        let script = "(echo here; sleep 60; echo the child goes on) & wait; echo so does the leader";
        command.args(["-c", script]).stdout(Stdio::piped());
        let mut group = Group::spawn(&mut command).unwrap();
        let mut out = BufReader::new(group.child.stdout.take().unwrap());
        let mut said = String::new();
        out.read_line(&mut said).unwrap();
        let leader = group.id();
        assert!(live().leaders.contains(&leader));
        drop(group);
        // To the end: when nobody is left who could write. A killed process may take a moment to be gone.
        out.read_to_string(&mut said).unwrap();
        assert_eq!(said, "here\n");
        assert!(!live().leaders.contains(&leader));
    }

    #[test]
    fn an_end_of_its_own_is_seen() {
        let mut group = Group::spawn(Command::new("sh").args(["-c", "exit 3"])).unwrap();
        let status = loop {
            if let Some(status) = group.ended() {
                break status;
            }
            std::thread::yield_now();
        };
        assert_eq!(status.code(), Some(3));
        assert!(Group::spawn(&mut Command::new("no-such-program-here")).is_err());
    }
}
