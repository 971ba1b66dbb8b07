//! The start line and the header fields of a request or response (RFC 4975 §7, §9; RFC 4976 §4).

use std::fmt;

use nuncio_sansio::Entropy;

use crate::ident::Ident;
use crate::range::ByteRange;
use crate::status::{ReportStatus, Status};
use crate::uri::Path;

/// A method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// `SEND` carries a message or a chunk of one.
    Send,
    /// `REPORT` tells what became of a message.
    Report,
    /// `AUTH` asks a relay for a URI (RFC 4976).
    Auth,
    /// `NICKNAME` reserves a name in a room (RFC 7701).
    Nickname,
    /// Another one, upper-case letters and `_`: answered with 501 by an endpoint, forwarded by a relay.
    Other(Box<str>),
}

impl Method {
    /// Reads upper-case letters; and `_` among them, which the grammar does not have and the file transfers of Blink do (`FILE_OFFSET`).
    pub fn parse(text: &str) -> Option<Self> {
        let letter = |byte: u8| byte.is_ascii_uppercase() || byte == b'_';
        let good = text.len() <= 32
            && text.starts_with(|first: char| first.is_ascii_uppercase())
            && text.bytes().all(letter);
        good.then(|| match text {
            "SEND" => Self::Send,
            "REPORT" => Self::Report,
            "AUTH" => Self::Auth,
            "NICKNAME" => Self::Nickname,
            other => Self::Other(other.into()),
        })
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Send => "SEND",
            Self::Report => "REPORT",
            Self::Auth => "AUTH",
            Self::Nickname => "NICKNAME",
            Self::Other(other) => other,
        }
    }
}

/// What the start line says beside the transaction identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// A request.
    Request(Method),
    /// A response.
    Response {
        /// The code.
        status: Status,
        /// For people.
        comment: Option<Box<str>>,
    },
}

/// When the sender of a message wants to hear of its failure (RFC 4975 §5.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FailureReport {
    /// Always: each hop answers, and silence for 30 seconds is a failure.
    #[default]
    Yes,
    /// Only when someone notices: nobody answers 200, nobody waits.
    Partial,
    /// Never.
    No,
}

impl FailureReport {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::Partial => "partial",
            Self::No => "no",
        }
    }
}

/// How a frame ends (RFC 4975 §7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flag {
    /// `$`: the message ends with this chunk.
    Last,
    /// `+`: more of the message follows.
    More,
    /// `#`: the message is given up.
    Abort,
}

impl Flag {
    /// Reads the octet.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            b'$' => Some(Self::Last),
            b'+' => Some(Self::More),
            b'#' => Some(Self::Abort),
            _ => None,
        }
    }

    /// The octet.
    pub const fn byte(self) -> u8 {
        match self {
            Self::Last => b'$',
            Self::More => b'+',
            Self::Abort => b'#',
        }
    }
}

/// Why a header field cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// The name is no token that begins with a letter.
    #[error("the name of the header field is malformed")]
    Name,
    /// The value has a control character, which could begin another line.
    #[error("the value of the header field has a control character")]
    Value,
}

/// A header field that [`Head`] has no place of its own for.
#[derive(Clone, PartialEq, Eq)]
pub struct Field {
    name: Box<str>,
    value: Box<str>,
}

impl Field {
    /// A field.
    ///
    /// # Errors
    /// The name is no token, or the value has a control character.
    pub fn new(name: &str, value: &str) -> Result<Self, FieldError> {
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.bytes().all(is_token) {
            return Err(FieldError::Name);
        }
        if !is_text(value) {
            return Err(FieldError::Value);
        }
        Ok(Self { name: name.into(), value: value.into() })
    }

    /// The name, as it was written.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether it has this name, in any case.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values are credentials and the like.
        write!(f, "{}: …", self.name)
    }
}

/// Everything of a frame before its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The transaction identifier.
    pub id: Ident,
    /// Request or response.
    pub start: Start,
    /// The way that is left, the next hop first.
    pub to: Path,
    /// The way back, the previous hop first.
    pub from: Path,
    /// `Message-ID`.
    pub message_id: Option<Ident>,
    /// `Byte-Range`.
    pub range: Option<ByteRange>,
    /// `Success-Report`; absent is no.
    pub success_report: bool,
    /// `Failure-Report`; absent is yes.
    pub failure_report: FailureReport,
    /// `Status` of a REPORT.
    pub status: Option<ReportStatus>,
    /// All other fields but Content-Type, in their order.
    pub fields: Vec<Field>,
    /// `Content-Type`, given exactly if there is a body, be it empty.
    pub content_type: Option<Box<str>>,
}

