//! Zones that are signed, not signed, or signed wrongly, behind a server that answers as a recursive one does (RFC 4034, RFC 4035 §3.1).
//!
//! A world is a text of lines `NAME TTL TYPE DATA`, each with a mark behind a semicolon if its set is to be spoilt: `forged`, `naked` (no signature), `expired`,
//! `soon` (its signature ends in 100 s), `many` (with a hundred signatures). A line `zone NAME` begins a zone: `signed`, `plain`, or `broken` (what its parent says of
//! its key is wrong), and with which algorithm if not ECDSA P-256. The first is the top, whose key is the anchor.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaKeyPair,
};
use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::{Record, ToName as _, Ttl, UnknownRecordData};
use domain::rdata::dnssec::RtypeBitmap;
use domain::utils::base64;

use super::lab::{Asked, Server, name};
use crate::dns::resolver::now;
use crate::dns::{Anchors, DnsConfig, Name, Validation};

const SOA: &str = "SOA";

/// The records of one name and type.
#[derive(Clone, Debug)]
struct Set {
    owner: Name,
    kind: Rtype,
    ttl: u32,
    data: Vec<Vec<u8>>,
    signatures: Vec<Vec<u8>>,
}

/// What a zone is signed with.
enum Key {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

impl Key {
    /// A new one, and what a DNSKEY record says of it (RFC 3110, RFC 6605, RFC 8080).
    fn new(algorithm: u8) -> (Self, Vec<u8>) {
        match algorithm {
            8 | 10 => {
                let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
                // A SEQUENCE of the modulus, with a zero before it, and the exponent, 65 537.
                let der = key.public_key().as_ref();
                let text = [&[3], &der[267..270], &der[9..265]].concat();
                (Self::Rsa(Box::new(key)), text)
            }
            13 | 14 => {
                let curve = if algorithm == 13 {
                    &ECDSA_P256_SHA256_FIXED_SIGNING
                } else {
                    &ECDSA_P384_SHA384_FIXED_SIGNING
                };
                let key = EcdsaKeyPair::generate(curve).unwrap();
                let text = key.public_key().as_ref()[1..].to_vec();
                (Self::Ecdsa(key), text)
            }
            15 => {
                let key = Ed25519KeyPair::generate().unwrap();
                let text = key.public_key().as_ref().to_vec();
                (Self::Ed25519(key), text)
            }
            other => panic!("{other}"),
        }
    }

    fn sign(&self, algorithm: u8, data: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Ecdsa(key) => key.sign(&random, data).unwrap().as_ref().to_vec(),
            Self::Ed25519(key) => key.sign(data).as_ref().to_vec(),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                let how = if algorithm == 8 { &RSA_PKCS1_SHA256 } else { &RSA_PKCS1_SHA512 };
                key.sign(how, &random, data, &mut signature).unwrap();
                signature
            }
        }
    }
}

struct Zone {
    apex: Name,
    key: Option<(Key, Vec<u8>)>,
    sets: BTreeMap<(Name, u16), Set>,
    marks: BTreeMap<(Name, u16), String>,
}

/// Zones; those below come behind those above.
pub(crate) struct World {
    zones: Vec<Zone>,
}

fn wire(name: &Name) -> Vec<u8> {
    name.as_slice().to_vec()
}

fn above(name: &Name) -> Name {
    name.parent().unwrap().to_name()
}

fn tag(dnskey: &[u8]) -> u16 {
    let sum: u32 = dnskey.iter().enumerate().map(|(at, byte)| u32::from(*byte) << (8 * (1 - at % 2))).sum();
    ((sum + (sum >> 16)) & 0xffff) as u16
}

fn kind(text: &str) -> Rtype {
    text.parse().unwrap()
}

