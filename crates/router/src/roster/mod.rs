//! The roster (RFC 6121 §2), its versions (§2.6, XEP-0237), and what is stored of it.
//!
//! An account's roster is in memory as a whole while its lane is. Rows of the table `roster` are keyed by the contact's address; keys that begin
//! with NUL, as no address does, are of removed items and of the roster itself. Every change that clients see raises the roster's version by one and stays with the item, and a removed item
//! leaves its version behind, so a client that comes back with an older version gets what has changed since and no more.

mod handler;
mod item;
mod state;

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use nuncio_store::{Batch, Fault, Look, Range, Store, Table};
use nuncio_xmpp::jid::BareJid;
use nuncio_xmpp::ns;
use nuncio_xmpp::stanza::{IqType, iq};
use nuncio_xmpp::xml::Builder;

use crate::facts::{RosterChanged, Subscription as SubscriptionChanged};
use crate::lane::Step;
use crate::router::Router;
use crate::session::SessionId;
pub(crate) use handler::plug;
use item::Wish;
pub use item::{Item, MAX_GROUP, MAX_GROUPS, MAX_NAME};
pub use state::{Event, Received, Sent, State, Subscription};

/// The name of the table.
const TABLE: &str = "roster";
/// The row that holds epoch and floor. No address begins with NUL.
const META: &[u8] = b"\0meta";
/// The row that holds when the account was last available, in milliseconds since 1970.
const LAST: &[u8] = b"\0last";
/// What stands before the address in the key of a removed item; the row holds the version.
const REMOVED: &[u8] = b"\0-";
/// How many removals are remembered. A client that missed more gets the whole roster.
const MAX_REMOVALS: usize = 256;

/// An account's roster in memory, with the requests that wait for an answer.
#[derive(Debug, Default)]
pub struct Roster {
    items: BTreeMap<BareJid, Item>,
    /// Removed items by the version that their removal made.
    removals: BTreeMap<u64, BareJid>,
    /// Tells the versions of this roster from those of an earlier account of the same address. 0 until the first change.
    epoch: u64,
    version: u64,
    /// Changes after this version are known.
    floor: u64,
    last: Option<Timestamp>,
}

/// A change that is to be stored.
type Write = (Bytes, Option<Bytes>);

/// What clients are to be told of a change.
#[derive(Debug, PartialEq, Eq)]
struct Push {
    version: u64,
    item: Builder,
}

impl Roster {
    /// Reads it from the store. A row that cannot be read is logged and left alone.
    ///
    /// # Errors
    /// The store failed.
    pub async fn load(store: &Store, of: &BareJid) -> Result<Self, Fault> {
        let table = Self::table(store);
        let rows = store.look(of.as_str(), move |look| Self::rows(look, &table)).await?;
        Ok(Self::from_rows(of, rows))
    }

    /// Where rosters are.
    pub(crate) fn table(store: &Store) -> Table {
        store.table(TABLE)
    }

    /// What is stored of it.
    pub(crate) fn rows(look: &Look<'_>, table: &Table) -> Result<Vec<(Bytes, Bytes)>, Fault> {
        look.range(table, &Range::prefix(b""), 1 << 20)
    }

    /// Likewise, of what was read.
    pub(crate) fn from_rows(of: &BareJid, rows: Vec<(Bytes, Bytes)>) -> Self {
        let mut roster = Self::default();
        for (key, row) in rows {
            if roster.take_row(&key, row).is_none() {
                tracing::error!(account = %of, key = %key.escape_ascii(), "a row of the roster cannot be read; it is left alone");
            }
        }
        roster
    }

