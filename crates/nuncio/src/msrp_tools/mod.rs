//! `nuncio msrp`: a small MSRP client, and a checker of anyone's endpoint or relay.

mod check;
mod cli;
mod receive;
mod send;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nuncio_endpoint::msrp::sdp::{Fingerprint, Hash};
use nuncio_endpoint::msrp::uri::Host;
use nuncio_endpoint::msrp::{Path as MsrpPath, Scheme, Uri};
use nuncio_endpoint::{Config, Endpoint, RelayAccount, Route, Unjudged};
use nuncio_net::tls::Roots;
use zeroize::Zeroizing;

pub(crate) use self::cli::Msrp;
use self::cli::{Login, Secret, Trust};
use crate::operate::WrongUse;

/// Where the password is if no option says it.
const PASSWORD: &str = "NUNCIO_PASSWORD";
/// The longest text that is read from standard input.
const MOST: u64 = 1 << 20;

/// Runs it. False if the answer is no.
pub(crate) async fn run(act: Msrp) -> anyhow::Result<bool> {
    match act {
        Msrp::Send(given) => Box::pin(send::run(given)).await,
        Msrp::Receive(given) => Box::pin(receive::run(given)).await,
        Msrp::Check(given) => Box::pin(check::run(given)).await,
    }
}

fn wrong(what: impl Into<String>) -> anyhow::Error {
    WrongUse(what.into()).into()
}

fn roots(files: &[PathBuf]) -> Roots {
    if files.is_empty() { Roots::System } else { Roots::Files(files.to_vec()) }
}

/// The settings that all have.
fn config(trust: &Trust) -> Config {
    Config { roots: roots(&trust.ca), sha1: trust.sha1, ..Config::default() }
}

/// The fingerprints that were named; none: those of the SDP, if any. Whoever names one wants it to be judged: `unjudged` is why it could not be.
fn fingerprints(
    given: &[String],
    trust: &Trust,
    unjudged: Option<Unjudged>,
) -> anyhow::Result<Vec<Fingerprint>> {
    if let (Some(why), false) = (unjudged, given.is_empty()) {
        return Err(wrong(format!("--fingerprint: {why}")));
    }
    let read = |text: &String| {
        let read = Fingerprint::parse(text)
            .ok_or_else(|| wrong(format!("{text:?} is no fingerprint: `sha-256 AB:CD:…` is wanted")))?;
        if read.hash() == Hash::Sha1 && !trust.sha1 {
            return Err(wrong(format!("{text}: fingerprints by SHA-1 want --sha1")));
        }
        Ok(read)
    };
    given.iter().map(read).collect()
}

/// Why the certificate of whoever has this path is not seen, by whoever connects to the first of its URIs.
fn unseen(path: &MsrpPath) -> Option<Unjudged> {
    if path.len() > 1 {
        return Some(Unjudged::Relay);
    }
    path.first().filter(|uri| uri.scheme() == Scheme::Msrp).map(|_| Unjudged::Clear)
}

/// The password, and what else stands on standard input if that is where it came from.
fn password(secret: &Secret) -> anyhow::Result<(Zeroizing<String>, Option<String>)> {
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
fn read_text(path: &Path) -> anyhow::Result<String> {
    let mut all = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(MOST + 1).read_to_string(&mut all));
    read.map_err(|error| wrong(format!("{}: {error}", path.display())))?;
    if all.len() as u64 > MOST {
        return Err(wrong(format!("{}: there is more than {MOST} bytes in it", path.display())));
    }
    Ok(all)
}

fn read_all() -> anyhow::Result<String> {
    let mut all = String::new();
    let mut input = std::io::stdin().lock().take(MOST + 1);
    input.read_to_string(&mut all).context("standard input cannot be read")?;
    if all.len() as u64 > MOST {
        return Err(wrong(format!("there is more than {MOST} bytes on standard input")));
    }
    Ok(all)
}

/// A relay: a URI, or a host with or without a port.
fn relay(text: &str) -> anyhow::Result<Uri> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("msrps://{text};tcp") };
    let bad = |why: String| wrong(format!("{text}: {why}; msrps://relay.example:2855;tcp is wanted"));
    let uri = Uri::parse(&whole).map_err(|error| bad(error.to_string()))?;
    if uri.session_id().is_some() {
        return Err(bad("a relay has no session id".to_owned()));
    }
    Ok(uri)
}

