//! Instant Message Disposition Notification (RFC 5438): the CPIM headers that ask for one, and the payload that is one.
//!
//! Payloads are written here and read by whoever has an XML parser: this crate has none, and the server has one only.

use std::fmt::Write as _;

use crate::cpim::{Cpim, Header};

/// The namespace of the headers.
pub const NAMESPACE: &str = "urn:ietf:params:imdn";
/// The media type of a notification.
pub const CONTENT_TYPE: &str = "message/imdn+xml";

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
    /// Reads the headers of a message. None if it has no `imdn.Message-ID`; what is unknown of the rest is ignored.
    pub fn of(message: &Cpim) -> Option<Self> {
        let message_id = message.get(NAMESPACE, "Message-ID").next()?.value.clone();
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
        let header = |prefix: Option<&str>, name: &str, value: String| Header {
            prefix: prefix.map(str::to_owned),
            name: name.to_owned(),
            parameters: Vec::new(),
            value,
        };
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
    /// What became of it.
    pub disposition: Disposition,
}

impl Notification {
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
        let (kind, status) = self.disposition.elements();
        let _always = write!(out, "<{kind}><status><{status}/></status></{kind}></imdn>");
        out
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
