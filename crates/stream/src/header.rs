//! Stream headers (RFC 6120 §4.7, §4.8): reading the peer's, writing ours.

use nuncio_xmpp::jid::{self, BareJid, Jid};
use nuncio_xmpp::ns;
use nuncio_xmpp::xml::{Header, escape_attr};

use crate::error::{Error, Incompatible, Misbehaved};

/// The closing tag of a stream of ours.
pub(crate) const CLOSE: &[u8] = b"</stream:stream>";

/// What an initiating client's header says.
#[derive(Debug)]
pub(crate) struct Initial {
    /// The domain, prepared.
    pub(crate) to: Option<String>,
    /// The client's bare address.
    pub(crate) from: Option<BareJid>,
    /// The language of what it sends.
    pub(crate) lang: Option<Box<str>>,
}

/// The peer's bare address, for the `to` of our own header, as far as it can be read.
pub(crate) fn sender(header: &Header) -> Option<BareJid> {
    Jid::new(&header.attr("from")?).ok().map(|jid| jid.bare())
}

/// Checks name, namespaces and version of a header whose content namespace must be `content`.
pub(crate) fn check(header: &Header, content: &str) -> Result<(), Error> {
    if header.ns() != ns::STREAMS {
        return Err(Misbehaved::Namespace.into());
    }
    if header.name() != "stream" {
        return Err(Misbehaved::NotAStream.into());
    }
    // §4.8.5 lets us insist on the usual prefix; §4.8.2 allows none at all ("prefix-free canonicalization").
    match header.prefix() {
        "stream" if header.default_ns() == content => {}
        "stream" => return Err(Misbehaved::Namespace.into()),
        "" => {}
        _ => return Err(Misbehaved::Prefix.into()),
    }
    if major(header.attr("version").as_deref()).is_none_or(|major| major < 1) {
        return Err(Incompatible::Version.into());
    }
    Ok(())
}

/// Reads the header of a client.
pub(crate) fn read_client(header: &Header) -> Result<Initial, Error> {
    check(header, ns::CLIENT)?;
    let to = match header.attr("to") {
        Some(to) => Some(jid::prepare_domain(&to).map_err(|_| Misbehaved::HeaderAddress)?),
        None => None,
    };
    let from = match header.attr("from") {
        Some(from) => Some(Jid::new(&from).map_err(|_| Misbehaved::HeaderFrom)?.bare()),
        None => None,
    };
    Ok(Initial { to, from, lang: language(header) })
}

/// The language of what follows; what is no language tag (BCP 47) is not handed on.
fn language(header: &Header) -> Option<Box<str>> {
    let is_tag = |lang: &str| {
        lang.len() <= 35
            && lang
                .split('-')
                .all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()))
    };
    header.lang().filter(|lang| is_tag(lang)).map(|lang| lang.into_owned().into_boxed_str())
}

/// What a server's header says, in either role.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Whom it addresses, prepared.
    pub(crate) to: Option<String>,
    /// Who it says that it is, prepared.
    pub(crate) from: Option<String>,
    /// The id of the stream, if it is the receiving server's.
    pub(crate) id: Option<String>,
    /// The language of what it sends.
    pub(crate) lang: Option<Box<str>>,
    /// It declares the prefix of dialback: it knows the protocol (XEP-0220 §2.4.1).
    pub(crate) dialback: bool,
}

/// Reads the header of a server.
pub(crate) fn read_server(header: &Header) -> Result<Peer, Error> {
    check(header, ns::SERVER)?;
    let domain = |attr: &str, fault: Misbehaved| match header.attr(attr) {
        // What is empty says nothing: so a server begins that knows nothing for certain and has an error to tell (RFC 6120 §4.9.1.3).
        Some(value) if value.is_empty() => Ok(None),
        Some(value) => jid::prepare_domain(&value).map(Some).map_err(|_| fault),
        None => Ok(None),
    };
    Ok(Peer {
        to: domain("to", Misbehaved::HeaderAddress)?,
        from: domain("from", Misbehaved::HeaderFrom)?,
        id: header.attr("id").map(std::borrow::Cow::into_owned),
        lang: language(header),
        dialback: header.declares("db") == Some(ns::DIALBACK),
    })
}

/// The major number of `major.minor` (§4.7.5). None if there is no version, or none that can be read: 0.9.
pub(crate) fn major(version: Option<&str>) -> Option<u32> {
    let (major, minor) = version?.split_once('.')?;
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
    number(minor)?;
    number(major)
}

/// What our own header says.
#[derive(Clone, Copy, Debug, Default)]
pub struct Words<'a> {
    /// `from`.
    pub from: Option<&'a str>,
    /// `to`.
    pub to: Option<&'a str>,
    /// `id`, only in the header of the receiving role (RFC 6120 §4.7.3).
    pub id: Option<&'a str>,
    /// `xml:lang`.
    pub lang: Option<&'a str>,
}

/// Writes a header of a stream between client and server.
pub(crate) fn write_client(out: &mut Vec<u8>, words: Words<'_>) {
    write(out, words, ns::CLIENT, "");
}

/// Writes the header of a stream between servers, in either role. It always declares the prefix `db`, which deployed servers expect
/// for dialback (S0-13, RFC 6120 §4.8.4, XEP-0220 §2.2).
pub fn write_server(out: &mut Vec<u8>, words: Words<'_>) {
    write(out, words, ns::SERVER, " xmlns:db='jabber:server:dialback'");
}

fn write(out: &mut Vec<u8>, words: Words<'_>, content: &str, more: &str) {
    out.extend_from_slice(b"<?xml version='1.0'?><stream:stream");
    for (name, value) in [("from", words.from), ("id", words.id), ("to", words.to), ("xml:lang", words.lang)]
    {
        if let Some(value) = value {
            out.extend_from_slice(format!(" {name}='").as_bytes());
            escape_attr(out, value);
            out.push(b'\'');
        }
    }
    let rest = format!(" version='1.0' xmlns='{content}' xmlns:stream='{}'{more}>", ns::STREAMS);
    out.extend_from_slice(rest.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6120 §4.7.5: numbers, not text.
    #[test]
    fn versions() {
        for (version, expected) in [
            (Some("1.0"), Some(1)),
            (Some("01.07"), Some(1)),
            (Some("12.3"), Some(12)),
            (Some("0.9"), Some(0)),
            (Some("1"), None),
            (Some("1.x"), None),
            (Some("-1.0"), None),
            (Some("+1.0"), None),
            (Some("."), None),
            (Some("99999999999.0"), None),
            (None, None),
        ] {
            assert_eq!(major(version), expected, "{version:?}");
        }
    }

    /// S0-13: always `xmlns:db`.
    #[test]
    fn server_headers_declare_dialback() {
        let mut out = Vec::new();
        write_server(
            &mut out,
            Words { from: Some("a.example"), to: Some("b'<&.example"), ..Words::default() },
        );
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(" xmlns:db='jabber:server:dialback'"), "{text}");
        assert!(text.contains(" xmlns='jabber:server'") && text.contains(" version='1.0'"), "{text}");
        assert!(!text.contains("b'<&"), "{text}");
    }
}