/// Logs in at the relays that were named, if any.
async fn route(
    endpoint: &Endpoint,
    login: &Login,
    password: Option<&Zeroizing<String>>,
) -> anyhow::Result<Option<Route>> {
    if login.relay.is_empty() {
        return Ok(None);
    }
    let username = login.user.clone().ok_or_else(|| wrong("a relay wants a login: --user"))?;
    let password = password.cloned().unwrap_or_default();
    let account = |text: &String| {
        let relay = relay(text)?;
        if relay.scheme() != Scheme::Msrps {
            return Err(wrong(format!("{text}: credentials are sent over TLS only: msrps is wanted")));
        }
        Ok(RelayAccount {
            relay,
            username: username.clone(),
            password: password.clone(),
            expires: login.expires,
            md5: !login.no_md5,
        })
    };
    let accounts = login.relay.iter().map(account).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Some(Box::pin(endpoint.route(&accounts)).await?))
}

/// A media type by the end of a file's name, as far as that is certain.
fn media_type(path: &Path) -> &'static str {
    const KNOWN: &[(&str, &str)] = &[
        ("txt", "text/plain"),
        ("html", "text/html"),
        ("xml", "application/xml"),
        ("json", "application/json"),
        ("pdf", "application/pdf"),
        ("zip", "application/zip"),
        ("png", "image/png"),
        ("jpg", "image/jpeg"),
        ("jpeg", "image/jpeg"),
        ("gif", "image/gif"),
        ("webp", "image/webp"),
        ("mp3", "audio/mpeg"),
        ("ogg", "audio/ogg"),
        ("mp4", "video/mp4"),
    ];
    let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default().to_ascii_lowercase();
    KNOWN.iter().find(|(known, _)| *known == end).map_or("application/octet-stream", |(_, kind)| kind)
}

/// The longest name of a file that somebody else gave, in bytes: what is put behind it by us fits into the 255 that systems take.
const NAME: usize = 200;

/// What a name may be that somebody else gave: one component, nothing hidden, nothing that a terminal would act upon or that shows it as another.
fn safe_name(name: &str) -> Option<String> {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let safe: String = last.chars().filter(|one| !one.is_control() && !is_format(*one)).collect();
    let safe = safe.trim().trim_start_matches('.');
    let safe = safe.get(..safe.floor_char_boundary(NAME)).unwrap_or_default().trim_end();
    (!safe.is_empty()).then(|| safe.to_owned())
}

/// The format characters of Unicode (category Cf), and its line and paragraph separators: they cannot be seen, and some turn around what can.
const fn is_format(one: char) -> bool {
    matches!(
        one,
        '\u{ad}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0001}'..='\u{e007f}'
    )
}

/// A host for our own URIs.
fn host(text: &str) -> anyhow::Result<String> {
    Host::parse(text).map_err(|error| wrong(format!("{text}: {error}")))?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 5547 §10: a name of somebody else's leads nowhere but into the folder.
    #[test]
    fn names_of_others_are_harmless() {
        for (given, safe) in [
            ("report.pdf", Some("report.pdf")),
            ("../../etc/passwd", Some("passwd")),
            ("C:\\Windows\\x.dll", Some("x.dll")),
            (".bashrc", Some("bashrc")),
            ("a\u{1b}[2Jb\n", Some("a[2Jb")),
            ("..", None),
            ("", None),
            ("dir/", None),
            ("photo\u{202e}gpj.exe", Some("photogpj.exe")),
            ("\u{200b}\u{feff}.\u{2066}", None),
            ("\u{200f}.bashrc", Some("bashrc")),
            ("na\u{ef}ve \u{1f600}.txt", Some("na\u{ef}ve \u{1f600}.txt")),
        ] {
            assert_eq!(safe_name(given).as_deref(), safe, "{given:?}");
        }
        // Bytes count for systems, and no character is cut.
        for (one, bytes) in [("x", 200), ("\u{e9}", 200), ("\u{4e2d}", 198), ("\u{1f600}", 200)] {
            assert_eq!(safe_name(&one.repeat(5_000)).map(|name| name.len()), Some(bytes), "{one}");
        }
    }

    #[test]
    fn relays_as_people_write_them() {
        for (text, uri) in [
            ("relay.example", Some("msrps://relay.example;tcp")),
            ("relay.example:2855", Some("msrps://relay.example:2855;tcp")),
            ("msrp://127.0.0.1:2855;tcp", Some("msrp://127.0.0.1:2855;tcp")),
            ("msrps://relay.example:2855/session;tcp", None),
            ("a b", None),
        ] {
            assert_eq!(relay(text).ok().map(|it| it.to_string()).as_deref(), uri, "{text}");
        }
    }
}
