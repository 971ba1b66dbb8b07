//! Server dialback (XEP-0220): its elements and its errors.

use nuncio_xmpp::xml::{Element, escape_attr, escape_text};
use nuncio_xmpp::{jid, ns};

use super::api::Pair;
use crate::error::Misbehaved;

macro_rules! conditions {
    ($($(#[$doc:meta])* $variant:ident = $word:literal => $kind:literal),+ $(,)?) => {
        /// What a dialback error says (XEP-0220 §2.4.2).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Condition { $($(#[$doc])* $variant),+ }

        impl Condition {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The value with this word on the wire.
            pub fn from_word(word: &str) -> Option<Self> {
                match word { $($word => Some(Self::$variant),)+ _ => None }
            }

            /// The error type that is written with it.
            const fn kind(self) -> &'static str {
                match self { $(Self::$variant => $kind),+ }
            }
        }
    };
}

conditions! {
    /// The domain in `to` is not served there.
    ItemNotFound = "item-not-found" => "cancel",
    /// The authoritative server could not be reached. Only where that is somebody else's (S0-26).
    RemoteConnectionFailed = "remote-connection-failed" => "cancel",
    /// The authoritative server does not serve the domain, or does not exist.
    RemoteServerNotFound = "remote-server-not-found" => "cancel",
    /// The authoritative server did not answer.
    RemoteServerTimeout = "remote-server-timeout" => "wait",
    /// TLS comes first.
    PolicyViolation = "policy-violation" => "modify",
    /// A proof is demanded that dialback is not.
    NotAuthorized = "not-authorized" => "auth",
    /// The authoritative server says that the key is not its own.
    Forbidden = "forbidden" => "auth",
    /// The asserted identity could not be established.
    NotAcceptable = "not-acceptable" => "modify",
    /// No room for another pair; a new connection may help.
    ResourceConstraint = "resource-constraint" => "wait",
    /// Dialback does not go this way on this stream.
    UnexpectedRequest = "unexpected-request" => "wait",
    /// The element is malformed.
    BadRequest = "bad-request" => "modify",
    /// Our own fault (S0-26).
    InternalServerError = "internal-server-error" => "wait",
    /// Something else; also what an unknown condition is read as.
    UndefinedCondition = "undefined-condition" => "cancel",
}

/// Why dialback did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DialbackError {
    /// The key is not the domain's.
    #[error("the key is not valid")]
    Invalid,
    /// The peer says why not, or is told.
    #[error("{}", .0.as_str())]
    Error(Condition),
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The stream ended first.
    #[error("the stream ended before the answer")]
    Ended,
    /// It cannot be asked on this stream: the peer does no dialback, cannot handle its errors (S3-12), the stream goes the other way, or carries too much.
    #[error("not possible on this stream")]
    Unsupported,
}

/// Which of the two elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// `<db:result/>`
    Result,
    /// `<db:verify/>`, with the id of the stream that it is about.
    Verify(&'a str),
}

/// What an element carries.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body<'a> {
    /// A request: the key.
    Key(&'a str),
    /// An answer.
    Outcome(Result<(), DialbackError>),
}

/// Writes an element of ours: from our domain of the pair to theirs. The prefix is the one that our headers declare, which deployed servers insist on
/// (S0-13, XEP-0220 §2).
pub(super) fn write(out: &mut Vec<u8>, kind: Kind<'_>, pair: &Pair, body: Body<'_>) {
    let name: &[u8] = match kind {
        Kind::Result => b"db:result",
        Kind::Verify(_) => b"db:verify",
    };
    out.push(b'<');
    out.extend_from_slice(name);
    let mut attr = |name: &str, value: &str| {
        out.extend_from_slice(format!(" {name}='").as_bytes());
        escape_attr(out, value);
        out.push(b'\'');
    };
    attr("from", &pair.local);
    attr("to", &pair.remote);
    if let Kind::Verify(id) = kind {
        attr("id", id);
    }
    let error = match body {
        Body::Key(key) => {
            out.push(b'>');
            escape_text(out, key);
            return close(out, name);
        }
        Body::Outcome(Ok(())) => {
            attr("type", "valid");
            None
        }
        Body::Outcome(Err(DialbackError::Invalid)) => {
            attr("type", "invalid");
            None
        }
        Body::Outcome(Err(error)) => {
            attr("type", "error");
            Some(error.condition())
        }
    };
    let Some(condition) = error else {
        out.extend_from_slice(b"/>");
        return;
    };
    let (kind, word) = (condition.kind(), condition.as_str());
    let error = format!("><error type='{kind}'><{word} xmlns='{}'/></error>", ns::STANZAS);
    out.extend_from_slice(error.as_bytes());
    close(out, name);
}

fn close(out: &mut Vec<u8>, name: &[u8]) {
    out.extend_from_slice(b"</");
    out.extend_from_slice(name);
    out.push(b'>');
}

