//! What can be typed after `nuncio msrp`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::{Access, Secret};

#[derive(Debug, Subcommand)]
pub(crate) enum Msrp {
    /// Send a text or files to whoever gave you an SDP or a URI. Status 0: all were delivered, 1: not all.
    Send(Send),
    /// Wait for messages and files: directly, or behind a relay. Print what to give to the sender.
    Receive(Receive),
    /// Fetch credentials for the MSRP relay of an account's server, by XMPP, and print them.
    Credentials(Credentials),
    /// Try what the RFCs demand on anyone's endpoint or relay. Status 1 if something fails.
    Check(Check),
}

/// Whom to believe.
#[derive(Args, Debug)]
pub(crate) struct Trust {
    /// Believe these authorities (PEM) instead of the system's.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Vec<PathBuf>,
    /// Believe fingerprints by SHA-1 as well, for old peers.
    #[arg(long)]
    pub(crate) sha1: bool,
}

/// Relays of our own, and how to log in there.
#[derive(Args, Debug)]
pub(crate) struct Login {
    /// Go through this relay, as in `msrps://relay.example:2855;tcp` or `relay.example`; several are a chain, the nearest first.
    #[arg(long, value_name = "URI")]
    pub(crate) relay: Vec<String>,
    /// The user at the relay.
    #[arg(long, value_name = "NAME", conflicts_with = "account")]
    pub(crate) user: Option<String>,
    /// Instead of a user: log in by XMPP as this account, as `nuncio send` does, and take the credentials that its server gives, always in time; and its
    /// relay, if no --relay is given.
    #[arg(long, value_name = "JID")]
    pub(crate) account: Option<String>,
    #[command(flatten)]
    pub(crate) secret: Secret,
    #[command(flatten)]
    pub(crate) access: Access,
    /// For how long to be reachable through the relay, in seconds; the relay's choice otherwise.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) expires: Option<u32>,
    /// Do not log in at a relay that knows MD5 only.
    #[arg(long)]
    pub(crate) no_md5: bool,
}

/// Whose credentials to fetch.
#[derive(Args, Debug)]
pub(crate) struct Credentials {
    /// The account, as in `user@example.org`.
    pub(crate) jid: String,
    #[command(flatten)]
    pub(crate) secret: Secret,
    #[command(flatten)]
    pub(crate) access: Access,
    /// Believe these authorities (PEM) instead of the system's.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Vec<PathBuf>,
    /// How long everything may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) timeout: u64,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What to send, and to whom.
#[derive(Args, Debug)]
pub(crate) struct Send {
    /// The text; without it and without files standard input is sent, up to 1 MiB.
    pub(crate) text: Option<String>,
    /// Send these files, one after the other.
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    pub(crate) file: Vec<PathBuf>,
    /// The SDP of the receiver: what `nuncio msrp receive` wrote, or any other with MSRP in it.
    #[arg(long, value_name = "FILE", required_unless_present = "to")]
    pub(crate) to_sdp: Option<PathBuf>,
    /// The path of the receiver instead, as in `msrps://host:port/session;tcp`, the next hop first.
    #[arg(long, value_name = "PATH", conflicts_with = "to_sdp")]
    pub(crate) to: Option<String>,
    /// The fingerprint of the receiver's certificate, as in `sha-256 AB:CD:…`, where no SDP says it.
    #[arg(long, value_name = "FINGERPRINT")]
    pub(crate) fingerprint: Vec<String>,
    /// The media type; else by the file's name, and `text/plain` for a text.
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: Option<String>,
    /// Send inside CPIM, ask to be told of the delivery (RFC 5438), and wait for that too: what the receiver's program says, beyond the reports of MSRP.
    #[arg(long)]
    pub(crate) receipt: bool,
    /// Who says it, in CPIM.
    #[arg(long, value_name = "URI", requires = "receipt", default_value = "im:anonymous@anonymous.invalid")]
    pub(crate) sender: String,
    /// To whom it is said, in CPIM.
    #[arg(long, value_name = "URI", requires = "receipt", default_value = "im:anonymous@anonymous.invalid")]
    pub(crate) recipient: String,
    /// How long each of them may take until the receiver says that it has it, the first one with all that comes before: logins, connections, TLS.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) timeout: u64,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) login: Login,
    #[command(flatten)]
    pub(crate) trust: Trust,
}

/// Where to wait, and for what.
#[derive(Args, Debug)]
pub(crate) struct Receive {
    /// Listen on this address; port 0 picks one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0", conflicts_with_all = ["relay", "account"])]
    pub(crate) listen: SocketAddr,
    /// The host in the URI, if it is not the address.
    #[arg(long, value_name = "HOST", conflicts_with_all = ["relay", "account"])]
    pub(crate) host: Option<String>,
    /// Without TLS.
    #[arg(long, conflicts_with_all = ["relay", "account"])]
    pub(crate) clear: bool,
    /// Show this certificate (PEM chain) instead of one made for this run.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) certificate: Option<PathBuf>,
    /// The key of the certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub(crate) key: Option<PathBuf>,
    /// Write the SDP for the sender into this file, instead of to standard output. It is a secret: whoever has it is let in.
    #[arg(long, value_name = "FILE")]
    pub(crate) sdp: Option<PathBuf>,
    /// Let in only whoever has this certificate.
    #[arg(long, value_name = "FINGERPRINT")]
    pub(crate) fingerprint: Vec<String>,
    /// Write what is no short text into this folder; no file that is there is replaced.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    pub(crate) folder: PathBuf,
    /// End after so many messages.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    /// Tell whoever asks for it (RFC 5438) that his message was delivered.
    #[arg(long)]
    pub(crate) receipts: bool,
    /// The longest message, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 40, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) max_size: u64,
    /// The media types that are taken.
    #[arg(long, value_name = "TYPES", default_value = "*")]
    pub(crate) accept: String,
    /// End after so long, logins and connections included.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) timeout: Option<u64>,
    /// End when nothing more comes of a message that has begun for so long; a sender or a relay that is silent otherwise is asked as often whether it is still
    /// there.
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) patience: u64,
    /// For programs: an object a line.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) login: Login,
    #[command(flatten)]
    pub(crate) trust: Trust,
}

/// Whom to check.
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// A relay, as in `relay.example`, `relay.example:2855` or `msrps://relay.example:2855;tcp`; or the path of an endpoint, which ends with a URI that has
    /// a session id.
    #[arg(required_unless_present = "sdp")]
    pub(crate) target: Option<String>,
    /// An endpoint, by its SDP.
    #[arg(long, value_name = "FILE", conflicts_with = "target")]
    pub(crate) sdp: Option<PathBuf>,
    /// The fingerprint of its certificate, where no SDP says it: then its name does not count.
    #[arg(long, value_name = "FINGERPRINT")]
    pub(crate) fingerprint: Vec<String>,
    /// The URI that an endpoint expects us to have.
    #[arg(long, value_name = "URI")]
    pub(crate) from: Option<String>,
    /// A user of the relay: without one, what it does for its users cannot be tried. The login is for a relay that proves its name, or has the fingerprint
    /// that was given, and for nobody else.
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    #[command(flatten)]
    pub(crate) secret: Secret,
    /// How long an answer may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) timeout: u64,
    /// Show what was sent and what came in every case, not only in those that fail.
    #[arg(long)]
    pub(crate) verbose: bool,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) trust: Trust,
}
