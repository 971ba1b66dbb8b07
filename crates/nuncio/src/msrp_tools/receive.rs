//! `nuncio msrp receive`: waits for messages and files.

use std::cell::Cell;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use nuncio_endpoint::msrp::Status;
use nuncio_endpoint::msrp::cpim::Cpim;
use nuncio_endpoint::msrp::endpoint::Reports;
use nuncio_endpoint::msrp::imdn::Disposition;
use nuncio_endpoint::msrp::media::AcceptTypes;
use nuncio_endpoint::msrp::sdp::Fingerprint;
use nuncio_endpoint::{
    Config, End, Endpoint, Incoming, Invitation, Lost, Message, Sender, Session, Unjudged, Way, Why,
};
use nuncio_net::OsEntropy;
use nuncio_net::tls::PairFiles;
use nuncio_sansio::Entropy as _;
use serde_json::json;
use tokio::time::{sleep_until, timeout};

use super::cli::Receive;
use super::relays::Relays;
use super::{CLOSING, after, config, endpoint, fingerprints, host, printable, safe_name, wrong};
use crate::out::Unheard;
use crate::stop::Stops;

/// A text up to here is printed, a longer one saved.
const TEXT: u64 = 64 * 1024;
/// Files of one name that are told apart.
const NAMES: u32 = 10_000;
/// A sender or a relay is asked at least as often whether it is there.
const ALIVE: Duration = Duration::from_secs(120);

pub(super) async fn run(given: Receive) -> anyhow::Result<bool> {
    let accept = AcceptTypes::parse(&given.accept).filter(|types| !types.is_empty()).ok_or_else(|| {
        wrong(format!("{:?} are no media types: `text/plain image/*` is wanted", given.accept))
    })?;
    if !given.folder.is_dir() {
        let what =
            if given.folder.exists() { "is no folder" } else { "does not exist: make that folder first" };
        return Err(wrong(format!("--folder: {} {what}", given.folder.display())));
    }
    let relayed = !given.login.relay.is_empty() || given.login.account.is_some();
    let unjudged = match relayed {
        true => Some(Unjudged::Relay),
        false => given.clear.then_some(Unjudged::Clear),
    };
    let promised = fingerprints(&given.fingerprint, &given.trust, unjudged)?;
    let (relays, _) = Relays::new(&given.login, &given.trust)?;
    let pair = given.certificate.clone().zip(given.key.clone());
    let patience = Duration::from_secs(given.patience);
    let mut settings = Config {
        accept,
        max_size: given.max_size,
        spool: Some(given.folder.clone()),
        // Delivered means that it is on the disk.
        reports: Reports::Host,
        certificate: pair.map(|(chain, key)| PairFiles { chain, key }),
        keep_alive: Some(patience.min(ALIVE)),
        ..config(&given.trust)?
    };
    // Whoever is invited may take his time.
    settings.msrp.binding = Duration::from_secs(30);
    settings.msrp.incomplete = patience;
    let endpoint = endpoint(settings)?;
    let mut stops = Stops::new().context("signals cannot be heard")?;
    let until = given.timeout.map(|seconds| (seconds, after(seconds)));
    let over = async {
        match until {
            Some((seconds, until)) => {
                sleep_until(until).await;
                seconds
            }
            None => std::future::pending().await,
        }
    };
    let came = Cell::new(0);
    let result = tokio::select! {
        result = Box::pin(wait(&given, &endpoint, relays, promised, &came)) => {
            // What was said last should get there, if anybody is there.
            if came.get() == given.count || result.is_err() {
                drop(timeout(CLOSING, endpoint.drained()).await);
            }
            result
        }
        seconds = over => ended(&given, &format!("{seconds} s are over (--timeout)"), came.get()),
        stopped = stops.next() => Err(stopped.into()),
    };
    // Nothing of what broke off stays in the folder.
    drop(timeout(CLOSING, endpoint.cleared()).await);
    result
}

