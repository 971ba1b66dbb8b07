//! `message/cpim` (RFC 3862): who says something to whom, and when; around a MIME body.
//!
//! Strict in what it reads (S1-A2): header names in their case, one space after the colon, no folding, no control characters, no header
//! twice that may stand once. RFC 4975 §13 asks for From and To. A message is never changed: who has something to add wraps it again.

use std::fmt;

use bytes::Bytes;

/// The namespace of headers without a prefix (RFC 3862 §3.4).
pub const CORE: &str = "urn:ietf:params:cpim-headers:";
/// The most bytes of headers, CPIM's and MIME's together.
const HEADERS: usize = 16_384;
/// The most headers of each kind.
const LINES: usize = 128;

/// Why a text is no `message/cpim`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CpimError {
    /// The headers do not end, or there are too many.
    #[error("the headers do not end, or are too long")]
    Unended,
    /// Not UTF-8, or a control character.
    #[error("a header is not text")]
    Text,
    /// A line that is no header, or a parameter that is none.
    #[error("a header is malformed")]
    Header,
    /// From, To or cc is no address.
    #[error("an address is malformed")]
    Address,
    /// From is missing or stands twice.
    #[error("there is not exactly one From")]
    From,
    /// There is no To (RFC 4975 §13).
    #[error("there is no To")]
    To,
    /// A header stands twice that may stand once.
    #[error("a header is repeated")]
    Repeated,
    /// DateTime is no date and time (RFC 3339).
    #[error("the date and time is malformed")]
    DateTime,
    /// A prefix is used that no NS header before it has defined (RFC 3862 §3.4), or an NS header is malformed.
    #[error("a namespace is missing or malformed")]
    Namespace,
    /// The content has no Content-Type (RFC 3862 §3.1).
    #[error("the content has no Content-Type")]
    NoContentType,
}

/// An address with the name of whom it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The name, for people; escapes undone.
    pub name: Option<String>,
    /// The URI: `im:`, `sip:`, `xmpp:` and so on.
    pub uri: String,
}

impl Address {
    /// An address without a name. None if the URI cannot be written.
    pub fn new(uri: &str) -> Option<Self> {
        is_uri(uri).then(|| Self { name: None, uri: uri.to_owned() })
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (name, uri) = match text.strip_prefix('"') {
            Some(quoted) => {
                let end = end_of_string(quoted)?;
                let (name, rest) = quoted.split_at_checked(end)?;
                (Some(unescape(name)?), rest.strip_prefix('"')?.trim_start_matches(' '))
            }
            None => {
                let at = text.find('<')?;
                let (name, rest) = text.split_at_checked(at)?;
                let name = name.trim_end_matches(' ');
                // Tokens with single spaces; escapes are for strings.
                let plain = name.chars().all(|c| !c.is_control() && !"<>\"\\".contains(c));
                if !plain {
                    return None;
                }
                (Some(name.to_owned()).filter(|name| !name.is_empty()), rest)
            }
        };
        let uri = uri.strip_prefix('<')?.strip_suffix('>')?;
        is_uri(uri).then(|| Self { name, uri: uri.to_owned() })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "\"{}\" ", Escaped(name))?;
        }
        write!(f, "<{}>", self.uri)
    }
}

/// A header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The prefix of its namespace, if it has one.
    pub prefix: Option<String>,
    /// The name.
    pub name: String,
    /// The parameters, such as `lang`; strings without their quotes, escapes undone.
    pub parameters: Vec<(String, String)>,
    /// The value; escapes are left as they are.
    pub value: String,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cpim {
    /// Who says it.
    pub from: Address,
    /// To whom; at least one.
    pub to: Vec<Address>,
    /// Who gets it as well.
    pub cc: Vec<Address>,
    /// When it was said (RFC 3339).
    pub date_time: Option<String>,
    /// All other headers, NS and Require among them, in their order.
    pub headers: Vec<Header>,
    /// The MIME header fields of the content but Content-Type.
    pub content_fields: Vec<(String, String)>,
    /// The media type of the content.
    pub content_type: String,
    /// The content.
    pub content: Bytes,
}

impl Cpim {
    /// A message without further headers.
    pub const fn new(from: Address, to: Vec<Address>, content_type: String, content: Bytes) -> Self {
        Self {
            from,
            to,
            cc: Vec::new(),
            date_time: None,
            headers: Vec::new(),
            content_fields: Vec::new(),
            content_type,
            content,
        }
    }

