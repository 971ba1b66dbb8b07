//! `nuncio msrp send`: a text or files.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use nuncio_endpoint::msrp::head::Field;
use nuncio_endpoint::{Endpoint, Outgoing, Peer, Session, Unjudged, Way};
use serde_json::json;
use tokio::time::timeout;

use super::cli::Send;
use super::{config, fingerprints, media_type, password, read_all, route, safe_name, unseen, wrong};

/// How long the connection may take to close.
const CLOSING: Duration = Duration::from_secs(5);

/// One thing to send.
struct Item {
    /// For people.
    name: String,
    message: Outgoing,
}

pub(super) async fn run(given: Send) -> anyhow::Result<bool> {
    let peer = peer(&given)?;
    let (password, piped) = match given.login.relay.is_empty() {
        true => (None, None),
        false => {
            let (password, piped) = password(&given.login.secret)?;
            (Some(password), piped)
        }
    };
    let items = items(&given, piped)?;
    let endpoint = Endpoint::new(config(&given.trust))?;
    let session = async {
        let way = match route(&endpoint, &given.login, password.as_ref()).await? {
            Some(route) => Way::Relays(route),
            None => Way::Direct,
        };
        anyhow::Ok(endpoint.join(&peer, way).await?)
    };
    let session = match Box::pin(session).await {
        Ok(session) => session,
        Err(error) if given.json && !error.is::<crate::operate::WrongUse>() => {
            let why = format!("{error:#}");
            let failed = |item: &Item| json!({"what": item.name, "delivered": false, "reason": why});
            let told: Vec<_> = items.iter().map(failed).collect();
            println!("{}", serde_json::to_string_pretty(&json!({"delivered": false, "messages": told}))?);
            return Ok(false);
        }
        Err(error) => return Err(error),
    };
    let (mut told, mut all) = (Vec::new(), true);
    for item in items {
        let name = item.name;
        let what = deliver(&session, item.message, given.timeout).await;
        all &= what.is_ok();
        if given.json {
            told.push(match &what {
                Ok(id) => json!({"what": name, "delivered": true, "id": id}),
                Err(why) => json!({"what": name, "delivered": false, "reason": why}),
            });
        } else if let Err(why) = what {
            eprintln!("nuncio: {name}: {why}");
        }
    }
    drop(session);
    // What was said last should get there.
    drop(timeout(CLOSING, endpoint.drained()).await);
    if given.json {
        println!("{}", serde_json::to_string_pretty(&json!({"delivered": all, "messages": told}))?);
    }
    Ok(all)
}

async fn deliver(session: &Session, message: Outgoing, seconds: u64) -> Result<String, String> {
    match timeout(Duration::from_secs(seconds), session.send(message)).await {
        Ok(Ok(sent)) => Ok(sent.id.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no report within {seconds} s; the receiver may have it all the same")),
    }
}

fn peer(given: &Send) -> anyhow::Result<Peer> {
    let mut peer = match (&given.to_sdp, &given.to) {
        (Some(file), _) => {
            let text = std::fs::read_to_string(file)
                .map_err(|error| wrong(format!("{}: {error}", file.display())))?;
            Peer::from_sdp(&text).map_err(|error| wrong(format!("{}: {error}", file.display())))?
        }
        (None, Some(path)) => {
            let peer = Peer::at(path).map_err(|error| wrong(format!("{path}: {error}")))?;
            if peer.path.last().is_none_or(|uri| uri.session_id().is_none()) {
                return Err(wrong(format!("{path}: the last URI has no session id: it is nobody's")));
            }
            peer
        }
        (None, None) => return Err(wrong("nobody to send to: --to-sdp or --to")),
    };
    let relayed = (!given.login.relay.is_empty()).then_some(Unjudged::Relay);
    let named = fingerprints(&given.fingerprint, &given.trust, relayed.or_else(|| unseen(&peer.path)))?;
    if !named.is_empty() {
        peer.fingerprints = named;
        peer.insists = true;
    }
    Ok(peer)
}

fn items(given: &Send, piped: Option<String>) -> anyhow::Result<Vec<Item>> {
    if given.file.is_empty() {
        let text = match (&given.text, piped) {
            (Some(text), _) => text.clone(),
            (None, Some(rest)) => rest,
            (None, None) => read_all()?,
        };
        let text = text.strip_suffix('\n').unwrap_or(&text).to_owned();
        if text.is_empty() {
            return Err(wrong("there is nothing to send"));
        }
        let kind = given.kind.as_deref().unwrap_or("text/plain");
        return Ok(vec![Item {
            name: "the text".to_owned(),
            message: Outgoing::bytes(kind, text.into_bytes()),
        }]);
    }
    given.file.iter().map(|path| item(path, given.kind.as_deref())).collect()
}

fn item(path: &Path, kind: Option<&str>) -> anyhow::Result<Item> {
    let kind = kind.unwrap_or_else(|| media_type(path));
    let message = Outgoing::file(kind, path)
        .map_err(|error| wrong(format!("{}: {error}", path.display())))?
        .field(disposition(path)?);
    Ok(Item { name: path.display().to_string(), message })
}

/// The name goes along as MIME has it (RFC 2183); in SDP it has no place here, since the session came first.
fn disposition(path: &Path) -> anyhow::Result<Field> {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(safe_name);
    let name = name.unwrap_or_else(|| "file".to_owned()).replace(['"', '\\'], "_");
    Field::new("Content-Disposition", &format!("attachment; filename=\"{name}\""))
        .context("the file's name cannot be told")
}