/// Invites somebody, and receives what he sends.
async fn wait(
    given: &Receive,
    endpoint: &Endpoint,
    relays: Option<Arc<Relays>>,
    promised: Vec<Fingerprint>,
    came: &Cell<u64>,
) -> anyhow::Result<bool> {
    let (invitation, _listening, _renewing) = match &relays {
        Some(relays) => {
            let (route, renewing) = Box::pin(relays.route(endpoint)).await?;
            (endpoint.invite_only(Way::Relays(route), promised)?, None, Some(renewing))
        }
        None => {
            let shown = match &given.host {
                Some(named) => host(named)?,
                None if given.listen.ip().is_unspecified() => {
                    return Err(wrong(format!("{} is no address to connect to: --host", given.listen.ip())));
                }
                None if given.listen.is_ipv6() => format!("[{}]", given.listen.ip()),
                None => given.listen.ip().to_string(),
            };
            let listening = endpoint.listen(&[given.listen], &shown, !given.clear)?;
            (endpoint.invite_only(Way::Listening(&listening), promised)?, Some(listening), None)
        }
    };
    tell(given, &invitation)?;
    let mut session = invitation.accept();
    receive(given, endpoint, relays.as_deref(), &mut session, came).await
}

/// Tells whoever is to give it to the sender.
fn tell(given: &Receive, invitation: &Invitation) -> anyhow::Result<()> {
    let sdp = invitation.sdp();
    if let Some(file) = &given.sdp {
        hide(file, &sdp).with_context(|| format!("{} cannot be written", file.display()))?;
    } else if given.json {
        say!("{}", json!({"path": invitation.path().to_string(), "sdp": sdp}))?;
    } else {
        crate::out::write(format_args!("{sdp}"))?;
    }
    Ok(())
}

/// Says why it ends before all has come: the answer is no.
fn ended(given: &Receive, why: &str, came: u64) -> anyhow::Result<bool> {
    if given.json {
        say!("{}", json!({"received": false, "reason": why}))?;
    } else {
        complain!("nuncio: {why}; {came} of {} messages came", given.count);
    }
    Ok(false)
}

