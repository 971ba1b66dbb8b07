//! Instant Message Disposition Notification (RFC 5438): the CPIM headers that ask for one, and the payload that is one.
//!
//! Payloads are read by the XML parser of `xmpp`, the only one that the server has (decision 0017): no document type, no entity but XML's own five, no
//! comment and no processing instruction, and bounds on all that could grow. Nothing here sends anything: what is to be told, and whether, is for the host.

use std::collections::VecDeque;
use std::fmt::Write as _;

use bytes::Bytes;
use nuncio_xmpp::xml::{Content, Element, ElementRef, XmlError};

use crate::cpim::{Address, CORE, Cpim, Header, is_token};
use crate::media::essence;

/// The namespace of the headers.
pub const NAMESPACE: &str = "urn:ietf:params:imdn";
/// The media type of a notification.
pub const CONTENT_TYPE: &str = "message/imdn+xml";
/// The longest payload that is read, in bytes.
pub const LONGEST: usize = 16_384;
/// The namespace of the payload.
const PAYLOAD: &str = "urn:ietf:params:xml:ns:imdn";
/// What says that the content of a CPIM message is a notification.
const DISPOSITION: &str = "notification";

/// Why a payload is no notification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImdnError {
    /// It is longer than [`LONGEST`].
    #[error("the notification is longer than {LONGEST} bytes")]
    Long,
    /// It is no XML, or has in it what is not read here.
    #[error("the notification is not well-formed: {0}")]
    Xml(#[from] XmlError),
    /// The root is something else.
    #[error("the root is no imdn")]
    Root,
    /// An element stands where the schema has none.
    #[error("an element stands where it does not belong, or twice")]
    Element,
    /// A text stands where the schema has none, or has a control character in it.
    #[error("a text stands where it does not belong, or is none")]
    Text,
    /// Which message it is about, when that was sent, or what became of it does not stand there.
    #[error("an element is missing")]
    Missing,
    /// What became of the message is none of what the RFC has.
    #[error("the status is unknown")]
    Status,
}

/// What a sender may ask to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// `positive-delivery`.
    PositiveDelivery,
    /// `negative-delivery`.
    NegativeDelivery,
    /// `processing`.
    Processing,
    /// `display`.
    Display,
}

impl Wanted {
    const ALL: [Self; 4] = [Self::PositiveDelivery, Self::NegativeDelivery, Self::Processing, Self::Display];

    const fn kind(self) -> Kind {
        match self {
            Self::PositiveDelivery | Self::NegativeDelivery => Kind::Delivery,
            Self::Processing => Kind::Processing,
            Self::Display => Kind::Display,
        }
    }

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PositiveDelivery => "positive-delivery",
            Self::NegativeDelivery => "negative-delivery",
            Self::Processing => "processing",
            Self::Display => "display",
        }
    }
}

/// What a message asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `imdn.Message-ID`, which a notification names.
    pub message_id: String,
    /// `imdn.Disposition-Notification`.
    pub wanted: Vec<Wanted>,
}

impl Request {
    /// Reads the headers of a message. None if it has no `imdn.Message-ID` that is a token (§10); what is unknown of the rest is ignored.
    pub fn of(message: &Cpim) -> Option<Self> {
        let message_id = message.get(NAMESPACE, "Message-ID").next()?.value.clone();
        if message_id.is_empty() || !message_id.chars().all(is_token) {
            return None;
        }
        let words: Vec<_> = message
            .get(NAMESPACE, "Disposition-Notification")
            .flat_map(|header| header.value.split(','))
            // Each may have parameters.
            .map(|word| word.split(';').next().unwrap_or_default().trim())
            .collect();
        let wanted = Wanted::ALL.into_iter().filter(|wanted| words.contains(&wanted.as_str())).collect();
        Some(Self { message_id, wanted })
    }

    /// The headers that ask for it, the namespace first.
    pub fn headers(&self) -> Vec<Header> {
        let words: Vec<_> = self.wanted.iter().map(|wanted| wanted.as_str()).collect();
        let mut headers = vec![
            header(None, "NS", format!("imdn <{NAMESPACE}>")),
            header(Some("imdn"), "Message-ID", self.message_id.clone()),
        ];
        if !words.is_empty() {
            headers.push(header(Some("imdn"), "Disposition-Notification", words.join(", ")));
        }
        headers
    }