impl Head {
    /// A request without fields and body.
    pub const fn request(id: Ident, method: Method, to: Path, from: Path) -> Self {
        Self {
            id,
            start: Start::Request(method),
            to,
            from,
            message_id: None,
            range: None,
            success_report: false,
            failure_report: FailureReport::Yes,
            status: None,
            fields: Vec::new(),
            content_type: None,
        }
    }

    /// The response to this request (RFC 4975 §7.2): to a SEND it goes one hop, to anything else all the way back.
    pub fn response(&self, status: Status) -> Option<Self> {
        let to = if self.is_send() { self.from.only_first()? } else { self.from.clone() };
        Some(Self::request(self.id, Method::Send, to, self.to.only_first()?).with_status(status))
    }

    /// This response with another status.
    pub fn with_status(mut self, status: Status) -> Self {
        let comment = Some(status.comment()).filter(|comment| !comment.is_empty()).map(Into::into);
        self.start = Start::Response { status, comment };
        self
    }

    /// The report on `range` of a message that came with this SEND (RFC 4975 §7.1.3, §7.1.4). None if the SEND has no Message-ID.
    pub fn report(&self, id: Ident, range: ByteRange, status: Status) -> Option<Self> {
        let mut head = Self::request(id, Method::Report, self.from.clone(), self.to.only_first()?);
        head.message_id = Some(self.message_id?);
        head.range = Some(range);
        head.status = Some(ReportStatus::of(status));
        Some(head)
    }

    /// The method; none for a response.
    pub const fn method(&self) -> Option<&Method> {
        match &self.start {
            Start::Request(method) => Some(method),
            Start::Response { .. } => None,
        }
    }

    /// Whether it is a SEND request.
    pub const fn is_send(&self) -> bool {
        matches!(self.start, Start::Request(Method::Send))
    }

    /// The value of the first field of this name, in any case.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|field| field.is(name)).map(Field::value)
    }

    /// The values of all fields of this name, in any case.
    pub fn all_fields<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |field| field.is(name)).map(Field::value)
    }

    /// Adds a field. A value that cannot be written is left out and told.
    ///
    /// # Errors
    /// See [`Field::new`].
    pub fn add(&mut self, name: &str, value: &str) -> Result<(), FieldError> {
        self.fields.push(Field::new(name, value)?);
        Ok(())
    }

    /// How many bytes of memory it holds beside itself, about.
    pub fn text(&self) -> usize {
        let fields =
            self.fields.iter().map(|field| size_of::<Field>() + field.name.len() + field.value.len());
        self.to.text() + self.from.text() + fields.sum::<usize>()
    }

    /// Writes everything that comes before the body, the empty line included if there is a body.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut put = |parts: &[&str]| parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
        put(&["MSRP ", self.id.as_str(), " "]);
        match &self.start {
            Start::Request(method) => put(&[method.as_str()]),
            Start::Response { status, comment } => {
                put(&[&status.to_string()]);
                if let Some(comment) = comment {
                    put(&[" ", comment]);
                }
            }
        }
        for (name, path) in [("\r\nTo-Path:", &self.to), ("\r\nFrom-Path:", &self.from)] {
            put(&[name]);
            path.uris().iter().for_each(|uri| put(&[" ", uri.as_str()]));
        }
        if let Some(id) = &self.message_id {
            put(&["\r\nMessage-ID: ", id.as_str()]);
        }
        if let Some(range) = &self.range {
            put(&["\r\nByte-Range: ", &range.to_string()]);
        }
        if self.success_report {
            put(&["\r\nSuccess-Report: yes"]);
        }
        if self.failure_report != FailureReport::Yes {
            put(&["\r\nFailure-Report: ", self.failure_report.as_str()]);
        }
        if let Some(status) = &self.status {
            put(&["\r\nStatus: ", &status.to_string()]);
        }
        for field in &self.fields {
            put(&["\r\n", field.name(), ": ", field.value()]);
        }
        if let Some(content_type) = &self.content_type {
            put(&["\r\nContent-Type: ", content_type, "\r\n"]);
        }
        put(&["\r\n"]);
    }

    /// The whole frame. Gives the request another transaction identifier if its own would end the body early (RFC 4975 §7.1).
    pub fn frame(&mut self, body: Option<&[u8]>, flag: Flag, entropy: &dyn Entropy) -> Vec<u8> {
        let body = body.unwrap_or_default();
        while ends_early(&self.id, body) {
            self.id = Ident::random(entropy);
        }
        let mut out = Vec::with_capacity(256 + body.len());
        self.write(&mut out);
        if self.content_type.is_some() {
            out.extend_from_slice(body);
            out.extend_from_slice(b"\r\n");
        }
        end_line(&self.id, flag, &mut out);
        out
    }
}

