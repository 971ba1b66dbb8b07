//! `nuncio msrp`: a small MSRP client, and a checker of anyone's endpoint or relay.

mod check;
mod cli;
mod hints;
mod receive;
mod relays;
mod send;

use std::path::{Path, PathBuf};
use std::time::Duration;

use nuncio_endpoint::msrp::sdp::{Fingerprint, Hash};
use nuncio_endpoint::msrp::uri::Host;
use nuncio_endpoint::msrp::{Path as MsrpPath, Scheme, Transport, Uri};
use nuncio_endpoint::{Config, Endpoint, StartError, Unjudged};
use nuncio_net::tls::Roots;
use tokio::time::Instant;

pub(crate) use self::cli::Msrp;
use self::cli::Trust;
use crate::login::{password, read_text, wrong};

/// Nobody waits longer: ten years, in seconds.
const FOREVER: u64 = 315_360_000;
/// How long what was said last may take to get there, and what is temporary to be removed.
const CLOSING: Duration = Duration::from_secs(5);

/// Runs it. False if the answer is no.
pub(crate) async fn run(act: Msrp) -> anyhow::Result<bool> {
    match act {
        Msrp::Send(given) => Box::pin(send::run(given)).await,
        Msrp::Receive(given) => Box::pin(receive::run(given)).await,
        Msrp::Credentials(given) => Box::pin(relays::print(given)).await,
        Msrp::Check(given) => Box::pin(check::run(given)).await,
    }
}

/// When so many seconds are over.
fn after(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds.min(FOREVER))
}

fn roots(files: &[PathBuf]) -> Roots {
    if files.is_empty() { Roots::System } else { Roots::Files(files.to_vec()) }
}

/// The settings that all have. Authorities that cannot be read are an error, whether anybody needs them or not.
fn config(trust: &Trust) -> anyhow::Result<Config> {
    let roots = roots(&trust.ca);
    if !trust.ca.is_empty() {
        roots.certificates()?;
    }
    Ok(Config { roots, sha1: trust.sha1, ..Config::default() })
}

/// An endpoint with these settings. The files that they name are the user's.
fn endpoint(config: Config) -> anyhow::Result<Endpoint> {
    Endpoint::new(config).map_err(|error| match error {
        StartError::Certificate(error) => wrong(error.to_string()),
        error => error.into(),
    })
}

/// Where we are to connect to is spoken to by TCP.
fn spoken(uri: &Uri) -> Result<(), String> {
    match uri.transport() {
        Transport::Tcp => Ok(()),
        other => Err(format!("the transport {:?} is not spoken here, only tcp is", other.as_str())),
    }
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

/// A relay: a URI, or a host with or without a port.
fn relay(text: &str) -> anyhow::Result<Uri> {
    let whole = if text.contains("://") { text.to_owned() } else { format!("msrps://{text};tcp") };
    let bad = |why: String| wrong(format!("{text}: {why}; msrps://relay.example:2855;tcp is wanted"));
    let uri = Uri::parse(&whole).map_err(|error| bad(error.to_string()))?;
    if uri.session_id().is_some() {
        return Err(bad("a relay has no session id".to_owned()));
    }
    spoken(&uri).map_err(bad)?;
    Ok(uri)
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

/// Without what a terminal would act upon, or would turn what follows around for.
fn printable(text: &str) -> String {
    let bad = |one: char| match one {
        '\n' | '\t' => false,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        one => one.is_control(),
    };
    text.chars().map(|one| if bad(one) { '\u{fffd}' } else { one }).collect()
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
            ("msrps://relay.example:2855;udp", None),
            ("a b", None),
        ] {
            assert_eq!(relay(text).ok().map(|it| it.to_string()).as_deref(), uri, "{text}");
        }
    }
}
