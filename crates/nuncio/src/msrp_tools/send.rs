//! `nuncio msrp send`: a text or files.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use nuncio_endpoint::msrp::cpim::{Address, Cpim};
use nuncio_endpoint::msrp::head::Field;
use nuncio_endpoint::msrp::imdn::{Disposition, Request, Wanted};
use nuncio_endpoint::msrp::media::AcceptTypes;
use nuncio_endpoint::{CPIM, Endpoint, Incoming, Outgoing, Peer, SendError, Session, Unjudged, Way};
use nuncio_net::OsEntropy;
use nuncio_sansio::Entropy as _;
use nuncio_xmpp::payload::datetime;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout, timeout_at};

use super::cli::Send;
use super::relays::{Relays, Renewing};
use super::{
    CLOSING, after, config, endpoint, fingerprints, hints, media_type, read_text, safe_name, spoken, unseen,
    wrong,
};
use crate::login::read_all;
use crate::operate::WrongUse;

/// One thing to send.
struct Item {
    /// For people.
    name: String,
    kind: String,
    bytes: u64,
    message: Outgoing,
}

pub(super) async fn run(given: Send) -> anyhow::Result<bool> {
    let peer = peer(&given)?;
    if let Some(kind) = given.kind.as_ref().filter(|kind| !AcceptTypes::any().accepts(kind)) {
        return Err(wrong(format!("--type: {kind:?} is no media type: one as `text/plain` is wanted")));
    }
    let (relays, piped) = Relays::new(&given.login, &given.trust)?;
    let mut items = items(&given, piped)?;
    if given.receipt {
        let wrapped = |item: Item| {
            let message = item.message.inside(envelope(&given)?);
            anyhow::Ok(Item { message, kind: CPIM.to_owned(), ..item })
        };
        items = items.into_iter().map(wrapped).collect::<Result<_, _>>()?;
    }
    let foreseen: Vec<_> =
        items.iter().filter_map(|item| Some((&item.name, foreseen(item, &given, &peer)?))).collect();
    if foreseen.len() == items.len() {
        // To connect would only use up the session.
        if given.json {
            let failed = foreseen.iter().map(|(name, why)| undelivered(name, why));
            tell(false, &failed.collect::<Vec<_>>())?;
        } else {
            for (name, why) in foreseen {
                complain!("nuncio: {name}: {why}");
            }
        }
        return Ok(false);
    }
    let endpoint = endpoint(config(&given.trust)?)?;
    // What comes before the first of them is part of its time.
    let mut until = after(given.timeout);
    let joined = timeout_at(until, Box::pin(join(&endpoint, &peer, relays))).await;
    let (mut session, _renewing) =
        match joined.unwrap_or_else(|_| Err(anyhow!("no session within {} s (--timeout)", given.timeout))) {
            Ok(joined) => joined,
            Err(error) if given.json && !error.is::<WrongUse>() => {
                let why = crate::out::whole(&error);
                let failed = items.iter().map(|item| undelivered(&item.name, &why));
                tell(false, &failed.collect::<Vec<_>>())?;
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
    let (mut told, mut all, mut late) = (Vec::new(), true, false);
    for (number, item) in items.into_iter().enumerate() {
        if number > 0 {
            until = after(given.timeout);
        }
        let name = item.name.clone();
        let what = deliver(&mut session, item, &given, &peer, until).await;
        late = until <= Instant::now();
        all &= what.is_ok();
        match what {
            Ok(id) if given.json && given.receipt => {
                told.push(json!({"what": name, "delivered": true, "id": id, "notification": "delivered"}));
            }
            Ok(id) if given.json => told.push(json!({"what": name, "delivered": true, "id": id})),
            Err(why) if given.json => told.push(undelivered(&name, &why)),
            Ok(_) if given.receipt => say!("{name}: delivered, as its receiver tells")?,
            Ok(_) => {}
            Err(why) => complain!("nuncio: {name}: {why}"),
        }
    }
    drop(session);
    if !late {
        // What was said last should get there.
        drop(timeout(CLOSING, endpoint.drained()).await);
    }
    if given.json {
        tell(all, &told)?;
    }
    Ok(all)
}

/// Why a message cannot be delivered, as far as the peer's SDP says so.
fn foreseen(item: &Item, given: &Send, peer: &Peer) -> Option<String> {
    let error = match () {
        () if !peer.accepts.accepts(&item.kind) => SendError::Type,
        () if peer.max_size.is_some_and(|most| item.bytes > most) => SendError::Size,
        () => return None,
    };
    Some(hints::undelivered(&error, &item.kind, item.bytes, peer, relayed(given)))
}

fn undelivered(name: &str, why: &str) -> Value {
    json!({"what": name, "delivered": false, "reason": why})
}

fn tell(all: bool, messages: &[Value]) -> anyhow::Result<()> {
    let told = json!({"delivered": all, "messages": messages});
    Ok(say!("{}", serde_json::to_string_pretty(&told)?)?)
}

/// Logs in where we must, and goes to the receiver.
async fn join(
    endpoint: &Endpoint,
    peer: &Peer,
    relays: Option<Arc<Relays>>,
) -> anyhow::Result<(Session, Option<Renewing>)> {
    let (way, renewing) = match relays {
        Some(relays) => {
            let (route, renewing) = Box::pin(relays.route(endpoint)).await?;
            (Way::Relays(route), Some(renewing))
        }
        None => (Way::Direct, None),
    };
    let direct = renewing.is_none() && peer.path.len() == 1;
    let session = Box::pin(endpoint.join(peer, way)).await;
    Ok((session.map_err(|error| hints::setup(error, direct))?, renewing))
}

/// Sends one thing, and waits until the receiver has said all that it was asked for.
async fn deliver(
    session: &mut Session,
    item: Item,
    given: &Send,
    peer: &Peer,
    until: Instant,
) -> Result<String, String> {
    let seconds = given.timeout;
    let Item { kind, bytes, message, .. } = item;
    let sent = match timeout_at(until, session.send(message)).await {
        Ok(Ok(sent)) => sent.id,
        Ok(Err(error)) => return Err(hints::undelivered(&error, &kind, bytes, peer, relayed(given))),
        Err(_) => {
            return Err(format!(
                "no report within {seconds} s (--timeout); the receiver may have it all the same"
            ));
        }
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
                return Err(format!(
                    "reported, but the receiver has not told of it within {seconds} s (--timeout)"
                ));
            }
        }
    }
}