    fn wants(&self, disposition: Disposition) -> bool {
        self.wanted.iter().any(|wanted| disposition.answers(*wanted))
    }
}

fn header(prefix: Option<&str>, name: &str, value: String) -> Header {
    Header { prefix: prefix.map(str::to_owned), name: name.to_owned(), parameters: Vec::new(), value }
}

/// What notifications are about. There is one of each at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Delivery,
    Processing,
    Display,
}

/// What became of a message (RFC 5438 §11.1.6, §11.1.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// It was delivered.
    Delivered,
    /// It was not.
    DeliveryFailed,
    /// Delivery is forbidden to be told about.
    DeliveryForbidden,
    /// Delivery went wrong.
    DeliveryError,
    /// It was shown.
    Displayed,
    /// Whether it was shown is not told.
    DisplayForbidden,
    /// Showing it went wrong.
    DisplayError,
    /// It was processed.
    Processed,
    /// It was stored.
    Stored,
    /// Processing is not told about.
    ProcessingForbidden,
    /// Processing went wrong.
    ProcessingError,
}

impl Disposition {
    const ALL: [Self; 11] = [
        Self::Delivered,
        Self::DeliveryFailed,
        Self::DeliveryForbidden,
        Self::DeliveryError,
        Self::Displayed,
        Self::DisplayForbidden,
        Self::DisplayError,
        Self::Processed,
        Self::Stored,
        Self::ProcessingForbidden,
        Self::ProcessingError,
    ];

    const fn kind(self) -> Kind {
        match self {
            Self::Delivered | Self::DeliveryFailed | Self::DeliveryForbidden | Self::DeliveryError => {
                Kind::Delivery
            }
            Self::Displayed | Self::DisplayForbidden | Self::DisplayError => Kind::Display,
            Self::Processed | Self::Stored | Self::ProcessingForbidden | Self::ProcessingError => {
                Kind::Processing
            }
        }
    }

    /// Whether this is told to whoever wanted that.
    fn answers(self, wanted: Wanted) -> bool {
        match (self, wanted) {
            (Self::Delivered, wanted) => wanted == Wanted::PositiveDelivery,
            (Self::DeliveryFailed, wanted) => wanted == Wanted::NegativeDelivery,
            (other, wanted) => other.kind() == wanted.kind(),
        }
    }

    /// In a word, as in the payload: `delivered`, `failed`, `displayed` and so on.
    pub const fn as_str(self) -> &'static str {
        self.elements().1
    }

    const fn elements(self) -> (&'static str, &'static str) {
        match self {
            Self::Delivered => ("delivery-notification", "delivered"),
            Self::DeliveryFailed => ("delivery-notification", "failed"),
            Self::DeliveryForbidden => ("delivery-notification", "forbidden"),
            Self::DeliveryError => ("delivery-notification", "error"),
            Self::Displayed => ("display-notification", "displayed"),
            Self::DisplayForbidden => ("display-notification", "forbidden"),
            Self::DisplayError => ("display-notification", "error"),
            Self::Processed => ("processing-notification", "processed"),
            Self::Stored => ("processing-notification", "stored"),
            Self::ProcessingForbidden => ("processing-notification", "forbidden"),
            Self::ProcessingError => ("processing-notification", "error"),
        }
    }
}

/// A notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// The `imdn.Message-ID` of the message.
    pub message_id: String,
    /// The DateTime of the message, as it was (RFC 3339).
    pub date_time: String,
    /// To whom it was delivered.
    pub recipient: Option<String>,
    /// To whom it was addressed, if that is someone else.
    pub original_recipient: Option<String>,
    /// One of its subjects, for people.
    pub subject: Option<String>,
    /// What became of it.
    pub disposition: Disposition,
}