fn rdata(kind: &str, words: &[&str]) -> Vec<u8> {
    let number = |at: usize| words[at].parse::<u16>().unwrap().to_be_bytes();
    match kind {
        "A" => words[0].parse::<Ipv4Addr>().unwrap().octets().to_vec(),
        "AAAA" => words[0].parse::<Ipv6Addr>().unwrap().octets().to_vec(),
        "CNAME" | "NS" => wire(&name(words[0])),
        "SRV" => [&number(0), &number(1), &number(2), wire(&name(words[3])).as_slice()].concat(),
        "TLSA" => words.join(" ").parse::<nuncio_dna::Tlsa>().unwrap().to_rdata(),
        SOA => [wire(&name(words[0])), wire(&name(words[0])), [0, 0, 0, 60].repeat(5)].concat(),
        other => panic!("{other}"),
    }
}

impl Zone {
    fn add(&mut self, owner: &Name, kind: Rtype, ttl: u32, data: Vec<u8>) {
        let empty = || Set { owner: owner.clone(), kind, ttl, data: Vec::new(), signatures: Vec::new() };
        self.sets.entry((owner.clone(), kind.to_int())).or_insert_with(empty).data.push(data);
    }

    fn get(&self, owner: &Name, kind: Rtype) -> Option<&Set> {
        self.sets.get(&(owner.clone(), kind.to_int()))
    }

    fn names(&self) -> BTreeSet<Name> {
        self.sets.keys().map(|(owner, _)| owner.clone()).collect()
    }

    fn exists(&self, wanted: &Name) -> bool {
        self.names().iter().any(|name| name.ends_with(wanted))
    }

    /// RFC 4034 §4: the chain of names and types.
    fn chain(&mut self) {
        let names: Vec<_> = self.names().into_iter().collect();
        for (at, owner) in names.iter().enumerate() {
            let next = &names[(at + 1) % names.len()];
            let mut types = RtypeBitmap::<Vec<u8>>::builder();
            for (_, number) in self.sets.keys().filter(|(one, _)| one == owner) {
                types.add(Rtype::from_int(*number)).unwrap();
            }
            types.add(Rtype::NSEC).unwrap();
            types.add(Rtype::RRSIG).unwrap();
            let data = [wire(next), types.finalize().as_slice().to_vec()].concat();
            self.add(owner, Rtype::NSEC, 60, data);
        }
    }

    fn sign(&mut self, below: &[Name]) {
        let Some((key, dnskey)) = &self.key else { return };
        let now = now().as_secs() as u32;
        for ((owner, number), set) in &mut self.sets {
            set.data.sort();
            // What is below is the child's, but for what is said about it (RFC 4035 §2.2).
            if *number == Rtype::NS.to_int() && below.contains(owner) {
                continue;
            }
            let mark = self.marks.get(&(owner.clone(), *number)).map_or("", String::as_str);
            let (begins, ends) = match mark {
                "expired" => (now - 200, now - 100),
                "soon" => (now - 100, now + 100),
                _ => (now - 3600, now + 86_400),
            };
            let wild = owner.first().as_slice() == b"*";
            let labels = owner.label_count() - 1 - usize::from(wild);
            let mut head = number.to_be_bytes().to_vec();
            head.extend([dnskey[3], labels as u8]);
            head.extend([set.ttl, ends, begins].iter().flat_map(|word| word.to_be_bytes()));
            head.extend(tag(dnskey).to_be_bytes());
            head.extend(wire(&self.apex));
            let mut signed = head.clone();
            for data in &set.data {
                signed.extend(wire(owner));
                signed.extend([number.to_be_bytes(), [0, 1]].concat());
                signed.extend(set.ttl.to_be_bytes());
                signed.extend((data.len() as u16).to_be_bytes());
                signed.extend(data);
            }
            let mut signature = key.sign(dnskey[3], &signed);
            if mark == "forged" {
                signature[7] ^= 1;
            }
            let many = if mark == "many" { 100 } else { 1 };
            if mark != "naked" {
                for number in 0..many {
                    let mut one = signature.clone();
                    one[9] ^= number;
                    set.signatures.insert(0, [head.clone(), one].concat());
                }
            }
        }
    }

