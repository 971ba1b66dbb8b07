//! What can be typed.
//!
//! Every embedded scenario is a command, and every value in its file is an option of it. Exit status: 0 done, 1 the scenario ended
//! before its time, 2 wrong use.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches as _};
use nuncio_load::compare::CompareArgs;
use nuncio_load::relay::Relay;
use nuncio_load::{Accounts, Report, Scenario, Start, Target};

/// Whom to put under load.
#[derive(Args, Debug)]
#[command(next_help_heading = "Target")]
struct TargetArgs {
    /// Where the server listens.
    #[arg(long, value_name = "ADDRESS:PORT")]
    target: SocketAddr,
    /// The XMPP domain.
    #[arg(long, default_value = "localhost")]
    domain: String,
    /// A PEM file of authorities that vouch for the server.
    #[arg(long, value_name = "FILE", required = true)]
    ca: Vec<PathBuf>,
    /// STARTTLS instead of direct TLS.
    #[arg(long, conflicts_with = "relay")]
    starttls: bool,
    /// The target is `nuncio-load relay`.
    #[arg(long)]
    relay: bool,
    /// The server's process: CPU time and memory of it and its children are measured.
    #[arg(long)]
    pid: Option<u32>,
    /// What the target is called in the report.
    #[arg(long, default_value = "target")]
    name: String,
    /// What stands before the number in account names.
    #[arg(long, default_value = "user")]
    user_prefix: String,
    /// The number of the first account.
    #[arg(long, default_value_t = 0)]
    first_user: u32,
    /// The password of all accounts.
    #[arg(long, default_value = "password")]
    password: String,
    /// Offer X25519 alone in handshakes, without the post-quantum hybrid.
    #[arg(long)]
    classic: bool,
    /// Threads of the generator.
    #[arg(long, default_value_t = 1)]
    threads: u16,
    /// How long the server may be silent where something must come, in seconds.
    #[arg(long, default_value_t = 15.0, value_name = "SECONDS")]
    patience: f64,
    /// A target that is neither this machine nor a private test network: say both this and --i-may-load-it.
    #[arg(long, requires = "i_may_load_it")]
    far_target: bool,
    /// See --far-target.
    #[arg(long, requires = "far_target")]
    i_may_load_it: bool,
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

impl TargetArgs {
    fn target(self) -> Target {
        let mut target = Target::new(self.name, self.target, self.domain, self.ca);
        target.start = match (self.relay, self.starttls) {
            (true, _) => Start::Relay,
            (_, true) => Start::StartTls,
            _ => Start::DirectTls,
        };
        target.process = self.pid;
        target.accounts =
            Accounts { prefix: self.user_prefix, password: self.password, first: self.first_user };
        target.classic_key_exchange = self.classic;
        target.threads = self.threads;
        target.patience = Duration::try_from_secs_f64(self.patience).unwrap_or_default();
        target.far = self.far_target && self.i_may_load_it;
        target
    }
}

/// The values in an embedded scenario: name, usual value, and the comment above.
fn values(text: &'static str) -> Vec<(&'static str, &'static str, &'static str)> {
    let mut all = Vec::new();
    let mut comment = "";
    for line in text.lines() {
        if let Some(words) = line.strip_prefix('#') {
            comment = words.trim();
        } else if let Some((key, value)) = line.split_once('=')
            && key.trim() != "kind"
        {
            all.push((key.trim(), value.trim().trim_matches('"'), comment));
        }
    }
    all
}

fn command() -> Command {
    let mut command = Command::new("nuncio-load")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Puts an XMPP server under a known load and says what that cost it")
        .subcommand_required(true)
        .arg_required_else_help(true);
    for name in Scenario::NAMES {
        let text = Scenario::text(name).unwrap_or_default();
        let about = text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or_default();
        let mut sub = TargetArgs::augment_args(Command::new(*name).about(about));
        for (key, value, comment) in values(text) {
            let arg = Arg::new(key).long(key).value_name("VALUE").help_heading("Scenario");
            sub = sub.arg(arg.help(format!("{comment} [usual: {value}]")));
        }
        command = command.subcommand(sub);
    }
    let file = Arg::new("file").required(true).value_name("FILE").value_parser(clap::value_parser!(PathBuf));
    command = command.subcommand(TargetArgs::augment_args(
        Command::new("run").about("A scenario from a TOML file").arg(file),
    ));
    command = command.subcommand(CompareArgs::augment_args(
        Command::new("compare").about("Prosody, ejabberd, the bare relay and Nuncio side by side in one run"),
    ));
    let listen = Arg::new("listen").long("listen").default_value("127.0.0.1:0").value_name("ADDRESS:PORT");
    let dir = Arg::new("dir").long("dir").required(true).value_name("DIR");
    let workers = Arg::new("workers").long("workers").value_name("COUNT");
    command.subcommand(
        Command::new("relay")
            .about("Run the bare TLS relay, the floor under every figure")
            .arg(
                listen
                    .value_parser(clap::value_parser!(SocketAddr))
                    .help("Where to listen; the first line of output says where it does"),
            )
            .arg(
                dir.value_parser(clap::value_parser!(PathBuf))
                    .help("Where its authority is, or is made: ca.pem"),
            )
            .arg(
                workers
                    .value_parser(clap::value_parser!(u16).range(1..=64))
                    .help("Threads of the runtime; as many as there are processors without it"),
            ),
    )
}

/// Runs what was typed.
pub(crate) fn main() -> ExitCode {
    let matches = command().get_matches();
    let done = match matches.subcommand() {
        Some(("relay", matches)) => relay(matches),
        Some(("compare", matches)) => {
            CompareArgs::from_arg_matches(matches).map(|args| args.run()).map_err(Into::into)
        }
        Some((name, matches)) => scenario(name, matches),
        None => Ok(ExitCode::from(2)),
    };
    done.unwrap_or_else(|error| {
        // Nobody is left to tell when this cannot be written.
        let _ = writeln!(std::io::stderr(), "nuncio-load: {error:#}");
        ExitCode::from(2)
    })
}

fn scenario(name: &str, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let scenario = if name == "run" {
        let file: &PathBuf = matches.get_one("file").ok_or_else(|| anyhow::anyhow!("no file"))?;
        let text =
            std::fs::read_to_string(file).map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
        Scenario::parse(&text).map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?
    } else {
        let known = values(Scenario::text(name).unwrap_or_default());
        let typed: Vec<(&str, &str)> = known
            .iter()
            .filter_map(|(key, ..)| Some((*key, matches.get_one::<String>(key)?.as_str())))
            .collect();
        Scenario::named(name, &typed)?
    };
    let args = TargetArgs::from_arg_matches(matches)?;
    let json = args.json;
    let target = args.target();
    target.check().map_err(anyhow::Error::msg)?;
    let (report, why) = match nuncio_load::run(&scenario, &target) {
        Ok(report) => (report, None),
        Err(stopped) => (*stopped.reached, Some(stopped.why)),
    };
    let text = if json { Report::json(&report, why.as_deref()) } else { report.table() };
    writeln!(std::io::stdout(), "{}", text.trim_end())?;
    Ok(match why {
        None => ExitCode::SUCCESS,
        Some(why) => {
            let _ = writeln!(std::io::stderr(), "nuncio-load: stopped: {why}");
            ExitCode::from(1)
        }
    })
}

fn relay(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let listen: SocketAddr = *matches.get_one("listen").ok_or_else(|| anyhow::anyhow!("no address"))?;
    let folder: &PathBuf = matches.get_one("dir").ok_or_else(|| anyhow::anyhow!("no folder"))?;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = matches.get_one::<u16>("workers") {
        builder.worker_threads(usize::from(*workers));
    }
    let runtime = builder.enable_all().build()?;
    runtime.block_on(async {
        let relay = Relay::bind(listen, folder).await?;
        let authority = folder.join("ca.pem");
        writeln!(std::io::stdout(), "relay {} {}", relay.address()?, authority.display())?;
        std::io::stdout().flush()?;
        relay.serve().await?;
        Ok(ExitCode::SUCCESS)
    })
}
