//! How the commands that are clients log in: the password, where the server is, what proves it.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use nuncio_client::{
    Anchors, Client, ClientConfig, DnsConfig, DnsResolver, IdentityError, LoginError, Pinned, Roots, Server,
    Session, Start, Validation, Why,
};
use nuncio_dna::Domain;
use nuncio_xmpp::jid::BareJid;
use zeroize::Zeroizing;

use crate::cli::{Access, Secret, Validate};
use crate::operate::WrongUse;

/// Where the password is if no option says it.
const PASSWORD: &str = "NUNCIO_PASSWORD";

/// The longest text that is read.
const MOST: u64 = 1 << 20;

pub(crate) fn wrong(what: impl Into<String>) -> anyhow::Error {
    WrongUse(what.into()).into()
}

/// The password, and what else stands on standard input if that is where it came from.
pub(crate) fn password(secret: &Secret) -> anyhow::Result<(Zeroizing<String>, Option<String>)> {
    let (found, rest) = if secret.password_stdin {
        let all = Zeroizing::new(read_all()?);
        let (first, rest) = all.split_once('\n').unwrap_or((&all, ""));
        (first.to_owned(), Some(rest.to_owned()))
    } else if let Some(path) = &secret.password_file {
        let all = Zeroizing::new(read_text(path)?);
        (all.lines().next().unwrap_or_default().to_owned(), None)
    } else {
        let found = std::env::var(PASSWORD).map_err(|_| {
            wrong(format!("no password: set {PASSWORD}, or use --password-file or --password-stdin"))
        })?;
        (found, None)
    };
    let found = Zeroizing::new(found.trim_end_matches('\r').to_owned());
    if found.is_empty() {
        return Err(wrong("the password is empty"));
    }
    Ok((found, rest))
}

/// A short file of text: a password, an SDP.
pub(crate) fn read_text(path: &Path) -> anyhow::Result<String> {
    let mut all = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MOST + 1).read_to_string(&mut all));
    read.map_err(|error| wrong(format!("{}: {error}", path.display())))?;
    if all.len() as u64 > MOST {
        return Err(wrong(format!("{}: there is more than {MOST} bytes in it", path.display())));
    }
    Ok(all)
}

/// Standard input.
pub(crate) fn read_all() -> anyhow::Result<String> {
    let mut all = Vec::new();
    let mut input = std::io::stdin().lock().take(MOST + 1);
    input.read_to_end(&mut all).context("standard input cannot be read")?;
    if all.len() as u64 > MOST {
        return Err(wrong(format!("there is more than {MOST} bytes on standard input")));
    }
    String::from_utf8(all).map_err(|_| wrong("what comes on standard input is no text in UTF-8"))
}

/// An account as it was typed.
pub(crate) fn account(text: &str) -> anyhow::Result<BareJid> {
    let account = BareJid::new(text).map_err(|error| wrong(format!("{text}: {error}")))?;
    if account.local().is_none() {
        return Err(wrong(format!("{text} is no account: USER@DOMAIN is wanted")));
    }
    Ok(account)
}

/// The settings of a client.
pub(crate) fn config(
    account: BareJid,
    password: &str,
    ca: &[PathBuf],
    access: &Access,
) -> anyhow::Result<ClientConfig> {
    let start = if access.direct_tls { Start::DirectTls } else { Start::Tcp };
    let roots = if ca.is_empty() { Roots::System } else { Roots::Files(ca.to_vec()) };
    let mut config = ClientConfig {
        server: match &access.server {
            Some(server) => read_server(server, start)?,
            None => Server::Domain,
        },
        start,
        ..ClientConfig::new(account, password, roots)
    };
    let validation = match access.validate {
        Validate::Off => None,
        Validate::TrustAd => Some(Validation::TrustAd),
        Validate::Local => Some(Validation::Local(Anchors::root())),
    };
    if let Some(validation) = validation {
        let system = DnsConfig::system().context("the name servers of this system cannot be read")?;
        config.resolver = Arc::new(DnsResolver::new(DnsConfig { validation, ..system }));
    }
    if !access.pin.is_empty() {
        let domain = config.account.domain();
        let domain = Domain::new(domain).map_err(|error| wrong(format!("{domain} is {error}")))?;
        config.proofs.pins =
            access.pin.iter().map(|pin| Pinned { domain: domain.clone(), pin: *pin }).collect();
    }
    if !access.mechanism.is_empty() {
        let read = |name: &String| name.parse().map_err(|error| wrong(format!("{name}: {error}")));
        config.policy.mechanisms = access.mechanism.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
    }
    Ok(config)
}

/// `HOST`, `HOST:PORT`, or an address in either form.
fn read_server(text: &str, start: Start) -> anyhow::Result<Server> {
    let usual = if start == Start::DirectTls { 5223 } else { 5222 };
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Server::Address(address));
    }
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(Server::Address(SocketAddr::new(ip, usual)));
    }
    match text.split_once(':') {
        Some((host, port)) if !host.is_empty() => {
            let port = port.parse().map_err(|_| wrong(format!("{text}: {port:?} is no port")))?;
            Ok(Server::Host(host.to_owned(), Some(port)))
        }
        None if !text.is_empty() => Ok(Server::Host(text.to_owned(), None)),
        _ => Err(wrong(format!("{text:?} is no server: HOST or HOST:PORT is wanted"))),
    }
}

/// Logs in; the error says what would mend it.
pub(crate) async fn connect(config: ClientConfig) -> anyhow::Result<Session> {
    let account = config.account.clone();
    match Client::connect(config).await {
        Ok(session) => Ok(session),
        Err(LoginError::Settings(error)) => Err(wrong(error.to_string())),
        Err(LoginError::Disconnected(end)) => Err(match end.why {
            Why::Identity(error) => anyhow!("{account}: {error} ({})\n{}", error.code(), hint(&error)),
            why => anyhow!("{account}: {why}"),
        }),
    }
}

/// What would mend it. Whoever wants to go on all the same must know the certificate: it is shown for comparing, and no option is offered that takes any (S3-23).
pub(crate) fn hint(error: &IdentityError) -> String {
    let what = format!("what to change: {}", advice(error.code()));
    match error.pin() {
        Some(pinned) => format!("{what}\nthe server showed the certificate with SHA-256 {}", pinned.pin),
        None => what,
    }
}

/// [`nuncio_federation::check::advice`], with what only a user of a client can do.
pub(crate) fn advice(code: &str) -> &'static str {
    match code {
        "unknown-issuer" | "self-signed" | "no-trust-anchors" => {
            "name the authority that issued the certificate (--ca), or the certificate if you know it from elsewhere (--pin)"
        }
        "pin-mismatch" => "ask the server's operator, not by this way, whether the certificate has changed",
        code => nuncio_federation::check::advice(code),
    }
}
