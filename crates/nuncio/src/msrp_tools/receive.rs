//! `nuncio msrp receive`: waits for messages and files.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use nuncio_endpoint::msrp::Status;
use nuncio_endpoint::msrp::cpim::Cpim;
use nuncio_endpoint::msrp::endpoint::Reports;
use nuncio_endpoint::msrp::imdn::Disposition;
use nuncio_endpoint::msrp::media::AcceptTypes;
use nuncio_endpoint::{
    Config, End, Endpoint, Incoming, Invitation, Lost, Message, Sender, Session, Unjudged, Way,
};
use nuncio_net::OsEntropy;
use nuncio_net::tls::PairFiles;
use nuncio_sansio::Entropy as _;
use serde_json::json;
use tokio::time::timeout;

use super::cli::Receive;
use super::{config, fingerprints, host, password, route, safe_name, wrong};

/// A text up to here is printed, a longer one saved.
const TEXT: u64 = 64 * 1024;
/// How long the connection may take to close.
const CLOSING: Duration = Duration::from_secs(5);
/// Files of one name that are told apart.
const NAMES: u32 = 10_000;

pub(super) async fn run(given: Receive) -> anyhow::Result<bool> {
    let accept = AcceptTypes::parse(&given.accept)
        .filter(|types| !types.is_empty())
        .ok_or_else(|| wrong(format!("{:?} are no media types", given.accept)))?;
    if !given.folder.is_dir() {
        return Err(wrong(format!("{} is no folder", given.folder.display())));
    }
    let unjudged = match given.login.relay.is_empty() {
        true => given.clear.then_some(Unjudged::Clear),
        false => Some(Unjudged::Relay),
    };
    let promised = fingerprints(&given.fingerprint, &given.trust, unjudged)?;
    let pair = given.certificate.clone().zip(given.key.clone());
    let mut settings = Config {
        accept,
        max_size: given.max_size,
        spool: Some(given.folder.clone()),
        // Delivered means that it is on the disk.
        reports: Reports::Host,
        certificate: pair.map(|(chain, key)| PairFiles { chain, key }),
        ..config(&given.trust)
    };
    // Whoever is invited may take his time.
    settings.msrp.binding = Duration::from_secs(30);
    let endpoint = Endpoint::new(settings)?;
    let password = match given.login.relay.is_empty() {
        true => None,
        false => Some(password(&given.login.secret)?.0),
    };
    let route = route(&endpoint, &given.login, password.as_ref()).await?;
    let (listening, invitation) = match route {
        Some(route) => (None, endpoint.invite_only(Way::Relays(route), promised)?),
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
            let invitation = endpoint.invite_only(Way::Listening(&listening), promised)?;
            (Some(listening), invitation)
        }
    };
    tell(&given, &invitation)?;
    let mut session = invitation.accept();
    let receiving = receive(&given, &mut session);
    let result = match given.timeout {
        None => receiving.await,
        Some(seconds) => match timeout(Duration::from_secs(seconds), receiving).await {
            Ok(result) => result,
            Err(_) => {
                eprintln!("nuncio: {seconds} s are over");
                Ok(false)
            }
        },
    };
    drop(session);
    drop(timeout(CLOSING, endpoint.drained()).await);
    drop(listening);
    result
}

