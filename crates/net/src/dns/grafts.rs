//! Zones that are signed with ECDSA P-384 or Ed25519 only (RFC 6605, RFC 8080). The validator of `domain` can check their signatures, but at a delegation to one
//! it says that nothing can be checked. So what their parents say of their keys (DS), once it is proven itself, becomes one more trust anchor: below an anchor it
//! checks them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use domain::base::iana::{DigestAlgorithm, SecurityAlgorithm};
use domain::base::{Message, ToName as _};
use domain::rdata::Ds;
use parking_lot::Mutex;

use super::{Name, reply};

/// So many zones are kept; of more, the first to end goes.
const MOST: usize = 1_024;

/// What is known of one such zone.
struct Graft {
    /// What its parent says, as a reply.
    message: Message<Vec<u8>>,
    /// The same, as trust anchors.
    text: String,
    /// In seconds of the time of day.
    until: u64,
    /// Whether it is proven.
    proven: bool,
}

/// All of them.
#[derive(Default)]
pub(super) struct Grafts(Mutex<BTreeMap<Name, Graft>>);

/// Whether the validator follows a delegation with this algorithm by itself.
const fn is_followed(algorithm: SecurityAlgorithm) -> bool {
    matches!(
        algorithm,
        SecurityAlgorithm::RSASHA1
            | SecurityAlgorithm::RSASHA1_NSEC3_SHA1
            | SecurityAlgorithm::RSASHA256
            | SecurityAlgorithm::RSASHA512
            | SecurityAlgorithm::ECDSAP256SHA256
    )
}

const fn is_grafted(algorithm: SecurityAlgorithm) -> bool {
    matches!(algorithm, SecurityAlgorithm::ECDSAP384SHA384 | SecurityAlgorithm::ED25519)
}

impl Grafts {
    /// A delegation was asked for. To be told before the validator hears of it, so that whoever it makes believe that the zone is not signed finds it here.
    pub(super) fn seen(&self, zone: &Name, message: &Message<Vec<u8>>, now: u64) {
        let Some((text, seconds)) = anchors(zone, message) else { return };
        let signed = reply::signed_for(message, now).ok().flatten();
        let Some(until) = signed.map(|left| now + u64::from(left.min(seconds))) else { return };
        let mut zone = zone.clone();
        zone.make_canonical();
        let zones = &mut *self.0.lock();
        if zones.get(&zone).is_some_and(|known| known.text == text && known.until > now) {
            return;
        }
        if zones.len() >= MOST
            && let Some(first) =
                zones.iter().min_by_key(|(_, graft)| graft.until).map(|(zone, _)| zone.clone())
        {
            zones.remove(&first);
        }
        zones.insert(zone, Graft { message: message.clone(), text, until, proven: false });
    }

    /// Those that are to be proven.
    pub(super) fn open(&self) -> Vec<(Name, Message<Vec<u8>>)> {
        let zones = self.0.lock();
        let open = zones.iter().filter(|(_, graft)| !graft.proven);
        open.map(|(zone, graft)| (zone.clone(), graft.message.clone())).collect()
    }

    /// What became of one.
    pub(super) fn settle(&self, zone: &Name, proven: bool) {
        let zones = &mut *self.0.lock();
        if !proven {
            zones.remove(zone);
        } else if let Some(graft) = zones.get_mut(zone) {
            graft.proven = true;
        }
    }

    /// The proven ones as trust anchors, and when the first of them ends.
    pub(super) fn anchors(&self, now: u64) -> (String, u64) {
        let zones = &mut *self.0.lock();
        zones.retain(|_, graft| graft.until > now);
        let (mut text, mut until) = (String::new(), u64::MAX);
        for graft in zones.values().filter(|graft| graft.proven) {
            text.push_str(&graft.text);
            until = until.min(graft.until);
        }
        (text, until)
    }
}

/// Whether a name can stand in a text as it is: whoever has a zone of another name, and nobody else, does without.
fn is_plain(zone: &Name) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    zone.iter().all(|label| label.as_slice().iter().all(plain))
}

