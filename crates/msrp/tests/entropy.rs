//! S1-01: what must not be guessed is made of the entropy that is given, of all of it, and of nothing else.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use nuncio_msrp::relay::{Bounds, Holder, LinkId, Owner, Registry};
use nuncio_msrp::{Ident, Scheme, Transport, Uri};
use nuncio_sansio::pair::Counter;
use nuncio_sansio::{Entropy, Time};

/// Gives these bits, and counts how many bytes were asked for.
struct Given(u128, AtomicUsize);

impl Entropy for Given {
    fn fill(&self, out: &mut [u8]) {
        self.1.fetch_add(out.len(), Ordering::Relaxed);
        out.fill(0);
        for (byte, given) in out.iter_mut().zip(self.0.to_le_bytes()) {
            *byte = given;
        }
    }
}

/// How an identifier is made.
type Make = fn(&dyn Entropy) -> String;

fn transaction(entropy: &dyn Entropy) -> String {
    Ident::random(entropy).to_string()
}

fn session(entropy: &dyn Entropy) -> String {
    let uri = Uri::of_session(Scheme::Msrps, "a.example", 2855, &Transport::Tcp, entropy).expect("valid");
    uri.session_id().expect("a session").to_owned()
}

fn issued(account: &str, seconds: u32, entropy: &dyn Entropy) -> String {
    let mut registry = Registry::new("relay.example", 2855, Vec::new(), Bounds::default()).expect("a name");
    registry.opened(LinkId(1), None);
    let client = Uri::parse("msrps://client.example:1/abc;tcp").expect("a URI");
    let uri = registry
        .issue(Time::ZERO, &Holder::new(account, 0), Owner::Link(LinkId(1)), client.into(), seconds, entropy)
        .expect("the first");
    uri.session_id().expect("a session").to_owned()
}

fn relay(entropy: &dyn Entropy) -> String {
    issued("romeo", 60, entropy)
}

/// RFC 4975 §14.1 (80 bits of a session id), §7.1 (64 of a transaction identifier), RFC 4976 §6.3 (64 of a relay's URI): here 128 each.
#[test]
fn each_identifier_spends_128_bits() {
    let kinds: [(&str, Make); 3] =
        [("transaction identifier", transaction), ("session id", session), ("relay's URI", relay)];
    for (name, make) in kinds {
        let given = |bits| Given(bits, AtomicUsize::new(0));
        let ones: Vec<_> = (0..128).map(|bit| 1_u128 << bit).collect();
        // Any two bits: if one did not count, or two were one, two of these would be alike.
        let all: BTreeSet<_> =
            ones.iter().flat_map(|one| ones.iter().map(move |other| one ^ other)).collect();
        let made: BTreeSet<_> = all.iter().map(|bits| make(&given(*bits))).collect();
        assert_eq!(made.len(), all.len(), "{name}");
        assert_eq!(make(&given(7)), make(&given(7)), "{name}: nothing else goes into it");
        let asked = given(1);
        make(&asked);
        assert_eq!(asked.1.load(Ordering::Relaxed), 16, "{name}: asked for once, as a whole");
        let counter = Counter::default();
        let many: BTreeSet<_> = (0..10_000).map(|_| make(&counter)).collect();
        assert_eq!(many.len(), 10_000, "{name}");
    }
    let given = || Given(7, AtomicUsize::new(0));
    assert_eq!(
        relay(&given()),
        issued("juliet", 3_600, &given()),
        "whose it is, and how long, does not show"
    );
}

/// What the servers and tools give to the machines is the operating system's randomness: there is no other source outside of tests.
#[test]
fn randomness_is_the_operating_systems() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut sources = Vec::new();
    for name in ["sansio", "msrp", "net", "relay", "endpoint", "nuncio"] {
        let before = sources.len();
        let mut folders = vec![crates.join(name).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder of the repository") {
                let path = entry.expect("readable").path();
                match path.extension() {
                    _ if path.is_dir() && path.ends_with("tests") => {}
                    _ if path.is_dir() => folders.push(path),
                    Some(extension) if extension == "rs" => sources.push(path),
                    _ => {}
                }
            }
        }
        assert!(sources.len() > before, "{name} has no sources");
    }
    let mut makers = Vec::new();
    for path in sources {
        let text = std::fs::read_to_string(&path).expect("readable");
        // Tests stand at the end of a file.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let file = path.strip_prefix(&crates).expect("below it").display().to_string();
        for foreign in ["rand::thread_rng", "rand::random", "fastrand", "SmallRng", "StdRng", "RandomState"] {
            assert!(!code.contains(foreign), "{file} uses {foreign}");
        }
        if code.contains("Entropy for ") {
            makers.push(file);
        }
    }
    makers.sort();
    // That of sansio counts, for tests, and says so.
    assert_eq!(makers, ["net/src/entropy.rs", "sansio/src/pair.rs"]);
}