/// Whether a relay of ours is asked to go to the peer.
const fn relayed(given: &Send) -> bool {
    !given.login.relay.is_empty() || given.login.account.is_some()
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
    if let Some(why) = peer.path.first().and_then(|uri| spoken(uri).err()) {
        return Err(wrong(format!(
            "{}: {why}",
            given
                .to_sdp
                .as_ref()
                .map_or_else(|| given.to.clone().unwrap_or_default(), |file| file.display().to_string(),)
        )));
    }
    let relayed = relayed(given).then_some(Unjudged::Relay);
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
            (None, None) => read_all().map_err(|error| match error.is::<WrongUse>() {
                true => wrong(format!("{error}; --file sends more")),
                false => error,
            })?,
        };
        let text = text.strip_suffix('\n').unwrap_or(&text).to_owned();
        if text.is_empty() {
            return Err(wrong("there is nothing to send: a text, --file, or something on standard input"));
        }
        let kind = given.kind.as_deref().unwrap_or("text/plain");
        return Ok(vec![Item {
            name: "the text".to_owned(),
            kind: kind.to_owned(),
            bytes: text.len() as u64,
            message: Outgoing::bytes(kind, text.into_bytes()),
        }]);
    }
    given.file.iter().map(|path| item(path, given.kind.as_deref())).collect()
}

fn item(path: &Path, kind: Option<&str>) -> anyhow::Result<Item> {
    let kind = kind.unwrap_or_else(|| media_type(path));
    // Of anything else nobody knows how long it is before it has ended.
    let found = path.metadata().map_err(|error| wrong(format!("{}: {error}", path.display())))?;
    if !found.is_file() {
        let what = path.display();
        return Err(wrong(format!("{what}: it is no regular file; save it to one, and send that")));
    }
    let message = Outgoing::file(kind, path)
        .map_err(|error| wrong(format!("{}: {error}", path.display())))?
        .field(disposition(path)?);
    Ok(Item { name: path.display().to_string(), kind: kind.to_owned(), bytes: found.len(), message })
}

/// The name goes along as MIME has it (RFC 2183); in SDP it has no place here, since the session came first.
fn disposition(path: &Path) -> anyhow::Result<Field> {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(safe_name);
    let name = name.unwrap_or_else(|| "file".to_owned()).replace(['"', '\\'], "_");
    Field::new("Content-Disposition", &format!("attachment; filename=\"{name}\""))
        .context("the file's name cannot be told")
}