/// Tells whoever is to give it to the sender.
fn tell(given: &Receive, invitation: &Invitation) -> anyhow::Result<()> {
    let sdp = invitation.sdp();
    if let Some(file) = &given.sdp {
        hide(file, &sdp).with_context(|| format!("{} cannot be written", file.display()))?;
    } else if given.json {
        println!("{}", json!({"path": invitation.path().to_string(), "sdp": sdp}));
    } else {
        print!("{sdp}");
    }
    std::io::stdout().flush().context("standard output is closed")
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

async fn receive(given: &Receive, session: &mut Session) -> anyhow::Result<bool> {
    let sender = session.sender();
    let mut good = true;
    let mut came = 0;
    while came < given.count {
        match session.next().await {
            Some(Incoming::Message(message)) => {
                came += 1;
                good &= keep(given, message, &sender).await?;
            }
            // Nothing of ours has asked for one.
            Some(Incoming::Notification(_)) => {}
            Some(Incoming::Broken(broken)) => {
                good = false;
                if given.json {
                    let (id, why) = (broken.id.to_string(), broken.why.to_string());
                    println!("{}", json!({"id": id, "received": false, "bytes": broken.came, "reason": why}));
                } else {
                    eprintln!("nuncio: {broken}");
                }
            }
            None => {
                let end = session.over().await;
                let early = match end {
                    End::Connection(Lost::Peer) => "the sender has gone".to_owned(),
                    end => end.to_string(),
                };
                if given.json {
                    println!("{}", json!({"received": false, "reason": early}));
                } else {
                    eprintln!("nuncio: {early} after {came} of {} messages", given.count);
                }
                return Ok(false);
            }
        }
    }
    Ok(good)
}

/// Prints or saves a message, then tells its sender, by a report and, if that was asked for and is given, by a notification.
async fn keep(given: &Receive, message: Message, sender: &Sender) -> anyhow::Result<bool> {
    let (receipt, id, whole) = (message.receipt(), message.id.to_string(), message.body.len());
    let (head, kept) = match message.unwrapped().await {
        Ok((head, inner)) => {
            let kept = put(given, &id, head.as_ref(), inner).await?;
            (head, kept)
        }
        Err(error) => {
            unsaved(given, &id, whole, &error);
            (None, false)
        }
    };
    receipt.report(if kept { Status::OK } else { Status::STOP });
    // A failure has been reported: it is not told again (RFC 5438 §12.1.3.1).
    if let Some(head) = head.filter(|_| given.receipts && kept)
        && let Err(error) = sender.notify(&head, Disposition::Delivered).await
    {
        eprintln!("nuncio: the sender cannot be told that {id} was delivered: {error}");
    }
    Ok(kept)
}

async fn put(given: &Receive, id: &str, head: Option<&Cpim>, message: Message) -> anyhow::Result<bool> {
    let (kind, bytes, named) = (message.content_type.clone(), message.body.len(), name(&message));
    let from = head.map(|head| head.from.uri.as_str());
    let text = message.text().filter(|_| bytes <= TEXT && named.is_none()).map(str::to_owned);
    let mut told = json!({"id": id, "received": true, "type": kind, "bytes": bytes});
    if let Some(from) = from {
        told["from"] = from.into();
    }
    if let Some(text) = text {
        if given.json {
            told["text"] = text.into();
            println!("{told}");
        } else {
            println!("{}", printable(&text));
        }
        std::io::stdout().flush().context("standard output is closed")?;
        return Ok(true);
    }
    match save(&given.folder, named.as_deref().unwrap_or(id), message).await {
        Ok(path) => {
            let file = path.display().to_string();
            if given.json {
                told["file"] = file.into();
                println!("{told}");
            } else {
                println!("{file} ({bytes} bytes, {})", printable(&kind));
            }
            Ok(true)
        }
        Err(error) => {
            unsaved(given, id, bytes, &error);
            Ok(false)
        }
    }
}

fn unsaved(given: &Receive, id: &str, bytes: u64, error: &std::io::Error) {
    if given.json {
        let why = error.to_string();
        println!("{}", json!({"id": id, "received": false, "bytes": bytes, "reason": why}));
    } else {
        eprintln!("nuncio: a message of {bytes} bytes cannot be saved: {error}");
    }
}

/// Under the name, or one like it that is free.
async fn save(folder: &Path, name: &str, message: Message) -> std::io::Result<PathBuf> {
    let mut path = folder.join(name);
    // Somebody else may take a name meanwhile: then saving fails, and nothing is replaced.
    let mut number = 1;
    while path.symlink_metadata().is_ok() && number < NAMES {
        let given = Path::new(name);
        let (stem, end) = (given.file_stem().unwrap_or_default().to_string_lossy(), given.extension());
        let end = end.map(|end| format!(".{}", end.to_string_lossy())).unwrap_or_default();
        path = folder.join(format!("{stem}-{number}{end}"));
        number += 1;
    }
    message.body.save(path.clone()).await?;
    Ok(path)
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

/// Without what a terminal would act upon.
fn printable(text: &str) -> String {
    text.chars()
        .map(|one| if one.is_control() && one != '\n' && one != '\t' { '\u{fffd}' } else { one })
        .collect()
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