    fn take_row(&mut self, key: &[u8], row: Bytes) -> Option<()> {
        match key {
            META => {
                let (epoch, floor) = (row.get(..8)?, row.get(8..16)?);
                self.epoch = u64::from_be_bytes(epoch.try_into().ok()?);
                self.floor = u64::from_be_bytes(floor.try_into().ok()?);
                self.version = self.version.max(self.floor);
            }
            LAST => {
                let time = i64::from_be_bytes(row.get(..8)?.try_into().ok()?);
                self.last = Some(Timestamp::from_millisecond(time).ok()?);
            }
            _ => {
                let removed = key.strip_prefix(REMOVED);
                let contact = BareJid::new(std::str::from_utf8(removed.unwrap_or(key)).ok()?).ok()?;
                let version = if removed.is_some() {
                    let version = u64::from_be_bytes(row.as_ref().try_into().ok()?);
                    self.removals.insert(version, contact);
                    version
                } else {
                    let item = Item::decode(row)?;
                    let version = item.version;
                    self.items.insert(contact, item);
                    version
                };
                self.version = self.version.max(version);
            }
        }
        Some(())
    }

    /// The item of a contact who is in the roster.
    pub fn get(&self, contact: &BareJid) -> Option<&Item> {
        self.items.get(contact).filter(|item| item.listed)
    }

    /// The contacts in the roster, by address.
    pub fn contacts(&self) -> impl Iterator<Item = (&BareJid, &Item)> {
        self.items.iter().filter(|(_, item)| item.listed)
    }

    /// Those who get the account's presence, by address.
    pub fn subscribers(&self) -> impl Iterator<Item = &BareJid> {
        self.items.iter().filter(|(_, item)| item.subscription().is_from()).map(|(contact, _)| contact)
    }

    /// Those whose presence the account gets, by address.
    pub fn subscriptions(&self) -> impl Iterator<Item = &BareJid> {
        self.items.iter().filter(|(_, item)| item.subscription().is_to()).map(|(contact, _)| contact)
    }

    /// Whether the account's presence goes to this contact: subscription `from` or `both` (RFC 6121 §3.1.1).
    pub fn shares_with(&self, contact: &BareJid) -> bool {
        self.items.get(contact).is_some_and(|item| item.subscription().is_from())
    }

    /// When the account was last available, if it ever was; of no meaning while it is.
    pub const fn last(&self) -> Option<Timestamp> {
        self.last
    }

    /// What is known of an address, in the roster or not: nothing for a stranger.
    pub fn known(&self, contact: &BareJid) -> Item {
        self.items.get(contact).cloned().unwrap_or_default()
    }

    /// Everyone of whom anything is known, by address.
    pub(crate) fn everyone(&self) -> impl Iterator<Item = (&BareJid, &Item)> {
        self.items.iter()
    }

    /// Items in the roster.
    pub(crate) fn len(&self) -> usize {
        self.contacts().count()
    }

    /// Requests that wait for an answer.
    pub(crate) fn requests(&self) -> impl Iterator<Item = &Bytes> {
        self.items.values().filter_map(|item| item.request.as_deref())
    }

    /// Forgets everything in memory, for an account that goes.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    // ---- versions ----------------------------------------------------------------------------------------------------------

    /// The current version as clients get it: opaque to them.
    pub(crate) fn ver(&self) -> String {
        self.ver_of(self.version)
    }

    fn ver_of(&self, version: u64) -> String {
        if version == 0 { "0".to_owned() } else { format!("{:x}-{version}", self.epoch) }
    }

    /// Which version a client means; `None` if none that changes are known since.
    fn version_of(&self, ver: &str) -> Option<u64> {
        let version = match ver.split_once('-') {
            None if ver == "0" => 0,
            None => return None,
            Some((epoch, version)) => {
                let epoch = u64::from_str_radix(epoch, 16).ok()?;
                version.parse().ok().filter(|_| epoch == self.epoch && self.epoch != 0)?
            }
        };
        (self.floor..=self.version).contains(&version).then_some(version)
    }

