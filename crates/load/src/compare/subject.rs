//! The servers that are compared: how each is prepared in a folder of its own, started, ended and seeded.

use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nuncio_net::ca::LocalCa;

use super::config::{self, DOMAIN, Federation, Setting};
use super::group::Group;
use super::seed::{self, Range};
use super::{machine, provision};
use crate::{Accounts, Start, Target};

/// How long a server may take until it listens.
const STARTING: Duration = Duration::from_secs(60);

/// How long the accounts of a server may take.
const SEEDING: Duration = Duration::from_secs(300);

/// Lines of a log that an error shows.
const LOG_LINES: usize = 12;

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Prosody of the Debian package.
    Prosody,
    /// ejabberd of the Debian package.
    Ejabberd,
    /// The bare TLS relay: the floor.
    Relay,
    /// Ours.
    Nuncio,
}

impl Kind {
    /// All, in the order of the table.
    pub(super) const ALL: [Self; 4] = [Self::Prosody, Self::Ejabberd, Self::Relay, Self::Nuncio];

    /// As on the command line.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Prosody => "prosody",
            Self::Ejabberd => "ejabberd",
            Self::Relay => "relay",
            Self::Nuncio => "nuncio",
        }
    }

    /// As in the table.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Prosody => "Prosody",
            Self::Ejabberd => "ejabberd",
            Self::Relay => "bare relay",
            Self::Nuncio => "Nuncio",
        }
    }

    /// Debian's user that the server runs as, if we may choose: neither of the rivals likes to be root.
    fn user(self) -> Option<&'static str> {
        match self {
            Self::Prosody => Some("prosody"),
            Self::Ejabberd => Some("ejabberd"),
            Self::Relay | Self::Nuncio => None,
        }
        .filter(|_| provision::is_root())
    }
}

/// A server, prepared; perhaps running.
pub(super) struct Subject {
    pub(super) kind: Kind,
    /// What its package or itself says.
    pub(super) version: String,
    folder: PathBuf,
    address: SocketAddr,
    domain: String,
    federation: Option<Federation>,
    authority: PathBuf,
    binary: PathBuf,
    user: Option<(u32, u32)>,
    threads: Option<u32>,
    running: Option<Group>,
}

/// Where a server stands and what it serves.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The name of its folder.
    pub(super) folder: String,
    /// Where it listens for clients.
    pub(super) address: SocketAddr,
    /// Its domain.
    pub(super) domain: String,
    /// How it talks to other servers.
    pub(super) federation: Option<Federation>,
}

impl Place {
    /// A server that talks to clients only.
    ///
    /// # Errors
    /// There is no port left.
    pub(super) fn alone(kind: Kind) -> Result<Self> {
        Ok(Self {
            folder: kind.name().to_owned(),
            address: free_address(Ipv4Addr::LOCALHOST)?,
            domain: DOMAIN.to_owned(),
            federation: None,
        })
    }
}

impl Subject {
    /// Makes the folder, the configuration and the accounts.
    pub(super) fn prepare(
        kind: Kind,
        place: Place,
        base: &Path,
        tls: &LocalCa,
        binary: Option<&Path>,
        ranges: &[Range],
    ) -> Result<Self> {
        let Place { folder, address, domain, federation } = place;
        let folder = base.join(folder);
        for part in ["data", "spool"] {
            std::fs::create_dir_all(folder.join(part))?;
        }
        let chain = std::fs::read_to_string(&tls.chain)?;
        let key = std::fs::read_to_string(&tls.key)?;
        std::fs::write(folder.join("chain.pem"), &chain)?;
        write_secret(&folder.join("key.pem"), &key)?;
        write_secret(&folder.join("both.pem"), &(chain + &key))?;
        let mut this = Self {
            kind,
            version: match kind {
                Kind::Nuncio => machine::own_version(binary.context("there is no binary of nuncio")?),
                Kind::Prosody | Kind::Ejabberd => machine::package_version(kind.name()),
                Kind::Relay => String::new(),
            },
            folder,
            address,
            domain,
            federation,
            authority: tls.authority.clone(),
            binary: match kind {
                Kind::Relay => std::env::current_exe()?,
                _ => binary.map(Path::to_owned).unwrap_or_default(),
            },
            user: kind.user().map(ids).transpose()?,
            threads: None,
            running: None,
        };
        if ranges.is_empty() {
            return Ok(this);
        }
        this.seed(ranges).with_context(|| format!("{}: the accounts cannot be made", kind.title()))?;
        Ok(this)
    }