    /// Reads a whole message.
    ///
    /// # Errors
    /// See [`CpimError`].
    pub fn parse(message: &Bytes) -> Result<Self, CpimError> {
        let (lines, after) = block(message, 0)?;
        let mut reading = Reading::default();
        for line in lines.split("\r\n").filter(|line| !line.is_empty()) {
            reading.line(line)?;
        }
        let (fields, content) = block(message, after)?;
        let mut content_type = None;
        let mut content_fields = Vec::new();
        for line in unfolded(fields)? {
            let (name, value) = line.split_once(':').ok_or(CpimError::Header)?;
            let name_good = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
            if !name_good || content_fields.len() >= LINES {
                return Err(CpimError::Header);
            }
            let value = value.trim_matches([' ', '\t']).to_owned();
            if !name.eq_ignore_ascii_case("Content-Type") {
                content_fields.push((name.to_owned(), value));
            } else if content_type.replace(value).is_some() {
                return Err(CpimError::Repeated);
            }
        }
        let content_type = content_type
            .filter(|value| crate::media::essence(value).is_some())
            .ok_or(CpimError::NoContentType)?;
        Ok(Self {
            from: reading.from.ok_or(CpimError::From)?,
            to: Some(reading.to).filter(|to| !to.is_empty()).ok_or(CpimError::To)?,
            cc: reading.cc,
            date_time: reading.date_time,
            headers: reading.headers,
            content_fields,
            content_type,
            content: message.slice(content..),
        })
    }

    /// Writes it. What cannot be written as it is (a line end in a value) is left out.
    pub fn write(&self) -> Vec<u8> {
        let mut out = String::new();
        let mut line = |start: &str, value: &str| {
            if !value.chars().any(char::is_control) {
                out.push_str(&format!("{start} {value}\r\n"));
            }
        };
        line("From:", &self.from.to_string());
        self.to.iter().for_each(|to| line("To:", &to.to_string()));
        self.cc.iter().for_each(|cc| line("cc:", &cc.to_string()));
        if let Some(date_time) = &self.date_time {
            line("DateTime:", date_time);
        }
        for header in &self.headers {
            let mut start = match &header.prefix {
                Some(prefix) => format!("{prefix}.{}:", header.name),
                None => format!("{}:", header.name),
            };
            for (key, value) in &header.parameters {
                let token = !value.is_empty() && value.chars().all(is_token);
                start +=
                    &if token { format!(";{key}={value}") } else { format!(";{key}=\"{}\"", Escaped(value)) };
            }
            line(&start, &header.value);
        }
        out.push_str("\r\n");
        for (name, value) in &self.content_fields {
            if !value.chars().any(char::is_control) {
                out.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        out.push_str(&format!("Content-Type: {}\r\n\r\n", self.content_type));
        [out.as_bytes(), &self.content].concat()
    }

    /// The namespace that a prefix stands for at the end of the headers.
    pub fn namespace(&self, prefix: &str) -> Option<&str> {
        self.headers.iter().rev().filter(|it| it.is_core("NS")).find_map(|it| {
            let (known, uri) = namespace(&it.value)?;
            (known == prefix).then_some(uri)
        })
    }

    /// The values of a header of a namespace.
    pub fn get<'a>(&'a self, namespace: &'a str, name: &'a str) -> impl Iterator<Item = &'a Header> {
        self.headers.iter().filter(move |header| {
            let here = match &header.prefix {
                Some(prefix) => self.namespace(prefix),
                None => Some(CORE),
            };
            header.name == name && here == Some(namespace)
        })
    }

    /// What its sender requires us to understand, and we do not (RFC 3862 §4.7): it must not be shown as if we did. `known` are pairs of
    /// namespace and name.
    pub fn not_understood(&self, known: &[(&str, &str)]) -> Vec<String> {
        let core = ["From", "To", "cc", "DateTime", "Subject", "NS", "Require"];
        self.get(CORE, "Require")
            .flat_map(|header| header.value.split(','))
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .filter(|name| match name.split_once('.') {
                Some((prefix, name)) => !known
                    .iter()
                    .any(|(namespace, known)| *known == name && self.namespace(prefix) == Some(namespace)),
                None => !core.contains(name),
            })
            .map(str::to_owned)
            .collect()
    }
}

