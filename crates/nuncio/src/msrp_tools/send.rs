//! `nuncio msrp send`: a text or files.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use bytes::Bytes;
use nuncio_endpoint::msrp::cpim::{Address, Cpim};
use nuncio_endpoint::msrp::head::Field;
use nuncio_endpoint::msrp::imdn::{Disposition, Request, Wanted};
use nuncio_endpoint::{Endpoint, Incoming, Outgoing, Peer, Session, Unjudged, Way};
use nuncio_net::OsEntropy;
use nuncio_sansio::Entropy as _;
use nuncio_xmpp::payload::datetime;
use serde_json::json;
use tokio::time::{Instant, timeout, timeout_at};

use super::cli::Send;
use super::{
    config, fingerprints, media_type, password, read_all, read_text, route, safe_name, unseen, wrong,
};

/// Nobody waits longer: ten years, in seconds.
const FOREVER: u64 = 315_360_000;
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
    let mut items = items(&given, piped)?;
    if given.receipt {
        let wrapped = |item: Item| {
            let message = item.message.inside(envelope(&given)?);
            anyhow::Ok(Item { message, ..item })
        };
        items = items.into_iter().map(wrapped).collect::<Result<_, _>>()?;
    }
    let endpoint = Endpoint::new(config(&given.trust))?;
    let session = async {
        let way = match route(&endpoint, &given.login, password.as_ref()).await? {
            Some(route) => Way::Relays(route),
            None => Way::Direct,
        };
        anyhow::Ok(endpoint.join(&peer, way).await?)
    };
    let mut session = match Box::pin(session).await {
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
        let what = deliver(&mut session, item.message, &given).await;
        all &= what.is_ok();
        match what {
            Ok(id) if given.json && given.receipt => {
                told.push(json!({"what": name, "delivered": true, "id": id, "notification": "delivered"}));
            }
            Ok(id) if given.json => told.push(json!({"what": name, "delivered": true, "id": id})),
            Err(why) if given.json => told.push(json!({"what": name, "delivered": false, "reason": why})),
            Ok(_) if given.receipt => println!("{name}: delivered, as its receiver tells"),
            Ok(_) => {}
            Err(why) => eprintln!("nuncio: {name}: {why}"),
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

/// Sends one thing, and waits until the receiver has said all that it was asked for.
async fn deliver(session: &mut Session, message: Outgoing, given: &Send) -> Result<String, String> {
    let seconds = given.timeout;
    let until = Instant::now() + Duration::from_secs(seconds.min(FOREVER));
    let sent = match timeout_at(until, session.send(message)).await {
        Ok(Ok(sent)) => sent.id,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("no report within {seconds} s; the receiver may have it all the same")),
    };
    if !given.receipt {
        return Ok(sent.to_string());
    }
    loop {
        match timeout_at(until, session.next()).await {
            Ok(Some(Incoming::Notification(told))) if told.message == sent => {
                match told.notification.disposition {
                    Disposition::Delivered => return Ok(sent.to_string()),
                    other => return Err(format!("the receiver tells: {}", other.as_str())),
                }
            }
            // What else the receiver says is for nobody here.
            Ok(Some(_)) => {}
            Ok(None) => return Err(format!("reported, but not told of: {}", session.over().await)),
            Err(_) => {
                return Err(format!("reported, but the receiver has not told of it within {seconds} s"));
            }
        }
    }
}

/// The CPIM headers of a message that wants to be told of.
fn envelope(given: &Send) -> anyhow::Result<Cpim> {
    let address = |uri: &String| Address::new(uri).ok_or_else(|| wrong(format!("{uri:?} is no URI")));
    let (from, to) = (address(&given.sender)?, address(&given.recipient)?);
    let mut head = Cpim::new(from, vec![to], String::new(), Bytes::new());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    head.date_time = Some(datetime::format(i64::try_from(now).unwrap_or(i64::MAX)));
    let wanted = vec![Wanted::PositiveDelivery, Wanted::NegativeDelivery];
    head.headers = Request { message_id: OsEntropy.token(), wanted }.headers();
    Ok(head)
}

fn peer(given: &Send) -> anyhow::Result<Peer> {
    let mut peer = match (&given.to_sdp, &given.to) {
        (Some(file), _) => {
            let text = read_text(file)?;
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
    // Of anything else nobody knows how long it is before it has ended.
    if path.metadata().is_ok_and(|found| !found.is_file()) {
        let what = path.display();
        return Err(wrong(format!("{what}: it is no regular file; save it to one, and send that")));
    }
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