/// Writes a file whole or not at all, for nobody else to read. It is made under a name that nobody knows before, so that nobody has it open already.
fn hide(file: &Path, text: &str) -> std::io::Result<()> {
    // To rename over a device or a link would take it away from everybody.
    if file.symlink_metadata().is_ok_and(|there| !there.is_file()) {
        return Err(std::io::Error::other("there is something that is no regular file"));
    }
    let folder =
        file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let part = folder.join(format!(".nuncio-{}.part", OsEntropy.token()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut out = options.open(&part)?;
    let written = out.write_all(text.as_bytes()).and_then(|()| std::fs::rename(&part, file));
    if written.is_err() {
        drop(std::fs::remove_file(&part));
    }
    written
}

async fn receive(
    given: &Receive,
    endpoint: &Endpoint,
    relays: Option<&Relays>,
    session: &mut Session,
    came: &Cell<u64>,
) -> anyhow::Result<bool> {
    let sender = session.sender();
    let mut good = true;
    while came.get() < given.count {
        match session.next().await {
            Some(Incoming::Message(message)) => {
                good &= keep(given, message, &sender).await?;
                came.set(came.get() + 1);
            }
            // Nothing of ours has asked for one.
            Some(Incoming::Notification(_)) => {}
            Some(Incoming::Broken(broken)) => {
                good = false;
                let why = match broken.why {
                    Why::Silence => format!("nothing more came in {} s (--patience)", given.patience),
                    Why::Store(_) => format!("{} ({})", broken.why, given.folder.display()),
                    why => why.to_string(),
                };
                let (id, bytes) = (broken.id.to_string(), broken.came);
                if given.json {
                    say!("{}", json!({"id": id, "received": false, "bytes": bytes, "reason": why}))?;
                } else {
                    complain!("nuncio: message {id} broke off after {bytes} bytes: {why}");
                }
                if broken.why == Why::Silence {
                    return ended(given, "the sender is taken to have gone", came.get());
                }
            }
            None => {
                let why = match session.over().await {
                    End::Connection(Lost::Peer) => "the sender has gone".to_owned(),
                    end @ (End::Connection(Lost::Cut) | End::Gone | End::Failed(Status::TIMEOUT)) => {
                        format!("the sender has gone: {end}")
                    }
                    end @ End::RelayGone { lost: Lost::Peer | Lost::Cut, .. } => match relays {
                        Some(relays) => format!("{end} ({})", relays.said(endpoint).await),
                        None => end.to_string(),
                    },
                    end => end.to_string(),
                };
                return ended(given, &why, came.get());
            }
        }
    }
    Ok(good)
}

/// Prints or saves a message, then tells its sender, by a report and, if that was asked for and is given, by a notification.
async fn keep(given: &Receive, message: Message, sender: &Sender) -> anyhow::Result<bool> {
    let (receipt, id, whole) = (message.receipt(), message.id.to_string(), message.body.len());
    let (head, (kept, said)) = match message.unwrapped().await {
        Ok((head, inner)) => {
            let put = put(given, &id, head.as_ref(), inner).await;
            (head, put)
        }
        Err(error) => (None, (false, unsaved(given, &id, whole, &given.folder, &error))),
    };
    receipt.report(if kept { Status::OK } else { Status::STOP });
    said?;
    // A failure has been reported: it is not told again (RFC 5438 §12.1.3.1).
    if let Some(head) = head.filter(|_| given.receipts && kept)
        && let Err(error) = sender.notify(&head, Disposition::Delivered).await
    {
        complain!("nuncio: the sender cannot be told that {id} was delivered: {error}");
    }
    Ok(kept)
}

/// Whether it is kept, and whether that could be said.
async fn put(
    given: &Receive,
    id: &str,
    head: Option<&Cpim>,
    message: Message,
) -> (bool, Result<(), Unheard>) {
    let (kind, bytes, named) = (message.content_type.clone(), message.body.len(), name(&message));
    let from = head.map(|head| head.from.uri.as_str());
    let text = message.text().filter(|_| bytes <= TEXT && named.is_none()).map(str::to_owned);
    let mut told = json!({"id": id, "received": true, "type": kind, "bytes": bytes});
    if let Some(from) = from {
        told["from"] = from.into();
    }
    if let Some(text) = text {
        told["text"] = text.as_str().into();
        let said = if given.json { say!("{told}") } else { say!("{}", printable(&text)) };
        // What nobody was shown was not delivered.
        return (said.is_ok(), said);
    }
    let path = free(&given.folder, named.as_deref().unwrap_or(id));
    match message.body.save(path.clone()).await {
        Ok(()) => {
            let file = path.display().to_string();
            told["file"] = file.as_str().into();
            let said = match given.json {
                true => say!("{told}"),
                false => say!("{file} ({bytes} bytes, {})", printable(&kind)),
            };
            (true, said)
        }
        Err(error) => (false, unsaved(given, id, bytes, &path, &error)),
    }
}

/// Says that a message is not kept.
fn unsaved(
    given: &Receive,
    id: &str,
    bytes: u64,
    path: &Path,
    error: &std::io::Error,
) -> Result<(), Unheard> {
    let why = format!("{}: {error}", path.display());
    if given.json {
        return say!("{}", json!({"id": id, "received": false, "bytes": bytes, "reason": why}));
    }
    complain!("nuncio: a message of {bytes} bytes cannot be saved: {why}");
    Ok(())
}

/// The name, or one like it that is free. Somebody else may take it meanwhile: then saving fails, and nothing is replaced.
fn free(folder: &Path, name: &str) -> PathBuf {
    let mut path = folder.join(name);
    let mut number = 1;
    while path.symlink_metadata().is_ok() && number < NAMES {
        let given = Path::new(name);
        let (stem, end) = (given.file_stem().unwrap_or_default().to_string_lossy(), given.extension());
        let end = end.map(|end| format!(".{}", end.to_string_lossy())).unwrap_or_default();
        path = folder.join(format!("{stem}-{number}{end}"));
        number += 1;
    }
    path
}

/// The name that the sender gave it (RFC 2183), made harmless.
fn name(message: &Message) -> Option<String> {
    let field = message.fields.iter().find(|field| field.is("Content-Disposition"))?;
    let (_, rest) = field.value().split_once("filename=")?;
    let name = match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None => rest.split(';').next()?,
    };
    safe_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S1-01: whoever can write into the folder learns nothing by having made files there before, and what was there for others to read is so no more.
    #[cfg(unix)]
    #[test]
    fn an_sdp_is_for_nobody_else() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (file, waiting) = (folder.path().join("bob.sdp"), folder.path().join(".bob.sdp.part"));
        for file in [&file, &waiting] {
            std::fs::write(file, "Eve's").unwrap();
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o666)).unwrap();
        }
        hide(&file, "a secret").unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "a secret");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&waiting).unwrap(), "Eve's");
        // Where it cannot be put nothing stays behind.
        let taken = folder.path().join("taken");
        std::fs::create_dir(&taken).unwrap();
        assert!(hide(&taken, "a secret").is_err());
        assert!(hide(&taken.join("missing").join("bob.sdp"), "a secret").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
        // What is no file stays what it is.
        let link = folder.path().join("link.sdp");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(hide(&link, "a secret").is_err() && link.symlink_metadata().unwrap().is_symlink());
    }
}