/// What a delegation says, as anchors, if it is one that the validator does not follow and could; and its TTL.
fn anchors(zone: &Name, message: &Message<Vec<u8>>) -> Option<(String, u32)> {
    if !is_plain(zone) {
        return None;
    }
    let (mut text, mut least) = (String::new(), u32::MAX);
    for record in message.answer().ok()? {
        let record = record.ok()?;
        let Some(ds) = record.to_record::<Ds<&[u8]>>().ok()? else { continue };
        if ds.owner().to_vec() != *zone {
            continue;
        }
        least = least.min(ds.ttl().as_secs());
        let data = ds.data();
        if is_followed(data.algorithm()) {
            return None;
        }
        let digest = matches!(data.digest_type(), DigestAlgorithm::SHA256 | DigestAlgorithm::SHA384);
        if digest && is_grafted(data.algorithm()) {
            let (tag, algorithm, kind) =
                (data.key_tag(), data.algorithm().to_int(), data.digest_type().to_int());
            write!(text, "{} 0 IN DS {tag} {algorithm} {kind} ", zone.fmt_with_dot()).ok()?;
            data.digest().iter().try_for_each(|byte| write!(text, "{byte:02x}")).ok()?;
            text.push('\n');
        }
    }
    (!text.is_empty()).then_some((text, least))
}

#[cfg(test)]
mod tests {
    use domain::base::{MessageBuilder, Ttl};
    use domain::rdata::{Rrsig, dnssec::Timestamp};

    use super::*;
    use domain::base::iana::Rtype;

    const NOW: u64 = 1_800_000_000;

    /// A reply with these delegations: algorithm, kind of digest; signed for 100 seconds.
    fn reply(zone: &Name, owner: &Name, sets: &[(u8, u8)]) -> Message<Vec<u8>> {
        let mut builder = MessageBuilder::new_vec().answer();
        let ttl = Ttl::from_secs(3600);
        for (algorithm, digest) in sets {
            let ds = Ds::new(7, (*algorithm).into(), (*digest).into(), vec![0xab; 32]).unwrap();
            builder.push((owner, ttl, ds)).unwrap();
        }
        let time = |seconds: u64| Timestamp::from(seconds as u32);
        let signer = Name::root_vec();
        let signature = Rrsig::new(
            Rtype::DS,
            13.into(),
            1,
            ttl,
            time(NOW + 100),
            time(NOW - 100),
            9,
            signer,
            vec![0; 64],
        );
        builder.push((zone, ttl, signature.unwrap())).unwrap();
        builder.into_message()
    }

    fn seen(zone: &str, owner: &str, sets: &[(u8, u8)]) -> Grafts {
        let grafts = Grafts::default();
        let (zone, owner) = (Name::vec_from_str(zone).unwrap(), Name::vec_from_str(owner).unwrap());
        grafts.seen(&zone, &reply(&zone, &owner, sets), NOW);
        grafts
    }

    /// Only what the validator does not follow and could check, of the zone that was asked about, and under a name that can be written down.
    #[test]
    fn what_is_grafted() {
        for (zone, owner, sets, is) in [
            ("z.test", "z.test", &[(15, 2)][..], true),
            ("z.test", "Z.TEST", &[(14, 4), (15, 2)], true),
            ("_a-1.test", "_a-1.test", &[(16, 2), (15, 2)], true),
            ("z.test", "z.test", &[(13, 2)], false),
            ("z.test", "z.test", &[(15, 2), (8, 2)], false),
            ("z.test", "z.test", &[(16, 2)], false),
            ("z.test", "z.test", &[(15, 1)], false),
            ("z.test", "other.test", &[(15, 2)], false),
            ("z.test", "z.test", &[], false),
            ("a\\.b.test", "a\\.b.test", &[(15, 2)], false),
            ("a\\010.test", "a\\010.test", &[(15, 2)], false),
            ("a\\;.test", "a\\;.test", &[(15, 2)], false),
        ] {
            assert_eq!(seen(zone, owner, sets).open().len(), usize::from(is), "{zone} {owner} {sets:?}");
        }
    }

    /// An anchor is what was proven, and no longer than its signature holds.
    #[test]
    fn grafts_are_proven_and_end() {
        let grafts = seen("z.test", "z.test", &[(15, 2)]);
        assert_eq!(grafts.anchors(NOW), (String::new(), u64::MAX), "not proven yet");
        let zone = grafts.open().remove(0).0;
        grafts.settle(&zone, true);
        let (text, until) = grafts.anchors(NOW);
        assert_eq!(text, format!("z.test. 0 IN DS 7 15 2 {}\n", "ab".repeat(32)));
        assert_eq!(until, NOW + 100);
        assert!(grafts.open().is_empty());
        assert_eq!(grafts.anchors(NOW + 100), (String::new(), u64::MAX));
        let refused = seen("z.test", "z.test", &[(15, 2)]);
        refused.settle(&zone, false);
        assert!(refused.open().is_empty());
        for number in 0..MOST + 10 {
            let zone = Name::vec_from_str(&format!("z{number}.test")).unwrap();
            grafts.seen(&zone, &reply(&zone, &zone, &[(15, 2)]), NOW);
        }
        assert_eq!(grafts.open().len(), MOST);
    }
}
