//! What a reply says about a name: its aliases, its records, and how long that holds.

use std::net::IpAddr;

use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::name::ParsedName;
use domain::base::{Message, ParsedRecord, Record, ToName, Ttl, UnknownRecordData};
use domain::rdata::{A, Aaaa, Cname, Rrsig, Soa, Srv as SrvData};
use nuncio_dna::Tlsa;

use super::exchange::rtype;
use super::{Data, DnsError, Kind, Name, Srv};

/// Aliases that are followed for one question, over all replies.
const MOST_ALIASES: usize = 8;

/// Records of one answer that are kept.
const MOST_RECORDS: usize = 128;

/// TTLs have 31 bits; more is none (RFC 2181 §8).
const MOST_SECONDS: u32 = i32::MAX as u32;

/// That there is nothing is not believed for longer (RFC 2308 §5 suggests one to three hours).
const LONGEST_NOTHING: u32 = 3 * 60 * 60;

/// An alias that was followed.
#[derive(Clone, Debug)]
pub(super) struct Hop {
    pub(super) owner: Name,
    pub(super) target: Name,
    /// How many seconds it holds.
    pub(super) ttl: u32,
}

/// What a reply says.
#[derive(Debug)]
pub(super) enum Said {
    /// All about the question.
    All {
        /// Whose records these are, after all aliases.
        name: Name,
        records: Vec<Data>,
        exists: bool,
        /// How many seconds it holds.
        ttl: u32,
    },
    /// Aliases, and nothing about the last one's target.
    Alias { target: Name },
}

/// Reads a reply, and adds to `hops` the aliases in it.
pub(super) fn read(
    message: &Message<Vec<u8>>,
    asked: &Name,
    kind: Kind,
    hops: &mut Vec<Hop>,
) -> Result<Said, DnsError> {
    let mut name = asked.clone();
    loop {
        let here = about(message, &name, kind)?;
        if !here.records.is_empty() {
            return Ok(Said::All { name, records: here.records, exists: true, ttl: here.ttl });
        }
        let Some(target) = here.alias else { break };
        follow(hops, name, target.clone(), here.ttl)?;
        name = target;
    }
    let exists = message.header().rcode() != Rcode::NXDOMAIN;
    let nothing = nothing_holds(message)?;
    if exists && nothing.is_none() && name != *asked {
        return Ok(Said::Alias { target: name });
    }
    // RFC 2308 §5: without an SOA record it is not remembered.
    Ok(Said::All { name, records: Vec::new(), exists, ttl: nothing.unwrap_or(0) })
}

/// Reads a reply that was asked for the alias itself: where it leads. None if the name is no alias after all.
pub(super) fn alias(
    message: &Message<Vec<u8>>,
    asked: &Name,
    hops: &mut Vec<Hop>,
) -> Result<Option<Name>, DnsError> {
    // No record is of both types, so nothing but the alias is found.
    let here = about(message, asked, Kind::A)?;
    let Some(target) = here.alias else { return Ok(None) };
    follow(hops, asked.clone(), target.clone(), here.ttl)?;
    Ok(Some(target))
}

fn follow(hops: &mut Vec<Hop>, owner: Name, target: Name, ttl: u32) -> Result<(), DnsError> {
    if hops.len() >= MOST_ALIASES {
        return Err(DnsError::Aliases);
    }
    hops.push(Hop { owner, target, ttl });
    Ok(())
}

