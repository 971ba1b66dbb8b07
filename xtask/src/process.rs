//! Running commands so that none outlives us: each in a process group of its own, which a guard ends.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// A child with its whole process group. Dropping it ends the group.
pub(crate) struct Group {
    child: Child,
    done: bool,
}

/// How a command ended.
pub(crate) struct Ended {
    /// Whether it exited with 0.
    pub(crate) good: bool,
    /// Standard output and standard error as they came, if they were captured.
    pub(crate) output: String,
    /// How long it ran.
    pub(crate) time: Duration,
}

impl Group {
    /// Starts the command as the leader of a new group.
    pub(crate) fn spawn(command: &mut Command) -> Result<Self> {
        let shown = format!("{command:?}");
        let child = command.process_group(0).spawn().with_context(|| format!("cannot start {shown}"))?;
        Ok(Self { child, done: false })
    }

    /// Waits for its end; after `limit` the group is ended and this fails.
    pub(crate) fn wait(&mut self, limit: Duration) -> Result<bool> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.done = true;
                return Ok(status.success());
            }
            if Instant::now() > deadline {
                self.end();
                bail!("not done after {} s", limit.as_secs());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn end(&mut self) {
        if self.done {
            return;
        }
        let group = format!("-{}", self.child.id());
        // First a chance to tidy up (the runner stops its servers), then the end of all that is left.
        for (signal, patience) in [("-TERM", Duration::from_secs(12)), ("-KILL", Duration::from_secs(5))] {
            let _sent = quiet(Command::new("kill").args([signal, "--", &group]));
            let deadline = Instant::now() + patience;
            while Instant::now() < deadline {
                if matches!(self.child.try_wait(), Ok(Some(_))) {
                    self.done = true;
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            if self.done && signal == "-TERM" {
                // The leader is gone; stragglers of its group, if any, follow.
                let _sent = quiet(Command::new("kill").args(["-KILL", "--", &group]));
                return;
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

fn quiet(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// A command in the checkout, with nothing to read.
pub(crate) fn command<S: AsRef<OsStr>>(program: &str, arguments: &[S], folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command
}

/// Runs it with its output shown as it comes. An error says that it could not be run at all.
pub(crate) fn shown(command: &mut Command, limit: Duration) -> Result<Ended> {
    let started = Instant::now();
    let good = Group::spawn(command)?.wait(limit)?;
    Ok(Ended { good, output: String::new(), time: started.elapsed() })
}

/// Runs it with standard output and standard error together in `log`, and reads that when it has ended.
pub(crate) fn logged(command: &mut Command, log: &Path, limit: Duration) -> Result<Ended> {
    let started = Instant::now();
    let file = std::fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let copy = file.try_clone()?;
    let waited = Group::spawn(command.stdout(file).stderr(copy))?.wait(limit);
    let output = String::from_utf8_lossy(&std::fs::read(log)?).into_owned();
    let (good, output) = match waited {
        Ok(good) => (good, output),
        Err(error) => (false, format!("{output}\n{error:#}\n0 passed, 1 failed")),
    };
    Ok(Ended { good, output, time: started.elapsed() })
}

/// What a command says on standard output; an error if it fails.
pub(crate) fn said(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command.output().with_context(|| format!("cannot start {shown}"))?;
    if !output.status.success() {
        bail!("{shown} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