impl Notification {
    /// What its sender is to be told of a message (RFC 5438 §7.2.1, §11.1). None if it does not want to know, or is a notification itself: of those there
    /// are none (§7.2.1).
    pub fn about(message: &Cpim, disposition: Disposition) -> Option<Self> {
        if essence(&message.content_type).as_deref() == Some(CONTENT_TYPE) {
            return None;
        }
        let request = Request::of(message).filter(|request| request.wants(disposition))?;
        let original = message.get(NAMESPACE, "Original-To").next();
        let subject = message.get(CORE, "Subject").next();
        Some(Self {
            message_id: request.message_id,
            date_time: message.date_time.clone().unwrap_or_default(),
            recipient: message.to.first().map(|to| to.uri.clone()),
            original_recipient: original.and_then(|it| Address::parse(&it.value)).map(|it| it.uri),
            subject: subject.map(|subject| subject.value.clone()),
            disposition,
        })
    }

    /// The message that tells it, to whoever sent that other one (§7.2.1). `message_id` is its own: a token that was never used.
    pub fn message(&self, about: &Cpim, message_id: &str) -> Cpim {
        let from = about.to.first().unwrap_or(&about.from).clone();
        let content = Bytes::from(self.write());
        let mut message = Cpim::new(from, vec![about.from.clone()], CONTENT_TYPE.to_owned(), content);
        message.headers = Request { message_id: message_id.to_owned(), wanted: Vec::new() }.headers();
        let routes = about.get(NAMESPACE, "IMDN-Record-Route");
        message.headers.extend(routes.map(|it| header(Some("imdn"), "IMDN-Route", it.value.clone())));
        message.content_fields = vec![("Content-Disposition".to_owned(), DISPOSITION.to_owned())];
        message
    }

    /// The notification that a message is (§9). None if it is something else: an aggregate of a list server (§8.3) is.
    ///
    /// # Errors
    /// It says to be one and cannot be read.
    pub fn of(message: &Cpim) -> Option<Result<Self, ImdnError>> {
        let disposition = message.content_fields.iter().any(|(name, value)| {
            let word = value.split(';').next().unwrap_or_default().trim();
            name.eq_ignore_ascii_case("Content-Disposition") && word.eq_ignore_ascii_case(DISPOSITION)
        });
        let ours = disposition && essence(&message.content_type).as_deref() == Some(CONTENT_TYPE);
        ours.then(|| Self::read(&message.content))
    }

    /// Reads a payload (RFC 5438 §11). Extensions, which are of other namespaces, are passed over; everything else is as the schema says, but that the
    /// order of elements does not count. White space around values and in them counts as one space.
    ///
    /// # Errors
    /// See [`ImdnError`].
    pub fn read(payload: &[u8]) -> Result<Self, ImdnError> {
        if payload.len() > LONGEST {
            return Err(ImdnError::Long);
        }
        let root = Element::parse(Bytes::copy_from_slice(payload))?;
        if !root.is("imdn", PAYLOAD) {
            return Err(ImdnError::Root);
        }
        let (mut message_id, mut date_time) = (None, None);
        let (mut recipient, mut original_recipient, mut subject) = (None, None, None);
        let mut disposition = None;
        for child in elements(root.root())? {
            match child.name() {
                "message-id" => once(&mut message_id, text(child)?)?,
                "datetime" => once(&mut date_time, text(child)?)?,
                "recipient-uri" => once(&mut recipient, text(child)?)?,
                "original-recipient-uri" => once(&mut original_recipient, text(child)?)?,
                "subject" => once(&mut subject, text(child)?)?,
                _ => once(&mut disposition, status(child)?)?,
            }
        }
        Ok(Self {
            message_id: message_id.filter(|id: &String| !id.is_empty()).ok_or(ImdnError::Missing)?,
            date_time: date_time.ok_or(ImdnError::Missing)?,
            recipient,
            original_recipient,
            subject,
            disposition: disposition.ok_or(ImdnError::Missing)?,
        })
    }

    /// The payload (RFC 5438 §11). Characters that XML 1.0 does not have are left out.
    pub fn write(&self) -> String {
        let mut out = String::from(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<imdn xmlns=\"urn:ietf:params:xml:ns:imdn\">",
        );
        let mut element = |name: &str, value: &str| {
            // Writing into a string does not fail.
            let _always = write!(out, "<{name}>{}</{name}>", escaped(value));
        };
        element("message-id", &self.message_id);
        element("datetime", &self.date_time);
        if let Some(recipient) = &self.recipient {
            element("recipient-uri", recipient);
        }
        if let Some(original) = &self.original_recipient {
            element("original-recipient-uri", original);
        }
        if let Some(subject) = &self.subject {
            element("subject", subject);
        }
        let (kind, status) = self.disposition.elements();
        let _always = write!(out, "<{kind}><status><{status}/></status></{kind}></imdn>");
        out
    }
}

