//! A roster item, how a client asks for one (RFC 6121 §2.1.2, §2.3.3), and how it is stored.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use nuncio_xmpp::error::{Condition, ErrorType, StanzaError};
use nuncio_xmpp::jid::{BareJid, Jid, prepare_resource};
use nuncio_xmpp::ns;
use nuncio_xmpp::xml::{Builder, ElementRef};

use super::state::{State, Subscription};

/// The most octets of a handle.
pub const MAX_NAME: usize = 1023;
/// The most octets of a group's name.
pub const MAX_GROUP: usize = 1023;
/// The most groups of one item.
pub const MAX_GROUPS: usize = 64;

/// What an account knows of a contact: a roster item, or merely a request that waits for an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// The subscription state, with what is pending.
    pub state: State,
    /// Whether the contact's next request is granted unasked (RFC 6121 §3.4).
    pub approved: bool,
    /// Whether it is in the roster. One that is not stands for a request only and is never shown (RFC 6121 §3.1.3).
    pub listed: bool,
    /// The handle; empty for none.
    pub name: Box<str>,
    /// The groups, without doubles, in the order in which the client gave them.
    pub groups: Groups,
    /// The request that waits, as it arrived (RFC 6121 §3.1.3). Boxed, since most items have none and all are kept in memory.
    pub request: Option<Box<Bytes>>,
    /// The roster's version when the item was last changed in a way that clients see.
    pub(crate) version: u64,
}

/// The groups of an item: one word where there are none, which is most often so.
#[expect(
    clippy::box_collection,
    reason = "a boxed slice would take two words in each of the items without groups"
)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups(Option<Box<Vec<Box<str>>>>);

impl std::ops::Deref for Groups {
    type Target = [Box<str>];

    fn deref(&self) -> &[Box<str>] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }
}

impl FromIterator<Box<str>> for Groups {
    fn from_iter<I: IntoIterator<Item = Box<str>>>(groups: I) -> Self {
        let groups = Vec::from_iter(groups);
        Self((!groups.is_empty()).then(|| Box::new(groups)))
    }
}

impl Item {
    /// Who is subscribed to whom.
    pub const fn subscription(&self) -> Subscription {
        self.state.subscription()
    }

    /// `<item/>` as clients see it.
    pub(crate) fn builder(&self, contact: &BareJid) -> Builder {
        let mut item = Builder::new("item", ns::ROSTER)
            .attr("jid", contact)
            .attr("subscription", self.subscription().as_str());
        if !self.name.is_empty() {
            item = item.attr("name", &*self.name);
        }
        if self.state.pending_out() {
            item = item.attr("ask", "subscribe");
        }
        if self.approved {
            item = item.attr("approved", "true");
        }
        item.children(self.groups.iter().map(|group| Builder::new("group", ns::ROSTER).text(group)))
    }

    /// What clients see of it, to find out whether a change is one for them.
    pub(crate) const fn shown(&self) -> (bool, Subscription, bool, bool) {
        (self.listed, self.subscription(), self.state.pending_out(), self.approved)
    }

    /// Whether anything would be lost with it.
    pub(crate) fn is_empty(&self) -> bool {
        !self.listed && self.state == State::None && !self.approved
    }
}

/// `<item/>` of a removed item.
pub(crate) fn removed(contact: &BareJid) -> Builder {
    Builder::new("item", ns::ROSTER).attr("jid", contact).attr("subscription", "remove")
}

/// What a roster set asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// The item is to have this handle and these groups.
    Update { contact: BareJid, name: Box<str>, groups: Groups },
    /// The item is to go.
    Remove { contact: BareJid },
}

