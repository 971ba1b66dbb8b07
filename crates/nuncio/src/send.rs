//! `nuncio send`: one message, for scripts.

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use nuncio_client::{
    Anchors, Client, ClientConfig, DnsConfig, DnsResolver, Event, IdentityError, LoginError, Pace, Pinned,
    RequestError, Roots, Server, Session, Start, Validation, Why,
};
use nuncio_dna::Domain;
use nuncio_net::OsEntropy;
use nuncio_sansio::Entropy as _;
use nuncio_xmpp::error::StanzaError;
use nuncio_xmpp::jid::{BareJid, Jid};
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::{MessageType, Stanza, message};
use nuncio_xmpp::xml::Builder;
use serde_json::json;
use tokio::time::timeout;

use crate::cli::{Kind, Send, Validate};
use crate::operate::WrongUse;

/// Where the password is if no option says it.
const PASSWORD: &str = "NUNCIO_PASSWORD";

/// The longest text that is read.
const MOST: u64 = 1 << 20;

/// How long the server may take to close the stream.
const CLOSING: Duration = Duration::from_secs(5);

/// What came of it.
struct Sent {
    id: String,
    from: Option<Jid>,
    /// Whether the server has acknowledged the message (XEP-0198), not only answered what was sent after it.
    acknowledged: bool,
    /// Why it was not taken.
    refused: Option<String>,
    /// If the server is not proven to be that of the domain: why.
    identity: Option<Box<IdentityError>>,
}

/// Sends the message. True if the server has it.
pub(crate) async fn send(given: Send) -> anyhow::Result<bool> {
    let to = Jid::new(&given.jid).map_err(|error| wrong(format!("{}: {error}", given.jid)))?;
    let (config, text) = prepare(&given)?;
    let id = OsEntropy.token();
    let mut stanza = message(match given.kind {
        Kind::Chat => MessageType::Chat,
        Kind::Normal => MessageType::Normal,
        Kind::Headline => MessageType::Headline,
    });
    if let Some(subject) = &given.subject {
        stanza = stanza.child(Builder::new("subject", ns::CLIENT).text(subject));
    }
    let stanza = stanza.to(to.clone()).id(id.as_str()).body(&text).build();
    let within = Duration::from_secs(given.timeout);
    let sent = match timeout(within, deliver(config, &stanza, &id)).await {
        Ok(sent) => sent?,
        Err(_) => Sent {
            id,
            from: None,
            acknowledged: false,
            refused: Some(format!(
                "no answer within {} s; the server may have it all the same",
                given.timeout
            )),
            identity: None,
        },
    };
    if given.json {
        let accepted = sent.refused.is_none();
        let mut told = json!({"to": to.as_str(), "id": sent.id, "accepted": accepted, "acknowledged": sent.acknowledged});
        if let Some(from) = &sent.from {
            told["from"] = json!(from.as_str());
        }
        if let Some(why) = &sent.refused {
            told["reason"] = json!(why);
        }
        if let Some(error) = &sent.identity {
            told["code"] = json!(error.code());
            told["advice"] = json!(advice(error.code()));
            told["certificate"] = json!(error.pin().map(|pinned| pinned.pin.to_string()));
        }
        println!("{}", serde_json::to_string_pretty(&told)?);
        return Ok(accepted);
    }
    match (sent.refused, sent.identity) {
        (Some(why), Some(error)) => Err(anyhow!("{why} ({})\n{}", error.code(), hint(&error))),
        (Some(why), None) => Err(anyhow!(why)),
        (None, _) => Ok(true),
    }
}

/// What would mend it. Whoever wants to go on all the same must know the certificate: it is shown for comparing, and no option is offered that takes any (S3-23).
fn hint(error: &IdentityError) -> String {
    let what = format!("what to change: {}", advice(error.code()));
    match error.pin() {
        Some(pinned) => format!("{what}\nthe server showed the certificate with SHA-256 {}", pinned.pin),
        None => what,
    }
}

/// [`nuncio_federation::check::advice`], with what only a user of `nuncio send` can do.
fn advice(code: &str) -> &'static str {
    match code {
        "unknown-issuer" | "self-signed" | "no-trust-anchors" => {
            "name the authority that issued the certificate (--ca), or the certificate if you know it from elsewhere (--pin)"
        }
        "pin-mismatch" => "ask the server's operator, not by this way, whether the certificate has changed",
        code => nuncio_federation::check::advice(code),
    }
}