impl Header {
    fn is_core(&self, name: &str) -> bool {
        self.prefix.is_none() && self.name == name
    }

    /// `Name ":" *( ";" Parameter ) SP value`.
    fn parse(line: &str) -> Result<Self, CpimError> {
        let (full, rest) = line.split_once(':').ok_or(CpimError::Header)?;
        let (prefix, name) = match full.split_once('.') {
            Some((prefix, name)) => (Some(prefix), name),
            None => (None, full),
        };
        let good = |name: &str| !name.is_empty() && name.bytes().all(is_name);
        if !good(name) || !prefix.is_none_or(good) {
            return Err(CpimError::Header);
        }
        let mut parameters = Vec::new();
        let mut rest = rest;
        while let Some(parameter) = rest.strip_prefix(';') {
            let (key, behind) =
                parameter.split_once('=').filter(|(key, _)| good(key)).ok_or(CpimError::Header)?;
            let (value, behind) = match behind.strip_prefix('"') {
                Some(quoted) => {
                    let end = end_of_string(quoted).ok_or(CpimError::Header)?;
                    let (value, behind) = quoted.split_at_checked(end).ok_or(CpimError::Header)?;
                    (unescape(value), behind.strip_prefix('"').ok_or(CpimError::Header)?)
                }
                None => {
                    let end = behind.find([';', ' ']).unwrap_or(behind.len());
                    let (value, behind) = behind.split_at_checked(end).ok_or(CpimError::Header)?;
                    (Some(value.to_owned()).filter(|it| !it.is_empty() && it.chars().all(is_token)), behind)
                }
            };
            parameters.push((key.to_owned(), value.ok_or(CpimError::Header)?));
            rest = behind;
        }
        let value = rest.strip_prefix(' ').ok_or(CpimError::Header)?;
        Ok(Self {
            prefix: prefix.map(str::to_owned),
            name: name.to_owned(),
            parameters,
            value: value.to_owned(),
        })
    }
}

/// The headers as far as they are read.
#[derive(Default)]
struct Reading {
    from: Option<Address>,
    to: Vec<Address>,
    cc: Vec<Address>,
    date_time: Option<String>,
    headers: Vec<Header>,
    count: usize,
}

impl Reading {
    fn line(&mut self, line: &str) -> Result<(), CpimError> {
        self.count += 1;
        if self.count > LINES {
            return Err(CpimError::Unended);
        }
        let header = Header::parse(line)?;
        let address = || Address::parse(&header.value).ok_or(CpimError::Address);
        match (&header.prefix, header.name.as_str()) {
            (None, "From") => match self.from.replace(address()?) {
                Some(_) => return Err(CpimError::From),
                None => return Ok(()),
            },
            (None, "To") => self.to.push(address()?),
            (None, "cc") => self.cc.push(address()?),
            (None, "DateTime") => {
                if !is_date_time(&header.value) {
                    return Err(CpimError::DateTime);
                }
                if self.date_time.replace(header.value).is_some() {
                    return Err(CpimError::Repeated);
                }
            }
            (None, "NS") => {
                namespace(&header.value).ok_or(CpimError::Namespace)?;
                self.headers.push(header);
            }
            // One for each language (RFC 3862 §4.5).
            (None, "Subject") => {
                let same = |it: &Header| it.is_core("Subject") && it.parameters == header.parameters;
                if self.headers.iter().any(same) {
                    return Err(CpimError::Repeated);
                }
                self.headers.push(header);
            }
            (Some(prefix), _) => {
                let defined = |it: &Header| {
                    it.is_core("NS") && namespace(&it.value).is_some_and(|(known, _)| known == prefix)
                };
                if !self.headers.iter().any(defined) {
                    return Err(CpimError::Namespace);
                }
                self.headers.push(header);
            }
            (None, _) => self.headers.push(header),
        }
        Ok(())
    }
}

/// The lines from `from` to the next empty one, and where what follows begins.
fn block(message: &Bytes, from: usize) -> Result<(&str, usize), CpimError> {
    let rest = message.get(from..).ok_or(CpimError::Unended)?;
    let length = match rest {
        [b'\r', b'\n', ..] => 0,
        _ => memchr::memmem::find(rest, b"\r\n\r\n").map(|at| at + 2).ok_or(CpimError::Unended)?,
    };
    if length > HEADERS {
        return Err(CpimError::Unended);
    }
    let lines = rest.get(..length).and_then(|it| std::str::from_utf8(it).ok()).ok_or(CpimError::Text)?;
    let control = lines.split("\r\n").any(|line| line.chars().any(|c| c.is_control() && c != '\t'));
    if control { Err(CpimError::Text) } else { Ok((lines, from + length + 2)) }
}

