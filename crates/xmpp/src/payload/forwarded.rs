//! Stanza forwarding (XEP-0297).

use super::delay::Delay;
use crate::ns;
use crate::stanza::Stanza;
use crate::xml::{Builder, ElementRef};

/// A forwarded stanza as received.
#[derive(Clone, Debug)]
pub struct Forwarded<'a> {
    /// When it was first sent.
    pub delay: Option<Delay>,
    /// The stanza.
    pub stanza: ElementRef<'a>,
}

impl<'a> Forwarded<'a> {
    /// Reads a `<forwarded/>`; `None` if it is another element or holds no stanza.
    pub fn parse(element: ElementRef<'a>) -> Option<Self> {
        if !element.is("forwarded", ns::FORWARD) {
            return None;
        }
        let is_stanza = |child: &ElementRef<'_>| {
            ns::is_content(child.ns()) && matches!(child.name(), "message" | "presence" | "iq")
        };
        let stanza = element.children().find(is_stanza)?;
        Some(Self { delay: element.children().find_map(Delay::parse), stanza })
    }
}

/// Forwards a stanza as it stands, edits included; it says that it is in [`ns::CLIENT`] (XEP-0297 §3).
pub fn wrap(stanza: &Stanza, delay: Option<&Delay>) -> Builder {
    Builder::new("forwarded", ns::FORWARD).child_opt(delay.map(Delay::builder)).stanza(stanza)
}