/// Writes the end-line. After a body, a CRLF that is not part of it comes before.
pub fn end_line(id: &Ident, flag: Flag, out: &mut Vec<u8>) {
    out.extend_from_slice(DASHES);
    out.extend_from_slice(id.as_bytes());
    out.extend_from_slice(&[flag.byte(), b'\r', b'\n']);
}

/// What an end-line begins with.
pub(crate) const DASHES: &[u8] = b"-------";

/// Whether a body has what a receiver would take for the end-line of this transaction. Stricter than need be: without looking at the flag.
pub(crate) fn ends_early(id: &Ident, body: &[u8]) -> bool {
    body.len() > DASHES.len() && memchr::memmem::find(body, &needle(id)).is_some()
}

/// Seven hyphens and the identifier.
pub(crate) fn needle(id: &Ident) -> Vec<u8> {
    [DASHES, id.as_bytes()].concat()
}

/// `token` of RFC 4975 §9.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]".contains(&byte)
}

/// `utf8text`: no control character but the tab.
pub(crate) fn is_text(text: &str) -> bool {
    !text.chars().any(|c| c.is_ascii_control() && c != '\t')
}

#[cfg(test)]
mod tests {
    use nuncio_sansio::pair::Counter;

    use super::*;
    use crate::uri::Uri;

    fn head() -> Head {
        let uri = |text: &str| Path::from(Uri::parse(text).expect("a URI"));
        let id = Ident::new("a786hjs2").expect("an identifier");
        let to = uri("msrp://biloxi.example.com:12763/kjhd37s2s20w2a;tcp");
        Head::request(id, Method::Send, to, uri("msrp://atlanta.example.com:7654/jshA7weztas;tcp"))
    }

    #[test]
    fn fields_cannot_smuggle_lines() {
        assert_eq!(Field::new("X-A", "b\r\nTo-Path: x"), Err(FieldError::Value));
        assert_eq!(Field::new("X-A", "b\0"), Err(FieldError::Value));
        for name in ["", "1a", "a b", "a:", "a\r\n", "ä"] {
            assert_eq!(Field::new(name, "b"), Err(FieldError::Name), "{name:?}");
        }
        let field = Field::new("Use-Nickname", "\"Alice the gréat\"").expect("UTF-8 is text");
        assert!(field.is("use-nickname"));
        assert_eq!(format!("{field:?}"), "Use-Nickname: …");
    }

    /// RFC 4975 §7.1: the end-line must not be in the body; the identifier is exchanged if it is.
    #[test]
    fn an_identifier_never_ends_its_own_body() {
        let entropy = Counter::default();
        let mut head = head();
        head.content_type = Some("application/octet-stream".into());
        let mut body = b"x-------a786hjs2y".to_vec();
        // Even an attacker who could foresee the next identifier gains nothing.
        body.extend_from_slice(&needle(&Ident::random(&Counter::default())));
        let frame = head.frame(Some(&body), Flag::Last, &entropy);
        assert!(!ends_early(&head.id, &body));
        assert!(frame.ends_with(&[needle(&head.id), b"$\r\n".to_vec()].concat()));
        let harmless = b"-------a786hjs";
        assert!(!ends_early(&Ident::new("a786hjs2").expect("valid"), harmless));
    }

    /// RFC 4975 §7.2: a response to SEND goes one hop, others all the way.
    #[test]
    fn responses_and_reports_go_back() {
        let mut head = head();
        let other = Path::from(Uri::parse("msrp://r.example:1/x;tcp").expect("a URI"));
        head.from = other.then(&head.from);
        let response = head.response(Status::OK).expect("complete");
        assert_eq!((response.to.len(), response.id), (1, head.id));
        assert_eq!(response.from, head.to);
        head.start = Start::Request(Method::Other("FOO".into()));
        assert_eq!(
            head.response(Status::NOT_IMPLEMENTED).map(|response| response.to),
            Some(head.from.clone())
        );
        let id = Ident::new("dkei38sd").expect("valid");
        assert_eq!(head.report(id, ByteRange::EMPTY, Status::OK), None, "there is nothing to report on");
        head.message_id = Some(id);
        let report = head.report(id, ByteRange::EMPTY, Status::TIMEOUT).expect("complete");
        assert_eq!((report.to, report.from), (head.from, head.to));
        assert_eq!(report.status.and_then(|status| status.known()), Some(Status::TIMEOUT));
    }
}
