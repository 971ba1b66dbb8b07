//! `nuncio send`: one message, for scripts.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use nuncio_client::{
    Client, ClientConfig, Event, IdentityError, LoginError, Pace, RequestError, Session, Why,
};
use nuncio_net::OsEntropy;
use nuncio_sansio::Entropy as _;
use nuncio_xmpp::error::StanzaError;
use nuncio_xmpp::jid::Jid;
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::{MessageType, Stanza, message};
use nuncio_xmpp::xml::Builder;
use serde_json::json;
use tokio::time::timeout;

use crate::cli::{Kind, Send};
use crate::login::{self, account, advice, hint, password, read_all, wrong};

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
        say!("{}", serde_json::to_string_pretty(&told)?)?;
        return Ok(accepted);
    }
    match (sent.refused, sent.identity) {
        (Some(why), Some(error)) => Err(anyhow!("{why} ({})\n{}", error.code(), hint(&error))),
        (Some(why), None) => Err(anyhow!(why)),
        (None, _) => Ok(true),
    }
}

/// The settings of the client, and the text.
fn prepare(given: &Send) -> anyhow::Result<(ClientConfig, String)> {
    let account = account(&given.from)?;
    let (password, piped) = password(&given.secret)?;
    let text = match (&given.text, piped) {
        (Some(text), _) => text.clone(),
        (None, Some(rest)) => rest,
        (None, None) => read_all()?,
    };
    let text = text.strip_suffix('\n').unwrap_or(&text).to_owned();
    if text.is_empty() && given.subject.is_none() {
        return Err(wrong("there is nothing to send: neither a text nor a subject".to_owned()));
    }
    let config = ClientConfig {
        // One message: it is asked for at once.
        pace: Pace { every: 1, ..Pace::default() },
        closing: CLOSING,
        ..login::config(account, &password, &given.ca, &given.access)?
    };
    Ok((config, text))
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