/// The settings of the client, and the text.
fn prepare(given: &Send) -> anyhow::Result<(ClientConfig, String)> {
    let account = BareJid::new(&given.from).map_err(|error| wrong(format!("{}: {error}", given.from)))?;
    if account.local().is_none() {
        return Err(wrong(format!("{} is no account: USER@DOMAIN is wanted", given.from)));
    }
    let (password, piped) = secrets(given)?;
    let text = match (&given.text, piped) {
        (Some(text), _) => text.clone(),
        (None, Some(rest)) => rest,
        (None, None) => read_all()?,
    };
    let text = text.strip_suffix('\n').unwrap_or(&text).to_owned();
    if text.is_empty() && given.subject.is_none() {
        return Err(wrong("there is nothing to send: neither a text nor a subject".to_owned()));
    }
    let start = if given.direct_tls { Start::DirectTls } else { Start::Tcp };
    let roots = if given.ca.is_empty() { Roots::System } else { Roots::Files(given.ca.clone()) };
    let mut config = ClientConfig {
        server: match &given.server {
            Some(server) => read_server(server, start)?,
            None => Server::Domain,
        },
        start,
        // One message: it is asked for at once.
        pace: Pace { every: 1, ..Pace::default() },
        closing: CLOSING,
        ..ClientConfig::new(account, &password, roots)
    };
    let validation = match given.validate {
        Validate::Off => None,
        Validate::TrustAd => Some(Validation::TrustAd),
        Validate::Local => Some(Validation::Local(Anchors::root())),
    };
    if let Some(validation) = validation {
        let system = DnsConfig::system().context("the name servers of this system cannot be read")?;
        config.resolver = Arc::new(DnsResolver::new(DnsConfig { validation, ..system }));
    }
    if !given.pin.is_empty() {
        let domain = config.account.domain();
        let domain = Domain::new(domain).map_err(|error| wrong(format!("{domain} is {error}")))?;
        config.proofs.pins =
            given.pin.iter().map(|pin| Pinned { domain: domain.clone(), pin: *pin }).collect();
    }
    if !given.mechanism.is_empty() {
        let read = |name: &String| name.parse().map_err(|error| wrong(format!("{name}: {error}")));
        config.policy.mechanisms = given.mechanism.iter().map(read).collect::<anyhow::Result<Vec<_>>>()?;
    }
    Ok((config, text))
}

/// The password, and what followed it on standard input.
fn secrets(given: &Send) -> anyhow::Result<(String, Option<String>)> {
    let (password, rest) = if given.password_stdin {
        let all = read_all()?;
        let (first, rest) = all.split_once('\n').unwrap_or((&all, ""));
        (first.to_owned(), Some(rest.to_owned()))
    } else if let Some(path) = &given.password_file {
        let all =
            std::fs::read_to_string(path).map_err(|error| wrong(format!("{}: {error}", path.display())))?;
        (all.lines().next().unwrap_or_default().to_owned(), None)
    } else {
        let password = std::env::var(PASSWORD).map_err(|_| {
            wrong(format!("no password: set {PASSWORD}, or use --password-file or --password-stdin"))
        })?;
        (password, None)
    };
    let password = password.trim_end_matches('\r').to_owned();
    if password.is_empty() {
        return Err(wrong("the password is empty".to_owned()));
    }
    Ok((password, rest))
}

fn read_all() -> anyhow::Result<String> {
    let mut all = String::new();
    std::io::stdin()
        .lock()
        .take(MOST + 1)
        .read_to_string(&mut all)
        .context("standard input cannot be read")?;
    if all.len() as u64 > MOST {
        return Err(wrong(format!("there is more than {MOST} bytes on standard input")));
    }
    Ok(all)
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

/// Logs in, sends, and waits until the server has it, or says why not.
async fn deliver(config: ClientConfig, stanza: &Stanza, id: &str) -> anyhow::Result<Sent> {
    let mut sent = Sent { id: id.to_owned(), from: None, acknowledged: false, refused: None, identity: None };
    let mut session = match Client::connect(config).await {
        Ok(session) => session,
        Err(LoginError::Settings(error)) => return Err(wrong(error.to_string())),
        Err(error) => {
            sent.refused = Some(error.to_string());
            if let LoginError::Disconnected(end) = error
                && let Why::Identity(error) = end.why
            {
                sent.identity = Some(error);
            }
            return Ok(sent);
        }
    };
    sent.from = session.jid().cloned();
    sent.refused = match exchange(&mut session, stanza, id, &mut sent.acknowledged).await {
        Ok(bounced) => bounced,
        Err(error) => Some(error.to_string()),
    };
    drop(timeout(CLOSING, session.close()).await);
    Ok(sent)
}

/// Sends, and waits for the answer to a request that follows. The server handles them in order, so whatever it has to say against the
/// message at once has been said by then. None if it has nothing against it.
async fn exchange(
    session: &mut Session,
    stanza: &Stanza,
    id: &str,
    acknowledged: &mut bool,
) -> anyhow::Result<Option<String>> {
    let number = session.send(stanza).await?;
    let server = stanza_server(session)?;
    match session.get(Some(&server), Builder::new("ping", ns::PING)).await {
        // An error is an answer too.
        Ok(_) | Err(RequestError::Refused(_) | RequestError::Lost) => {}
        Err(error) => return Err(error.into()),
    }
    let mut managed = true;
    loop {
        let next = if managed && !*acknowledged {
            session.next().await
        } else {
            // Whatever came before the answer is there already.
            match timeout(Duration::ZERO, session.next()).await {
                Ok(next) => next,
                Err(_) => return Ok(None),
            }
        };
        match next {
            Some(Event::Stanza(answer)) if answer.is_error() && answer.id() == Some(id) => {
                return Ok(Some(reason(&answer)));
            }
            Some(Event::Acked { number: upto }) => *acknowledged = upto >= number,
            Some(Event::Unmanaged(_)) => managed = false,
            Some(Event::Disconnected(end)) => return Ok(Some(end.why.to_string())),
            None => return Ok(Some("the session is over".to_owned())),
            Some(_) => {}
        }
    }
}

fn stanza_server(session: &Session) -> anyhow::Result<Jid> {
    let own = session.jid().context("the session is not online")?;
    Ok(Jid::new(own.domain())?)
}

/// Why a message came back.
fn reason(answer: &Stanza) -> String {
    let error = answer.own_child("error").and_then(StanzaError::parse);
    let by = answer.from().map_or_else(String::new, |from| format!(" by {from}"));
    match error {
        Some(error) => format!("the message came back{by}: {error}"),
        None => format!("the message came back{by}"),
    }
}

fn wrong(why: String) -> anyhow::Error {
    WrongUse(why).into()
}