/// How many seconds are left of the signature in a reply that ends first, at this time in seconds since 1970; none if nothing is signed.
pub(super) fn signed_for(message: &Message<Vec<u8>>, now: u64) -> Result<Option<u32>, DnsError> {
    let mut least = None;
    for section in [message.answer().map_err(broken)?, message.authority().map_err(broken)?] {
        for record in section {
            let record = record.map_err(broken)?;
            if let Some(signature) = record.to_record::<Rrsig<_, ParsedName<_>>>().map_err(broken)? {
                let end = u64::from(signature.data().expiration().into_int());
                // Serial arithmetic of 32 bits (RFC 4034 §3.1.5): an end in the upper half has passed.
                let left = u32::try_from(end.wrapping_sub(now) & u64::from(u32::MAX)).unwrap_or(0);
                let left = if left > MOST_SECONDS { 0 } else { left };
                // Whoever is on the way can raise a TTL, but not the one that was signed (RFC 4035 §5.3.3).
                let left = left.min(seconds(signature.data().original_ttl()));
                least = Some(least.map_or(left, |least: u32| least.min(left)));
            }
        }
    }
    Ok(least)
}

/// What the answer section says about one name.
struct Here {
    records: Vec<Data>,
    alias: Option<Name>,
    ttl: u32,
}

fn about(message: &Message<Vec<u8>>, name: &Name, kind: Kind) -> Result<Here, DnsError> {
    let mut here = Here { records: Vec::new(), alias: None, ttl: MOST_SECONDS };
    for record in message.answer().map_err(broken)? {
        let record = record.map_err(broken)?;
        if record.class() != Class::IN || record.owner() != *name {
            continue;
        }
        if record.rtype() == rtype(kind) {
            if here.records.len() < MOST_RECORDS {
                here.records.extend(data(&record, kind)?);
            }
        } else if record.rtype() == Rtype::CNAME && here.alias.is_none() {
            let cname = record.to_record::<Cname<ParsedName<_>>>().map_err(broken)?;
            here.alias = cname.map(|cname| lower(cname.data().cname()));
        } else {
            continue;
        }
        here.ttl = here.ttl.min(seconds(record.ttl()));
    }
    Ok(here)
}

fn data(record: &ParsedRecord<'_, Vec<u8>>, kind: Kind) -> Result<Option<Data>, DnsError> {
    Ok(match kind {
        Kind::A => {
            let found = record.to_record::<A>().map_err(broken)?;
            found.map(|found| Data::Address(IpAddr::V4(found.data().addr())))
        }
        Kind::Aaaa => {
            let found = record.to_record::<Aaaa>().map_err(broken)?;
            found.map(|found| Data::Address(IpAddr::V6(found.data().addr())))
        }
        Kind::Srv => {
            let found = record.to_record::<SrvData<ParsedName<_>>>().map_err(broken)?;
            found.map(|found| {
                let srv = found.data();
                let target = text(&lower(srv.target()));
                Data::Srv(Srv { priority: srv.priority(), weight: srv.weight(), port: srv.port(), target })
            })
        }
        Kind::Tlsa => {
            let found = record.to_record::<UnknownRecordData<_>>().map_err(broken)?;
            let read = |found: Record<_, UnknownRecordData<&[u8]>>| Tlsa::from_rdata(found.data().data());
            found.map(read).transpose().map_err(broken)?.map(Data::Tlsa)
        }
    })
}

/// How long it holds that there is nothing: what the SOA record says (RFC 2308 §5).
fn nothing_holds(message: &Message<Vec<u8>>) -> Result<Option<u32>, DnsError> {
    for record in message.authority().map_err(broken)? {
        let record = record.map_err(broken)?;
        if let Some(soa) = record.to_record::<Soa<ParsedName<_>>>().map_err(broken)? {
            let seconds = seconds(record.ttl()).min(seconds(soa.data().minimum()));
            return Ok(Some(seconds.min(LONGEST_NOTHING)));
        }
    }
    Ok(None)
}

fn seconds(ttl: Ttl) -> u32 {
    let seconds = ttl.as_secs();
    if seconds > MOST_SECONDS { 0 } else { seconds }
}

fn lower<T: ToName>(name: &T) -> Name {
    let mut name = name.to_vec();
    name.make_canonical();
    name
}

/// A name as text: no dot at its end, but for the root.
pub(super) fn text(name: &Name) -> String {
    if name.is_root() { ".".to_owned() } else { name.to_string() }
}

fn broken<E>(_: E) -> DnsError {
    DnsError::Broken
}