impl DialbackError {
    /// The condition that the other end is told.
    const fn condition(self) -> Condition {
        match self {
            Self::Invalid => Condition::Forbidden,
            Self::Error(condition) => condition,
            Self::TimedOut | Self::Ended => Condition::RemoteServerTimeout,
            Self::Unsupported => Condition::UnexpectedRequest,
        }
    }
}

/// An element of the peer, read.
#[derive(Debug)]
pub(super) struct Received {
    /// Our domain is its `to`, theirs its `from`.
    pub(super) pair: Pair,
    pub(super) what: What,
}

/// What it says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum What {
    /// A key to accept.
    Assertion { key: String },
    /// The answer to one.
    Answer(Result<(), DialbackError>),
    /// A key to check.
    Question { id: String, key: String },
    /// The answer to that.
    Verdict { id: String, outcome: Result<(), DialbackError> },
}

/// Reads an element of the dialback namespace.
pub(super) fn read(element: &Element) -> Result<Received, Misbehaved> {
    let domain = |attr| {
        let value = element.attr(attr).ok_or(Misbehaved::Addressing)?;
        jid::prepare_domain(&value).map_err(|_| Misbehaved::Addressing)
    };
    let outcome = match element.attr("type").as_deref() {
        None => None,
        Some("valid") => Some(Ok(())),
        Some("invalid") => Some(Err(DialbackError::Invalid)),
        Some("error") => Some(Err(DialbackError::Error(condition(element)))),
        Some(_) => return Err(Misbehaved::Dialback),
    };
    let id = || element.attr("id").map(std::borrow::Cow::into_owned).ok_or(Misbehaved::Dialback);
    let key = || element.text().trim().to_owned();
    let what = match (element.name(), outcome) {
        ("result", None) => What::Assertion { key: key() },
        ("result", Some(outcome)) => What::Answer(outcome),
        ("verify", None) => What::Question { id: id()?, key: key() },
        ("verify", Some(outcome)) => What::Verdict { id: id()?, outcome },
        _ => return Err(Misbehaved::Element),
    };
    Ok(Received { pair: Pair::new(domain("to")?, domain("from")?), what })
}

fn condition(element: &Element) -> Condition {
    let error = element.children().find(|child| child.name() == "error" && ns::is_content(child.ns()));
    let mut words =
        error.into_iter().flat_map(|error| error.children()).filter(|child| child.ns() == ns::STANZAS);
    words.find_map(|child| Condition::from_word(child.name())).unwrap_or(Condition::UndefinedCondition)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(inside: &str) -> Element {
        let bytes = inside.replacen(' ', " xmlns:db='jabber:server:dialback' ", 1);
        Element::parse_in(ns::SERVER, bytes.into_bytes()).unwrap()
    }

    /// XEP-0220 §2: what one server writes the other reads, with the addresses turned round.
    #[test]
    fn what_is_written_is_read() {
        let pair = Pair::new("a.example", "b.example");
        let errors = Condition::ALL.iter().map(|condition| Err(DialbackError::Error(*condition)));
        for outcome in [Ok(()), Err(DialbackError::Invalid)].into_iter().chain(errors) {
            for (kind, expected) in [
                (Kind::Result, What::Answer(outcome)),
                (Kind::Verify("i&1"), What::Verdict { id: "i&1".into(), outcome }),
            ] {
                let mut out = Vec::new();
                write(&mut out, kind, &pair, Body::Outcome(outcome));
                let read = read(&element(std::str::from_utf8(&out).unwrap())).unwrap();
                assert_eq!(read.pair, Pair::new("b.example", "a.example"));
                assert_eq!(read.what, expected);
            }
        }
        let mut out = Vec::new();
        write(&mut out, Kind::Verify("i"), &pair, Body::Key("<k>"));
        assert_eq!(out, b"<db:verify from='a.example' to='b.example' id='i'>&lt;k&gt;</db:verify>");
        let read = read(&element(std::str::from_utf8(&out).unwrap())).unwrap();
        assert_eq!(read.what, What::Question { id: "i".into(), key: "<k>".into() });
    }

    #[test]
    fn what_is_no_dialback() {
        for text in [
            "<db:result from='a.example'>k</db:result>",
            "<db:result to='a.example'>k</db:result>",
            "<db:result from='x@a.example/' to='b.example'>k</db:result>",
            "<db:result from='a.example' to='b.example' type='perhaps'/>",
            "<db:verify from='a.example' to='b.example'>k</db:verify>",
            "<db:verify from='a.example' to='b.example' type='valid'/>",
            "<db:other from='a.example' to='b.example'/>",
        ] {
            assert!(read(&element(text)).is_err(), "{text}");
        }
        let unknown = "<db:result from='a.example' to='b.example' type='error'><error><foo xmlns='x'/></error></db:result>";
        let read = read(&element(unknown)).unwrap();
        assert_eq!(read.what, What::Answer(Err(DialbackError::Error(Condition::UndefinedCondition))));
    }
}