    /// What has changed since the version that a client has, in the order of the changes; `None` if it is to get everything: its version
    /// is not known, or the whole roster is the shorter answer (RFC 6121 §2.6.3).
    fn since(&self, ver: &str) -> Option<Vec<Push>> {
        let version = self.version_of(ver)?;
        let changed = self.contacts().filter(|(_, item)| item.version > version);
        let mut pushes: Vec<_> = changed
            .map(|(contact, item)| Push { version: item.version, item: item.builder(contact) })
            .chain(
                self.removals
                    .range(version + 1..)
                    .map(|(version, contact)| Push { version: *version, item: item::removed(contact) }),
            )
            .collect();
        if pushes.len() > self.len().max(1) {
            return None;
        }
        pushes.sort_by_key(|push| push.version);
        Some(pushes)
    }

    /// The whole roster (RFC 6121 §2.1.4).
    fn query(&self) -> Builder {
        let items = self.contacts().map(|(contact, item)| item.builder(contact));
        Builder::new("query", ns::ROSTER).attr("ver", self.ver()).children(items)
    }

    fn push(&self, push: &Push) -> Builder {
        Builder::new("query", ns::ROSTER).attr("ver", self.ver_of(push.version)).child(push.item.clone())
    }

    // ---- changes -----------------------------------------------------------------------------------------------------------

    /// Sets what is known of a contact. `always`: clients are told even if nothing has changed for them.
    fn set(
        &mut self,
        contact: &BareJid,
        mut item: Item,
        always: bool,
        epoch: impl FnOnce() -> u64,
    ) -> (Vec<Write>, Option<Push>) {
        let before = self.items.get(contact);
        if !always && (before == Some(&item) || before.is_none() && item.is_empty()) {
            return (Vec::new(), None);
        }
        let shown = before.is_some_and(|before| {
            before.shown() == item.shown() && before.name == item.name && before.groups == item.groups
        });
        let mut writes = Vec::new();
        let mut push = None;
        if item.listed && (always || !shown) {
            item.version = self.raise(epoch, &mut writes);
            push = Some(Push { version: item.version, item: item.builder(contact) });
            let again =
                self.removals.iter().find(|(_, removed)| *removed == contact).map(|(version, _)| *version);
            if let Some(again) = again {
                self.removals.remove(&again);
                writes.push((removed_key(contact), None));
            }
        }
        if item.is_empty() {
            writes.push((key(contact), None));
            self.items.remove(contact);
        } else {
            writes.push((key(contact), Some(item.encode())));
            self.items.insert(contact.clone(), item);
        }
        (writes, push)
    }

    /// Removes an item from the roster.
    fn remove(&mut self, contact: &BareJid, epoch: impl FnOnce() -> u64) -> (Vec<Write>, Option<Push>) {
        let mut writes = Vec::new();
        if self.items.remove(contact).is_none() {
            return (writes, None);
        }
        let version = self.raise(epoch, &mut writes);
        self.removals.insert(version, contact.clone());
        writes.push((key(contact), None));
        writes.push((removed_key(contact), Some(version.to_be_bytes().to_vec().into())));
        if self.removals.len() > MAX_REMOVALS
            && let Some((oldest, gone)) = self.removals.pop_first()
        {
            self.floor = oldest;
            writes.push((removed_key(&gone), None));
            writes.push(self.meta());
        }
        (writes, Some(Push { version, item: item::removed(contact) }))
    }

    fn raise(&mut self, epoch: impl FnOnce() -> u64, writes: &mut Vec<Write>) -> u64 {
        if self.epoch == 0 {
            self.epoch = epoch().max(1);
            writes.push(self.meta());
        }
        self.version += 1;
        self.version
    }

    fn meta(&self) -> Write {
        let row = [self.epoch.to_be_bytes(), self.floor.to_be_bytes()].concat();
        (Bytes::from_static(META), Some(row.into()))
    }
}

fn key(contact: &BareJid) -> Bytes {
    Bytes::copy_from_slice(contact.as_str().as_bytes())
}

fn removed_key(contact: &BareJid) -> Bytes {
    [REMOVED, contact.as_str().as_bytes()].concat().into()
}