/// MIME lines, folded ones joined (RFC 2045 takes them from RFC 822).
fn unfolded(lines: &str) -> Result<Vec<String>, CpimError> {
    let mut joined: Vec<String> = Vec::new();
    for line in lines.split("\r\n").filter(|line| !line.is_empty()) {
        match line.strip_prefix([' ', '\t']) {
            Some(more) => {
                let last = joined.last_mut().ok_or(CpimError::Header)?;
                last.push(' ');
                last.push_str(more.trim_start_matches([' ', '\t']));
            }
            None => joined.push(line.to_owned()),
        }
    }
    Ok(joined)
}

/// `[ prefix SP ] "<" URI ">"`.
fn namespace(value: &str) -> Option<(&str, &str)> {
    let at = value.find('<')?;
    let (prefix, uri) = value.split_at_checked(at)?;
    let prefix = prefix.trim_end_matches(' ');
    let uri = uri.strip_prefix('<')?.strip_suffix('>')?;
    (prefix.bytes().all(is_name) && is_uri(uri)).then_some((prefix, uri))
}

/// An absolute URI, as far as it matters: a scheme, and no character that would end it early.
fn is_uri(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        && !rest.is_empty()
        && rest.bytes().all(|byte| byte > b' ' && byte != 0x7F && !b"<>\"\\".contains(&byte))
}

/// `YYYY-MM-DDThh:mm:ss[.frac](Z|±hh:mm)` (RFC 3339).
fn is_date_time(text: &str) -> bool {
    let digits = |range: std::ops::Range<usize>, least: u32, most: u32| {
        text.get(range)
            .filter(|it| it.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|it| it.parse().ok())
            .is_some_and(|number: u32| (least..=most).contains(&number))
    };
    let marks = [(4, '-'), (7, '-'), (10, 'T'), (13, ':'), (16, ':')];
    let marked = marks.iter().all(|(at, mark)| text.get(*at..at + 1) == Some(mark.encode_utf8(&mut [0; 4])));
    let fields = digits(0..4, 0, 9_999)
        && digits(5..7, 1, 12)
        && digits(8..10, 1, 31)
        && digits(11..13, 0, 23)
        && digits(14..16, 0, 59)
        && digits(17..19, 0, 60);
    let mut zone = text.get(19..).unwrap_or_default();
    if let Some(fraction) = zone.strip_prefix('.') {
        let rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
        if rest.len() == fraction.len() {
            return false;
        }
        zone = rest;
    }
    let offset = || {
        let hours = zone.get(1..3).and_then(|it| it.parse::<u8>().ok()).is_some_and(|hours| hours < 24);
        let minutes = zone.get(4..6).and_then(|it| it.parse::<u8>().ok()).is_some_and(|minutes| minutes < 60);
        zone.len() == 6 && zone.starts_with(['+', '-']) && zone.get(3..4) == Some(":") && hours && minutes
    };
    marked && fields && (zone == "Z" || offset())
}

/// `NAMECHAR`.
fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-^_`|~".contains(&byte)
}

/// `TOKENCHAR`.
pub(crate) fn is_token(c: char) -> bool {
    c == '.' || !c.is_ascii() || u8::try_from(c).is_ok_and(is_name)
}

/// Where the quote stands that ends a string.
fn end_of_string(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(at),
            _ => {}
        }
    }
    None
}

/// Undoes the escapes of RFC 3862 §2.3.1. None if one is none.
fn unescape(text: &str) -> Option<String> {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        plain.push(match chars.next()? {
            'u' => {
                let mut code = 0;
                for _ in 0..4 {
                    code = code * 16 + chars.next()?.to_digit(16)?;
                }
                char::from_u32(code)?
            }
            'b' => '\u{8}',
            't' => '\t',
            'n' => '\n',
            'r' => '\r',
            same @ ('"' | '\'' | '\\') => same,
            _ => return None,
        });
    }
    Some(plain)
}

/// A string's inside.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\u{8}' => f.write_str("\\b")?,
                '\t' => f.write_str("\\t")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                c => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}
