//! Delayed delivery (XEP-0203).

use super::datetime;
use crate::ns;
use crate::xml::{Builder, ElementRef};

/// `<delay/>`: when a stanza was first sent, and who held it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delay {
    /// Who held it back: a JID as written.
    pub from: Option<String>,
    /// When it was first sent, milliseconds since 1970-01-01T00:00:00Z.
    pub stamp: i64,
    /// Why, for a human being.
    pub reason: Option<String>,
}

impl Delay {
    /// Held back by `from` since `stamp`, milliseconds since 1970.
    pub fn new(from: impl Into<String>, stamp: i64) -> Self {
        Self { from: Some(from.into()), stamp, reason: None }
    }

    /// Reads a `<delay/>`; `None` if it is another element or has no valid stamp.
    pub fn parse(element: ElementRef<'_>) -> Option<Self> {
        if !element.is("delay", ns::DELAY) {
            return None;
        }
        let stamp = datetime::parse(&element.attr("stamp")?)?;
        let from = element.attr("from").map(std::borrow::Cow::into_owned);
        let reason = Some(element.text().into_owned()).filter(|reason| !reason.is_empty());
        Some(Self { from, stamp, reason })
    }

    /// Writes it.
    pub fn builder(&self) -> Builder {
        Builder::new("delay", ns::DELAY)
            .attr_opt("from", self.from.as_deref())
            .attr("stamp", datetime::format(self.stamp))
            .text(self.reason.as_deref().unwrap_or(""))
    }
}