/// A number that no earlier roster of the address had.
fn epoch(router: &Router) -> u64 {
    let mut raw = [0; 8];
    router.entropy().fill(&mut raw);
    u64::from_be_bytes(raw)
}

impl Step<'_> {
    fn roster_table(&self) -> Table {
        self.router.store().table(TABLE)
    }

    fn write_roster(&mut self, writes: Vec<Write>) {
        if writes.is_empty() {
            return;
        }
        let table = self.roster_table();
        let mut batch: Batch = self.router.store().batch();
        for (key, row) in writes {
            match row {
                Some(row) => batch.put(&table, self.account.jid.as_str(), &key, row),
                None => batch.delete(&table, self.account.jid.as_str(), &key),
            }
        }
        self.commit(batch);
    }

    /// Sets what is known of a contact, stores it, and pushes what clients see of it to the interested resources (RFC 6121 §2.1.6).
    /// `always`: also if they see no change, as after a roster set.
    pub(crate) fn set_item(&mut self, contact: &BareJid, item: Item, always: bool) {
        let before = self.account.roster.known(contact).subscription();
        let after = item.subscription();
        let router = self.router;
        let (writes, push) = self.account.roster.set(contact, item, always, || epoch(router));
        self.write_roster(writes);
        self.told(contact, push, false, before != after);
    }

    /// Removes an item that is in the roster, likewise. What the contact is told of it is the caller's.
    pub(crate) fn remove_item(&mut self, contact: &BareJid) {
        let router = self.router;
        let before = self.account.roster.known(contact).subscription();
        let (writes, push) = self.account.roster.remove(contact, || epoch(router));
        self.write_roster(writes);
        self.told(contact, push, true, before != Subscription::None);
    }

    fn told(&mut self, contact: &BareJid, push: Option<Push>, removed: bool, subscription: bool) {
        if let Some(push) = push {
            let interested: Vec<_> = self
                .account
                .sessions
                .iter()
                .filter(|state| state.interested)
                .map(|state| state.id())
                .collect();
            for session in interested {
                self.push_item(session, &push);
            }
            self.fact(&RosterChanged { contact: contact.clone(), removed });
        }
        if subscription {
            self.fact(&SubscriptionChanged { contact: contact.clone() });
        }
    }

    fn push_item(&mut self, to: SessionId, push: &Push) {
        let Some(state) = self.account.session(to) else { return };
        let push = iq(IqType::Set, &self.router.entropy().token())
            .from(self.account.jid.to_jid())
            .to(state.jid().clone())
            .child(self.account.roster.push(push))
            .build();
        self.deliver(to, &push);
    }

    /// Notes that the account has just ceased to be available.
    pub(crate) fn note_last(&mut self) {
        self.account.roster.last = Some(self.now);
        let time = self.now.as_millisecond().to_be_bytes().to_vec();
        self.write_roster(vec![(Bytes::from_static(LAST), Some(time.into()))]);
    }

    /// Does what a roster set asks for; the contact is told of what it loses by a removal (RFC 6121 §2.5.2).
    fn set_roster(&mut self, wish: Wish) -> Result<(), nuncio_xmpp::error::StanzaError> {
        use nuncio_xmpp::error::{Condition, ErrorType, StanzaError};
        match wish {
            Wish::Update { contact, name, groups } => {
                let before = self.account.roster.known(&contact);
                if !before.listed && self.account.roster.len() >= self.router.config().limits.roster_items {
                    let full = StanzaError::new(Condition::ResourceConstraint).with_type(ErrorType::Cancel);
                    return Err(full.with_text("the roster is full"));
                }
                self.set_item(&contact, Item { listed: true, name, groups, ..before }, true);
                Ok(())
            }
            Wish::Remove { contact } => {
                if self.account.roster.get(&contact).is_none() {
                    return Err(StanzaError::new(Condition::ItemNotFound).with_type(ErrorType::Modify));
                }
                crate::presence::part_from(self, &contact);
                self.remove_item(&contact);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