impl Wish {
    /// Reads the `<query/>` of a roster set (RFC 6121 §2.1.5). The attributes `ask`, `approved` and every `subscription` but `remove` are
    /// the server's and are not looked at.
    ///
    /// # Errors
    /// RFC 6121 §2.3.3: `bad-request` for another number of items than one, an item without `jid` and double groups; `jid-malformed` for
    /// a `jid` that is none; `not-allowed` for the account itself; `not-acceptable` for names and groups beyond the limits and empty groups.
    pub(crate) fn read(query: ElementRef<'_>, own: &BareJid) -> Result<Self, StanzaError> {
        let bad = |why: &str| StanzaError::new(Condition::BadRequest).with_text(why);
        let over = |why: &str| {
            StanzaError::new(Condition::NotAcceptable).with_type(ErrorType::Modify).with_text(why)
        };
        let mut items = query.children().filter(|child| child.is("item", ns::ROSTER));
        let (Some(item), None) = (items.next(), items.next()) else {
            return Err(bad("a roster set has exactly one item"));
        };
        let jid = item.attr("jid").ok_or_else(|| bad("the item has no jid"))?;
        let jid = Jid::new(&jid).map_err(|why| {
            StanzaError::new(Condition::JidMalformed).with_type(ErrorType::Modify).with_text(why.to_string())
        })?;
        if jid.is_full() {
            return Err(bad("an item's jid has no resource"));
        }
        let contact = jid.bare();
        if item.attr("subscription").is_some_and(|value| value == "remove") {
            return Ok(Self::Remove { contact });
        }
        if contact == *own {
            let error = StanzaError::new(Condition::NotAllowed).with_type(ErrorType::Cancel);
            return Err(error.with_text("an account is no item of its own roster"));
        }
        let name = item.attr("name").unwrap_or_default();
        if name.len() > MAX_NAME {
            return Err(over("the name is too long"));
        }
        let mut groups: Vec<Box<str>> = Vec::new();
        let mut prepared: Vec<String> = Vec::new();
        for group in item.children().filter(|child| child.is("group", ns::ROSTER)) {
            let group = group.text();
            if group.is_empty() {
                return Err(over("a group has no name"));
            }
            if group.len() > MAX_GROUP {
                return Err(over("the name of a group is too long"));
            }
            if groups.len() == MAX_GROUPS {
                return Err(over("the item is in too many groups"));
            }
            // Compared as resourceparts, which RFC 6121 §2.3.3 suggests; what cannot be one is compared as it is.
            let key = prepare_resource(&group).unwrap_or_else(|_| group.clone().into_owned());
            if prepared.contains(&key) {
                return Err(bad("a group is given twice"));
            }
            prepared.push(key);
            groups.push(group.into());
        }
        Ok(Self::Update { contact, name: name.into(), groups: groups.into_iter().collect() })
    }
}

// ---- storage ---------------------------------------------------------------------------------------------------------------

const FORMAT: u8 = 1;
const APPROVED: u8 = 0x10;
const LISTED: u8 = 0x20;
const REQUEST: u8 = 0x80;

impl Item {
    /// Format 1: the number of the format; flags in the high and the state in the low half of an octet; the version in eight octets; the handle,
    /// the number of groups (one octet) and the groups, each text after its length in two octets; then the request, if there is one, up to the
    /// end. Numbers are big-endian.
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(FORMAT);
        let mut flags = self.state.number();
        for (is, flag) in
            [(self.approved, APPROVED), (self.listed, LISTED), (self.request.is_some(), REQUEST)]
        {
            if is {
                flags |= flag;
            }
        }
        out.put_u8(flags);
        out.put_u64(self.version);
        put_text(&mut out, &self.name);
        let groups = self.groups.iter().take(usize::from(u8::MAX));
        out.put_u8(u8::try_from(groups.len()).unwrap_or(u8::MAX));
        groups.for_each(|group| put_text(&mut out, group));
        if let Some(request) = &self.request {
            out.put_slice(request);
        }
        out.freeze()
    }

    /// Reads a row; `None` if it is none that this program has written.
    pub(crate) fn decode(mut row: Bytes) -> Option<Self> {
        if row.try_get_u8().ok()? != FORMAT {
            return None;
        }
        let flags = row.try_get_u8().ok()?;
        let version = row.try_get_u64().ok()?;
        let state = State::from_number(flags & 0x0f)?;
        let name = get_text(&mut row)?;
        let count = row.try_get_u8().ok()?;
        let groups = (0..count).map(|_| get_text(&mut row)).collect::<Option<Groups>>()?;
        let request = (flags & REQUEST != 0).then(|| Box::new(row.split_to(row.len())));
        let item = Self {
            state,
            approved: flags & APPROVED != 0,
            listed: flags & LISTED != 0,
            name,
            groups,
            request,
            version,
        };
        row.is_empty().then_some(item)
    }
}

/// Writes a text after its length. The limits keep every text below 64 KiB; what is longer would be cut between two characters.
fn put_text(out: &mut BytesMut, text: &str) {
    let text = &text[..text.floor_char_boundary(usize::from(u16::MAX))];
    out.put_u16(u16::try_from(text.len()).unwrap_or(u16::MAX));
    out.put_slice(text.as_bytes());
}

fn get_text(row: &mut Bytes) -> Option<Box<str>> {
    let length = usize::from(row.try_get_u16().ok()?);
    if row.len() < length {
        return None;
    }
    let text = row.split_to(length);
    std::str::from_utf8(&text).ok().map(Into::into)
}

#[cfg(test)]
mod tests;
