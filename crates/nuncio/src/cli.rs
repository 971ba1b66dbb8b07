//! The command line: what can be typed, and nothing else.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A federated messaging server that knows, and can say, why it believes who is at the other end.
#[derive(Debug, Parser)]
#[command(name = "nuncio", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the configuration and the data are; every command that works beside a server takes it.
#[derive(Args, Clone, Debug)]
pub(crate) struct Place {
    /// The configuration; `nuncio.toml` in the working folder if it is there, else the defaults.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The folder of the store, the local CA and the control socket, whatever the configuration says.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server.
    Serve(Place),
    /// Accounts: also beside a running server, which sees the change at once.
    Account {
        #[command(subcommand)]
        act: Account,
    },
    /// Live sessions of a running server.
    Session {
        #[command(subcommand)]
        act: Session,
    },
    /// Other servers, as a running server sees them.
    Federation {
        #[command(subcommand)]
        act: Federation,
    },
    /// Say what this server thinks of another domain and why, and what others can prove about ours. Status 1 if it would not send there. Works with
    /// and without a running server.
    Check(Check),
    /// Print the TLSA records (DANE) to publish for our certificate, as lines of a zone file.
    Tlsa(Tlsa),
    /// Print the POSH document to publish for our certificate.
    Posh(Posh),
    /// Have a running server read its certificates and log level again (as SIGHUP does).
    Reload(Place),
    /// Reset every client's stream, spread over a while: new TLS, new login, no old tickets (RFC 6120 §4.9.3.16).
    Reset(Place),
    /// Send a message as a client of any server, and wait until that server has it; status 1 if it refuses.
    Send(Send),
    /// MSRP: send, receive, and check anyone's endpoint or relay.
    Msrp {
        #[command(subcommand)]
        act: crate::msrp_tools::Msrp,
    },
    /// The configuration.
    Config {
        #[command(subcommand)]
        act: ConfigAct,
    },
    /// The tables of the manual that are made from the code.
    #[command(hide = true)]
    Docs {
        /// The manual's folder.
        #[arg(default_value = "docs/manual")]
        folder: PathBuf,
        /// Only say whether they are up to date.
        #[arg(long)]
        check: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Account {
    /// Create an account.
    Add(Password),
    /// Create the accounts of standard input: one a line, an address, a blank and the password.
    Import(Place),
    /// Give an account a new password. Its sessions go on.
    Passwd(Password),
    /// Refuse logins and end live sessions at once; nothing is deleted.
    Disable(One),
    /// Undo `disable`.
    Enable(One),
    /// Delete an account and every trace of it.
    Delete(One),
    /// List the accounts.
    List(List),
}

/// An account and where its password comes from.
#[derive(Args, Debug)]
pub(crate) struct Password {
    /// The account, as in `user@example.org`.
    pub(crate) jid: String,
    /// Read the password from the first line of standard input; without it one is made and printed.
    #[arg(long)]
    pub(crate) password_stdin: bool,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// An account.
#[derive(Args, Debug)]
pub(crate) struct One {
    /// The account, as in `user@example.org`.
    pub(crate) jid: String,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Args, Debug)]
pub(crate) struct List {
    /// Only accounts of this domain.
    #[arg(long)]
    pub(crate) domain: Option<String>,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Session {
    /// List live sessions: address, how it logged in, since when.
    List {
        /// For programs.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// End a session, or all sessions of an account.
    End(One),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Federation {
    /// List streams and pairs of domains: who, how proven, until when; what waits and what fails.
    List {
        /// For programs.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Say what is known about a domain, how it was proven or why not, and what was tried. Status 1 if it fails now.
    Explain {
        /// The other domain.
        domain: String,
        /// For programs.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
}

/// What to check.
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// The other domain.
    pub(crate) domain: String,
    /// The domain of ours that asks; the first that is configured if none is named.
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) from: Option<String>,
    /// How long each of their servers may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) timeout: u64,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// Certificates to publish something about.
#[derive(Args, Debug)]
pub(crate) struct Published {
    /// A domain that is served here; the first that is configured if none is named.
    #[arg(long, value_name = "DOMAIN")]
    pub(crate) domain: Option<String>,
    /// A certificate (PEM) that will follow the present one: published beforehand, so that no proof breaks when it does.
    #[arg(long, value_name = "FILE")]
    pub(crate) next: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// TLSA records.
#[derive(Args, Debug)]
pub(crate) struct Tlsa {
    /// The host that the SRV records name, with a port if it is not on the usual ones; the domain itself if none is named.
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) host: Vec<String>,
    /// How long resolvers may remember the records, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u32).range(0..=604_800))]
    pub(crate) ttl: u32,
    #[command(flatten)]
    pub(crate) published: Published,
}

/// A POSH document.
#[derive(Args, Debug)]
pub(crate) struct Posh {
    /// How long others may remember the document, in seconds: a year at most.
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400, value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub(crate) expires: u64,
    /// Print a document that refers to this one instead, and holds no certificate: for a domain that is hosted elsewhere.
    #[arg(long, value_name = "URL", conflicts_with_all = ["next", "domain"])]
    pub(crate) refer: Option<String>,
    #[command(flatten)]
    pub(crate) published: Published,
}

/// Where the password is.
#[derive(Args, Debug)]
pub(crate) struct Secret {
    /// Read the password from the first line of this file; without this and the next option it is taken from the environment
    /// variable NUNCIO_PASSWORD.
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Read the password from the first line of standard input; the text to be sent may follow.
    #[arg(long, conflicts_with = "password_file")]
    pub(crate) password_stdin: bool,
}

/// How a client gets to the server of its account, and what proves it.
#[derive(Args, Debug)]
pub(crate) struct Access {
    /// Connect there instead of where the account's domain says; the certificate must be for the domain all the same.
    #[arg(long, value_name = "HOST[:PORT]")]
    pub(crate) server: Option<String>,
    /// TLS from the first byte, where DNS does not say it.
    #[arg(long)]
    pub(crate) direct_tls: bool,
    /// Take this certificate of the server, or this key, as that of the account's domain, whoever issued it.
    #[arg(long, value_name = "SHA256")]
    pub(crate) pin: Vec<nuncio_dna::policy::Pin>,
    /// Who checks the signatures of DNS answers, so that DANE can prove the server or refuse it: nobody, the name server on this machine, or this program.
    #[arg(long, value_enum, default_value_t = Validate::Off, value_name = "WHO")]
    pub(crate) validate: Validate,
    /// Only these SASL mechanisms, such as SCRAM-SHA-256; all but PLAIN if none is named.
    #[arg(long, value_name = "NAME")]
    pub(crate) mechanism: Vec<String>,
}

impl Access {
    /// One of the options that were used, by its name.
    pub(crate) fn used(&self) -> Option<&'static str> {
        let used = [
            (self.server.is_some(), "--server"),
            (self.direct_tls, "--direct-tls"),
            (!self.pin.is_empty(), "--pin"),
            (self.validate != Validate::Off, "--validate"),
            (!self.mechanism.is_empty(), "--mechanism"),
        ];
        used.into_iter().find_map(|(used, name)| used.then_some(name))
    }
}

/// A message and who sends it.
#[derive(Args, Debug)]
pub(crate) struct Send {
    /// To whom, as in `user@example.org`.
    pub(crate) jid: String,
    /// The text; without it standard input is sent, up to 1 MiB.
    pub(crate) text: Option<String>,
    /// The account that sends.
    #[arg(long, value_name = "JID")]
    pub(crate) from: String,
    #[command(flatten)]
    pub(crate) secret: Secret,
    #[command(flatten)]
    pub(crate) access: Access,
    /// Believe these authorities (PEM) instead of the system's.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Vec<PathBuf>,
    /// The subject.
    #[arg(long)]
    pub(crate) subject: Option<String>,
    /// The type of the message.
    #[arg(long = "type", value_enum, default_value_t = Kind::Chat)]
    pub(crate) kind: Kind,
    /// How long everything may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) timeout: u64,
    /// For programs.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Who checks the signatures of DNSSEC for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Validate {
    Off,
    TrustAd,
    Local,
}

/// Types of messages that make sense for a script (RFC 6121 §5.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Chat,
    Normal,
    Headline,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigAct {
    /// Say every mistake with file, line, key and what would be right.
    Check(Place),
    /// Print the effective values.
    Show(Place),
}