    fn write_config(&self) -> Result<()> {
        let setting = Setting {
            folder: &self.folder,
            address: self.address,
            domain: &self.domain,
            federation: self.federation.as_ref(),
            threads: self.threads,
        };
        if let (Kind::Prosody, Some(federation)) = (self.kind, &self.federation) {
            let modules = self.folder.join("modules");
            std::fs::create_dir_all(&modules)?;
            std::fs::write(
                modules.join(format!("mod_{}.lua", config::HOSTS)),
                config::prosody_hosts(federation),
            )?;
        }
        let (file, text) = match self.kind {
            Kind::Nuncio => ("nuncio.toml", config::nuncio(&setting)),
            Kind::Prosody => ("prosody.cfg.lua", config::prosody(&setting)),
            Kind::Ejabberd => ("ejabberd.yml", config::ejabberd(&setting)),
            Kind::Relay => return Ok(()),
        };
        std::fs::write(self.folder.join(file), text)?;
        std::fs::write(self.folder.join("inetrc"), "{lookup,[file,native]}.\n")?;
        Ok(())
    }

    fn seed(&mut self, ranges: &[Range]) -> Result<()> {
        self.write_config()?;
        match self.kind {
            Kind::Relay => {}
            Kind::Prosody => {
                seed::prosody(&self.folder.join("data"), ranges, &self.domain)?;
                self.own(&self.folder)?;
            }
            Kind::Ejabberd => {
                std::fs::write(self.folder.join("seed.erl"), seed::ejabberd(ranges))?;
                self.own(&self.folder)?;
                let mut command = self.command()?;
                command.args([
                    "-eval",
                    "case file:eval(\"seed.erl\") of ok -> ok; E -> io:format(\"~p~n\", [E]), halt(1) end.",
                ]);
                self.to_its_end(command, None)?;
            }
            Kind::Nuncio => {
                let mut command = Command::new(&self.binary);
                command.args(["account", "import", "--config", "nuncio.toml"]).current_dir(&self.folder);
                self.to_its_end(command, Some(seed::nuncio_accounts(ranges, &self.domain)))?;
                let stars: Vec<_> =
                    ranges.iter().copied().filter(|range| range.roster != seed::Roster::Empty).collect();
                if !stars.is_empty() {
                    self.start()?;
                    super::rosters::fill(&self.target(""), &stars)?;
                    self.stop();
                }
            }
        }
        Ok(())
    }