/// The elements of the RFC in an element that has nothing but elements.
fn elements(element: ElementRef<'_>) -> Result<Vec<ElementRef<'_>>, ImdnError> {
    let mut all = Vec::new();
    for content in element.content() {
        match content {
            Content::Text(text) if text.chars().all(is_space) => {}
            Content::Text(_) => return Err(ImdnError::Text),
            Content::Element(child) if child.ns() == PAYLOAD => all.push(child),
            Content::Element(child) if child.ns().is_empty() => return Err(ImdnError::Element),
            Content::Element(_) => {}
        }
    }
    Ok(all)
}

/// The text of an element that has nothing but text.
fn text(element: ElementRef<'_>) -> Result<String, ImdnError> {
    if element.children().next().is_some() {
        return Err(ImdnError::Element);
    }
    let text = element.text();
    let words: Vec<_> = text.split(is_space).filter(|word| !word.is_empty()).collect();
    let text = words.join(" ");
    if text.chars().any(char::is_control) { Err(ImdnError::Text) } else { Ok(text) }
}

const fn is_space(one: char) -> bool {
    matches!(one, ' ' | '\t' | '\n' | '\r')
}

/// What became of the message, by one of the three elements that say so.
fn status(kind: ElementRef<'_>) -> Result<Disposition, ImdnError> {
    let known = |name: &str| Disposition::ALL.iter().any(|it| it.elements().0 == name);
    if !known(kind.name()) {
        return Err(ImdnError::Element);
    }
    let mut found = None;
    for status in elements(kind)? {
        if status.name() != "status" {
            return Err(ImdnError::Element);
        }
        once(&mut found, status)?;
    }
    let mut told = None;
    for word in elements(found.ok_or(ImdnError::Missing)?)? {
        if word.content().next().is_some() {
            return Err(ImdnError::Element);
        }
        let wanted = (kind.name(), word.name());
        let disposition = Disposition::ALL.into_iter().find(|it| it.elements() == wanted);
        once(&mut told, disposition.ok_or(ImdnError::Status)?)?;
    }
    told.ok_or(ImdnError::Status)
}

fn once<T>(place: &mut Option<T>, value: T) -> Result<(), ImdnError> {
    if place.replace(value).is_some() { Err(ImdnError::Element) } else { Ok(()) }
}

/// Messages whose senders want to be told what becomes of them, and were not told of all yet: by these a notification is matched to what it speaks of, and
/// one that nobody has asked for is known as such (RFC 5438 §14.1). Beyond its bound the oldest are forgotten.
#[derive(Debug)]
pub struct Asked<T> {
    most: usize,
    waiting: VecDeque<(Request, T)>,
}

impl<T: Clone> Asked<T> {
    /// None so far, and never more than `most`.
    pub const fn new(most: usize) -> Self {
        Self { most, waiting: VecDeque::new() }
    }

    /// A message was sent that asks for this. `message` is what the host calls it.
    pub fn ask(&mut self, request: Request, message: T) {
        if request.wanted.is_empty() {
            return;
        }
        while self.waiting.len() >= self.most.max(1) {
            self.waiting.pop_front();
        }
        self.waiting.push_back((request, message));
    }

    /// Which message this speaks of, if that was asked. What is told once is not taken twice: there is one notification of each kind (§7.2.1).
    pub fn told(&mut self, notification: &Notification) -> Option<T> {
        let at = self.waiting.iter().position(|(request, _)| {
            request.message_id == notification.message_id && request.wants(notification.disposition)
        })?;
        let (request, message) = self.waiting.get_mut(at)?;
        let message = message.clone();
        request.wanted.retain(|wanted| wanted.kind() != notification.disposition.kind());
        if request.wanted.is_empty() {
            self.waiting.remove(at);
        }
        Some(message)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\t' | '\n' | '\r' => out.push(' '),
            c if c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}') => {}
            c => out.push(c),
        }
    }
    out
}