    /// The set that denies a name: its own, or that of the greatest before it.
    fn denial(&self, wanted: &Name) -> Option<&Set> {
        let chain = self.sets.values().filter(|set| set.kind == Rtype::NSEC);
        chain
            .filter(|set| set.owner <= *wanted)
            .max_by_key(|set| &set.owner)
            .or_else(|| self.get(&self.apex, Rtype::NSEC))
    }
}

/// What a server says: sets of the answer and of the authority section.
#[derive(Default)]
struct Said {
    answer: Vec<Set>,
    authority: Vec<Set>,
    missing: bool,
}

impl World {
    pub(crate) fn new(text: &str) -> Self {
        let mut zones: Vec<Zone> = Vec::new();
        let mut delegations = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (line, mark) =
                line.split_once(';').map_or((line, ""), |(line, mark)| (line.trim(), mark.trim()));
            let words: Vec<_> = line.split_ascii_whitespace().collect();
            if let ["zone", apex, how, ref more @ ..] = words[..] {
                let apex = name(apex);
                let mut zone =
                    Zone { apex: apex.clone(), key: None, sets: BTreeMap::new(), marks: BTreeMap::new() };
                zone.add(&apex, Rtype::SOA, 60, rdata(SOA, &["ns.test"]));
                zone.add(&apex, Rtype::NS, 3600, rdata("NS", &["ns.test"]));
                if how != "plain" {
                    let algorithm = more.first().map_or(13, |number| number.parse().unwrap());
                    let (key, text) = Key::new(algorithm);
                    let dnskey = [vec![1, 1, 3, algorithm], text].concat();
                    zone.add(&apex, Rtype::DNSKEY, 3600, dnskey.clone());
                    zone.key = Some((key, dnskey));
                }
                delegations.push((apex, how == "broken"));
                zones.push(zone);
                continue;
            }
            let zone = zones.last_mut().unwrap();
            let owner = name(words[0]);
            let number = kind(words[2]);
            zone.add(&owner, number, words[1].parse().unwrap(), rdata(words[2], &words[3..]));
            if !mark.is_empty() {
                zone.marks.insert((owner, number.to_int()), mark.to_owned());
            }
        }
        let mut world = Self { zones };
        for (apex, broken) in delegations.into_iter().skip(1) {
            let key = world.zones.iter().find(|zone| zone.apex == apex).and_then(|zone| zone.key.as_ref());
            let ds = key.map(|(_, dnskey)| {
                let mut hash = digest(&SHA256, &[wire(&apex), dnskey.clone()].concat()).as_ref().to_vec();
                hash[3] ^= u8::from(broken);
                [tag(dnskey).to_be_bytes().to_vec(), vec![dnskey[3], 2], hash].concat()
            });
            let parent = world.parent(&apex);
            parent.add(&apex, Rtype::NS, 3600, rdata("NS", &["ns.test"]));
            if let Some(ds) = ds {
                parent.add(&apex, Rtype::DS, 3600, ds);
            }
        }
        let all: Vec<_> = world.zones.iter().map(|zone| zone.apex.clone()).collect();
        for zone in &mut world.zones {
            let below: Vec<_> = all.iter().filter(|apex| **apex != zone.apex).cloned().collect();
            if zone.key.is_some() {
                zone.chain();
            }
            zone.sign(&below);
        }
        world
    }

    fn parent(&mut self, apex: &Name) -> &mut Zone {
        let above = |zone: &&mut Zone| zone.apex != *apex && apex.ends_with(&zone.apex);
        self.zones.iter_mut().filter(above).max_by_key(|zone| zone.apex.label_count()).unwrap()
    }

    /// The key of the top, as a trust anchor.
    pub(crate) fn anchors(&self) -> Anchors {
        let top = &self.zones[0];
        let (head, key) = top.key.as_ref().unwrap().1.split_at(4);
        let text = format!("{}. 3600 IN DNSKEY 257 3 {} {}", top.apex, head[3], base64::encode_string(key));
        Anchors::parse(&text).unwrap()
    }

    fn said(&self, asked: &Name, kind: Rtype) -> Said {
        let mut said = Said::default();
        let mut wanted = asked.clone();
        for _ in 0..20 {
            let holds =
                |zone: &&Zone| wanted.ends_with(&zone.apex) && (kind != Rtype::DS || wanted != zone.apex);
            let Some(zone) = self.zones.iter().filter(holds).max_by_key(|zone| zone.apex.label_count())
            else {
                said.missing = true;
                return said;
            };
            let found =
                |owner: &Name| zone.get(owner, kind).or_else(|| zone.get(owner, Rtype::CNAME)).cloned();
            let mut here = found(&wanted);
            let mut wild = None;
            if here.is_none() && !zone.exists(&wanted) {
                let mut encloser = above(&wanted);
                while !zone.exists(&encloser) {
                    encloser = above(&encloser);
                }
                let star = name(&format!("*.{encloser}"));
                said.authority.extend(zone.denial(&wanted).cloned());
                here = found(&star).map(|set| Set { owner: wanted.clone(), ..set });
                wild = Some(star);
            }
            if let Some(set) = here {
                let alias = (set.kind == Rtype::CNAME && kind != Rtype::CNAME).then(|| set.data[0].clone());
                said.answer.push(set);
                let Some(alias) = alias else { return said };
                wanted = Name::from_octets(alias).unwrap();
                continue;
            }
            said.authority.extend(zone.get(&zone.apex, Rtype::SOA).cloned());
            match wild {
                None => said.authority.extend(zone.denial(&wanted).cloned()),
                Some(star) => {
                    said.missing = !zone.exists(&star);
                    said.authority.extend(zone.denial(&star).cloned());
                }
            }
            return said;
        }
        said
    }

    /// The packet that answers a question.
    pub(crate) fn reply(&self, asked: &Asked) -> Vec<u8> {
        let outside = |name: &Name| self.zones.iter().all(|zone| !name.ends_with(&zone.apex));
        if outside(&name(&asked.name)) {
            return asked.nothing(Rcode::NXDOMAIN, 60);
        }
        let mut said = self.said(&name(&asked.name), asked.kind);
        let code = if said.missing { Rcode::NXDOMAIN } else { Rcode::NOERROR };
        let mut seen = BTreeSet::new();
        said.authority.retain(|set| seen.insert((set.owner.clone(), set.kind.to_int())));
        let mut answer = asked.begin(code);
        for record in said.answer.iter().flat_map(records) {
            answer.push(record).unwrap();
        }
        let mut authority = answer.authority();
        for record in said.authority.iter().flat_map(records) {
            authority.push(record).unwrap();
        }
        authority.finish()
    }

    /// Who asks a server with these zones, and checks signatures.
    pub(crate) async fn serve(self) -> (Server, DnsConfig) {
        let validation = Validation::Local(self.anchors());
        let server = Server::start(move |asked| vec![self.reply(asked)]).await;
        let config = DnsConfig { validation, ..server.config() };
        (server, config)
    }
}

fn records(set: &Set) -> Vec<Record<Name, UnknownRecordData<Vec<u8>>>> {
    let one = |kind: Rtype, data: &Vec<u8>| {
        let data = UnknownRecordData::from_octets(kind, data.clone()).unwrap();
        Record::new(set.owner.clone(), Class::IN, Ttl::from_secs(set.ttl), data)
    };
    let signatures = set.signatures.iter().map(|data| one(Rtype::RRSIG, data));
    set.data.iter().map(|data| one(set.kind, data)).chain(signatures).collect()
}