    /// Runs a command of the server to its end, with its output in the log.
    fn to_its_end(&self, mut command: Command, input: Option<String>) -> Result<()> {
        self.log_to(&mut command)?;
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let (mut group, stdin) = Group::spawn_taking(&mut command)?;
        // In a thread of its own: a command that reads nothing must not stop us.
        let writer = std::thread::spawn(move || match (stdin, input) {
            (Some(mut stdin), Some(input)) => stdin.write_all(input.as_bytes()),
            _ => Ok(()),
        });
        let deadline = Instant::now() + SEEDING;
        let status = loop {
            if let Some(status) = group.ended() {
                break status;
            }
            if Instant::now() > deadline {
                bail!("not done after {} s\n{}", SEEDING.as_secs(), self.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        drop(writer.join());
        if !status.success() {
            bail!("the command ended with {status}\n{}", self.log());
        }
        Ok(())
    }

    /// Gives a folder and what is in it to the user that the server runs as.
    fn own(&self, folder: &Path) -> Result<()> {
        let Some((user, group)) = self.user else { return Ok(()) };
        let mut left = vec![folder.to_owned()];
        while let Some(path) = left.pop() {
            std::os::unix::fs::lchown(&path, Some(user), Some(group))
                .with_context(|| format!("{}: cannot be given to the user of the server", path.display()))?;
            if path.is_dir() {
                for entry in std::fs::read_dir(&path)? {
                    left.push(entry?.path());
                }
            }
        }
        Ok(())
    }

    /// The server's command without input and output.
    fn command(&self) -> Result<Command> {
        let mut command = match self.kind {
            Kind::Nuncio => {
                let mut command = Command::new(&self.binary);
                command.args(["serve", "--config", "nuncio.toml"]).env_remove("NOTIFY_SOCKET");
                command
            }
            Kind::Relay => {
                let mut command = Command::new(&self.binary);
                command.args(["relay", "--listen", &self.address.to_string()]);
                // The authority of all: the certificate beside it is the one that the others have.
                command.args(["--dir", "../tls"]);
                command
            }
            Kind::Prosody => {
                let mut command = Command::new("prosody");
                command.args(["--config", "prosody.cfg.lua", "-F"]);
                command
            }
            Kind::Ejabberd => {
                let mut command = Command::new("erl");
                command.args(config::erl(&self.folder));
                command.envs(config::erl_environment(&self.folder, &ejabberd_libraries()?));
                command
            }
        };
        command.current_dir(&self.folder);
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        Ok(command)
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("out.log")
    }

    fn log_to(&self, command: &mut Command) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.log_file())?;
        command.stdout(log.try_clone()?).stderr(log);
        Ok(())
    }

    /// Starts it and waits until it listens.
    pub(super) fn start(&mut self) -> Result<()> {
        self.write_config()?;
        let mut command = self.command()?;
        self.log_to(&mut command)?;
        command.stdin(Stdio::null());
        self.own(&self.folder)?;
        let mut group = Group::spawn(&mut command)?;
        let deadline = Instant::now() + STARTING;
        loop {
            if let Some(status) = group.ended() {
                bail!("{} ended with {status} at its start\n{}", self.kind.title(), self.log());
            }
            if TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).is_ok() {
                break;
            }
            if Instant::now() > deadline {
                let within = STARTING.as_secs();
                bail!(
                    "{} does not listen on {} after {within} s\n{}",
                    self.kind.title(),
                    self.address,
                    self.log()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.running = Some(group);
        Ok(())
    }

    /// Ends it, if it runs.
    pub(super) fn stop(&mut self) {
        self.running = None;
    }

    /// A new process over the same data, with this number of worker threads (Nuncio only; none for its default).
    pub(super) fn restart(&mut self, threads: Option<u32>) -> Result<()> {
        self.stop();
        self.threads = threads;
        self.start()
    }

    /// Whether it runs with this number of worker threads.
    pub(super) fn runs_with(&mut self, threads: Option<u32>) -> bool {
        self.threads == threads && self.running.as_mut().is_some_and(|group| group.ended().is_none())
    }

    /// How the generator gets in, with the accounts of a range.
    pub(super) fn target(&self, prefix: &str) -> Target {
        let mut target =
            Target::new(self.kind.name(), self.address, &*self.domain, vec![self.authority.clone()]);
        if self.kind == Kind::Relay {
            target.start = Start::Relay;
        }
        target.accounts =
            Accounts { prefix: prefix.to_owned(), password: seed::PASSWORD.to_owned(), first: 0 };
        target.process = self.running.as_ref().map(Group::id);
        target
    }

    /// The last lines of its logs, with their names.
    pub(super) fn log(&self) -> String {
        [self.log_file(), self.folder.join("server.log")]
            .iter()
            .filter_map(|file| Some(tail(file, &std::fs::read(file).ok()?)))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// The last lines of a log under its name.
fn tail(file: &Path, text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<_> = text.lines().collect();
    let last = lines.get(lines.len().saturating_sub(LOG_LINES)..).unwrap_or_default();
    format!(
        "{}:\n  {}",
        file.display(),
        if last.is_empty() { "(empty)".to_owned() } else { last.join("\n  ") }
    )
}

/// A file that its owner alone reads.
fn write_secret(file: &Path, text: &str) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;

    let mut open = File::options();
    open.write(true).create(true).truncate(true).mode(0o600);
    Ok(open.open(file)?.write_all(text.as_bytes())?)
}

/// An address with a port that nobody listens on: none of the rivals takes port 0 and says which it got.
pub(super) fn free_address(ip: Ipv4Addr) -> Result<SocketAddr> {
    Ok(TcpListener::bind((ip, 0))?.local_addr()?)
}

/// The folder of Erlang libraries that ejabberd stands in.
fn ejabberd_libraries() -> Result<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").context("there is no folder of libraries")?;
    folders
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|folder| {
            std::fs::read_dir(folder).is_ok_and(|mut inside| {
                inside.any(|entry| {
                    entry.is_ok_and(|e| e.file_name().to_string_lossy().starts_with("ejabberd-"))
                })
            })
        })
        .context("the libraries of ejabberd are not below /usr/lib, where Debian's package has them")
}

/// User and group of a name.
fn ids(name: &str) -> Result<(u32, u32)> {
    let id = |flag: &str| -> Result<u32> {
        let output = Command::new("id").args([flag, name]).output()?;
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        text.parse().with_context(|| format!("there is no user {name}; its package is not whole"))
    };
    Ok((id("-u")?, id("-g")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(kind: Kind, folder: &Path) -> Subject {
        Subject {
            kind,
            version: String::new(),
            folder: folder.to_owned(),
            address: free_address(Ipv4Addr::LOCALHOST).unwrap(),
            domain: DOMAIN.to_owned(),
            federation: None,
            authority: PathBuf::from("ca.pem"),
            binary: PathBuf::from("sh"),
            user: None,
            threads: None,
            running: None,
        }
    }

    /// A server that ends at its start is not waited for, and its log's name and last lines are in the error.
    #[test]
    fn a_subject_that_does_not_start_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("broken");
        std::fs::write(
            &script,
            "#!/bin/sh\nfor n in $(seq 100); do echo line $n; done; echo no such key >&2; exit 7\n",
        )
        .unwrap();
        std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut broken = subject(Kind::Nuncio, folder.path());
        broken.binary = script;
        let said = format!("{:#}", broken.start().unwrap_err());
        for wanted in ["Nuncio ended with", "7", "out.log", "line 100", "no such key"] {
            assert!(said.contains(wanted), "{wanted} is missing in {said}");
        }
        assert!(!said.contains("line 10\n"), "{said}");
        assert!(!broken.runs_with(None));
        let seeding = broken.seed(&[]).unwrap_err().to_string();
        assert!(seeding.contains("no such key"), "{seeding}");
    }

    #[test]
    fn a_target_has_the_accounts_of_its_range() {
        let folder = tempfile::tempdir().unwrap();
        let target = subject(Kind::Prosody, folder.path()).target("idle");
        assert_eq!(target.accounts.name(3), "idle3");
        assert_eq!((target.start, target.process), (Start::DirectTls, None));
        assert_eq!(subject(Kind::Relay, folder.path()).target("user").start, Start::Relay);
    }

    #[test]
    fn an_empty_log_is_said_to_be_empty() {
        assert_eq!(tail(Path::new("out.log"), b""), "out.log:\n  (empty)");
        assert_eq!(tail(Path::new("out.log"), b"a\nb\n"), "out.log:\n  a\n  b");
    }
}
