//! The resolver against a name server on loopback that answers as it is told, with real packets.

mod dnssec;
pub(crate) mod lab;
pub(crate) mod world;

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use domain::base::iana::{Rcode, Rtype};
use domain::base::{Message, MessageBuilder, Ttl};
use domain::rdata::A;
use tokio::net::UdpSocket;

use self::lab::{Asked, Server, name, push, with_soa};
use super::*;
use crate::OsEntropy;

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// RFC 6895 §2.3: a code is told by its name.
#[test]
fn what_a_server_answers_has_a_name() {
    for (code, text) in [
        (1, "the name server answered FORMERR"),
        (2, "the name server answered SERVFAIL"),
        (4, "the name server answered NOTIMP"),
        (5, "the name server answered REFUSED"),
        (9, "the name server answered with code 9"),
    ] {
        assert_eq!(DnsError::Refused(code).to_string(), text);
    }
}

/// Both families, IPv6 first; a name without one of them; a name without any; no name at all.
#[tokio::test]
async fn addresses_of_a_host() {
    let server = Server::start(|asked| {
        vec![match (asked.name.as_str(), asked.kind) {
            ("both.example", Rtype::A) => {
                asked.reply(&["both.example 60 A 192.0.2.1", "both.example 60 A 192.0.2.2"])
            }
            ("both.example", Rtype::AAAA) => asked.reply(&["BOTH.example 60 AAAA 2001:db8::1"]),
            ("four.example", Rtype::A) => asked.reply(&["four.example 60 A 192.0.2.4"]),
            ("six.example", Rtype::AAAA) => asked.reply(&["six.example 60 AAAA 2001:db8::6"]),
            ("none.example", _) | ("four.example" | "six.example", _) => asked.nothing(Rcode::NOERROR, 60),
            _ => asked.nothing(Rcode::NXDOMAIN, 60),
        }]
    })
    .await;
    let resolver = server.resolver();
    for (host, wanted, exists) in [
        ("both.example", &["2001:db8::1", "192.0.2.1", "192.0.2.2"][..], true),
        ("Both.Example.", &["2001:db8::1", "192.0.2.1", "192.0.2.2"], true),
        ("four.example", &["192.0.2.4"], true),
        ("six.example", &["2001:db8::6"], true),
        ("none.example", &[], true),
        ("nowhere.example", &[], false),
    ] {
        let answer = resolver.addresses(host).await.unwrap();
        assert_eq!((answer.records, answer.exists), (ips(wanted), exists), "{host}");
        assert_eq!(answer.name, host.trim_end_matches('.').to_lowercase());
        assert_eq!(answer.security, Security::Indeterminate);
    }
    // Whatever was written, it is one name, asked once for each family: RFC 1035 §2.3.3. That there is nothing is remembered too.
    assert_eq!(server.total(), 10);
}

/// RFC 6761 §6.3, §6.4: never asked. What is no name is told as such.
#[tokio::test]
async fn some_names_are_never_asked() {
    let server = Server::start(|_| panic!("asked")).await;
    let resolver = server.resolver();
    for host in ["localhost", "LOCALHOST.", "a.b.localhost"] {
        assert_eq!(resolver.addresses(host).await.unwrap().records, ips(&["::1", "127.0.0.1"]), "{host}");
    }
    assert!(resolver.srv("_xmpp-client._tcp.localhost").await.unwrap().records.is_empty());
    assert!(!resolver.addresses("x.invalid").await.unwrap().exists);
    let long = format!("{}.example", "a".repeat(64));
    for bad in ["", "a..example", "bücher.example", &long, &"a.".repeat(128)] {
        assert!(matches!(resolver.addresses(bad).await, Err(DnsError::Name(_))), "{bad}");
    }
    assert_eq!(server.total(), 0);
}

/// Aliases, inside one reply and over several; loops of either kind end (RFC 1034 §3.6.2, RFC 2181 §10.1).
#[tokio::test]
async fn aliases() {
    let server = Server::start(|asked| {
        let number =
            asked.name.strip_prefix('n').and_then(|rest| rest.strip_suffix(".example")?.parse::<u32>().ok());
        vec![match (asked.name.as_str(), asked.kind) {
            ("here.example", Rtype::A) => asked.reply(&[
                "end.example 60 A 192.0.2.1",
                "middle.example 60 CNAME end.example",
                "Here.example 60 CNAME Middle.example",
                "other.example 60 A 192.0.2.66",
            ]),
            ("bare.example", Rtype::A) => asked.reply(&["bare.example 60 CNAME end.example"]),
            ("end.example", Rtype::A) => asked.reply(&["end.example 60 A 192.0.2.1"]),
            ("gone.example", Rtype::A) => {
                let mut builder = asked.begin(Rcode::NXDOMAIN);
                push(&mut builder, "gone.example 60 CNAME nowhere.example");
                with_soa(builder, 60)
            }
            ("loop.example", Rtype::A) => {
                asked.reply(&["loop.example 60 CNAME pool.example", "pool.example 60 CNAME loop.example"])
            }
            ("self.example", Rtype::A) => asked.reply(&["self.example 60 CNAME self.example"]),
            (name, Rtype::A) if number.is_some() => {
                asked.reply(&[&format!("{name} 60 CNAME n{}.example", number.unwrap() + 1)])
            }
            _ => asked.nothing(Rcode::NOERROR, 60),
        }]
    })
    .await;
    let resolver = server.resolver();
    for host in ["here.example", "bare.example"] {
        let answer = resolver.addresses(host).await.unwrap();
        assert_eq!((answer.name.as_str(), answer.records), ("end.example", ips(&["192.0.2.1"])), "{host}");
    }
    let answer = resolver.lookup_four("gone.example").await.unwrap();
    assert_eq!((answer.name.as_str(), answer.exists), ("nowhere.example", false));
    for host in ["loop.example", "self.example", "n1.example"] {
        assert_eq!(resolver.lookup_four(host).await, Err(DnsError::Aliases), "{host}");
    }
    assert_eq!(server.asked("n9.example", Rtype::A, false), 1);
    assert_eq!(server.asked("n10.example", Rtype::A, false), 0);
}

impl Resolver {
    /// IPv4 alone, so that what IPv6 says does not hide an error.
    async fn lookup_four(&self, host: &str) -> Result<Answer<Data>, DnsError> {
        self.lookup(host, Kind::A).await.map(|found| Answer::clone(&found))
    }
}

/// RFC 1035 §4.2.1, RFC 7766 §5: what does not fit into a datagram comes by TCP.
#[tokio::test]
async fn truncated_answers_come_by_tcp() {
    let server = Server::start(|asked| {
        let mut reply = match asked.kind {
            Rtype::A => asked.reply(
                &(0..100)
                    .map(|n| format!("big.example 60 A 192.0.2.{n}"))
                    .collect::<Vec<_>>()
                    .iter()
                    .map(String::as_str)
                    .collect::<Vec<_>>(),
            ),
            _ => asked.nothing(Rcode::NOERROR, 60),
        };
        if !asked.tcp && asked.kind == Rtype::A {
            let mut builder = asked.begin(Rcode::NOERROR);
            builder.header_mut().set_tc(true);
            push(&mut builder, "big.example 60 A 192.0.2.200");
            reply = builder.finish();
        }
        vec![reply]
    })
    .await;
    let answer = server.resolver().addresses("big.example").await.unwrap();
    assert_eq!(answer.records.len(), 100);
    assert!(!answer.records.contains(&"192.0.2.200".parse().unwrap()), "nothing of what was cut off is used");
    assert_eq!(
        (server.asked("big.example", Rtype::A, false), server.asked("big.example", Rtype::A, true)),
        (1, 1)
    );
}

/// RFC 5452 §9: packets that do not belong to the question change nothing; a flood of them leads to TCP.
#[tokio::test]
async fn packets_that_answer_something_else_are_ignored() {
    let server = Server::start(|asked| {
        if asked.kind != Rtype::A {
            return vec![asked.nothing(Rcode::NOERROR, 60)];
        }
        let evil = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut packet = asked.reply(&[&format!("{} 60 A 192.0.2.66", asked.name)]);
            change(&mut packet);
            packet
        };
        let other = |text: &str| {
            let mut question = MessageBuilder::new_vec();
            question.header_mut().set_id(asked.message.header().id());
            let mut question = question.question();
            question.push((name(text), Rtype::A)).unwrap();
            Asked::read(&question.finish(), false).reply(&[&format!("{} 60 A 192.0.2.66", asked.name)])
        };
        let mut strays = vec![
            evil(&|packet| packet[0] ^= 1),
            evil(&|packet| packet[1] ^= 0x80),
            // A question, not an answer; another operation; an answer to another name, to none, of another class; no message at all.
            evil(&|packet| packet[2] &= 0x7f),
            evil(&|packet| packet[2] |= 0x20),
            other("other.example"),
            evil(&|packet| packet[5] = 0),
            evil(&|packet| packet[12 + asked.name.len() + 2 + 3] = 3),
            b"hello".to_vec(),
            Vec::new(),
        ];
        if asked.name == "flood.example" && !asked.tcp {
            strays = vec![strays[0].clone(); 40];
        } else if asked.tcp {
            strays.clear();
        }
        strays.push(asked.reply(&[&format!("{} 60 A 192.0.2.1", asked.name)]));
        strays
    })
    .await;
    let resolver = server.resolver();
    for (host, by_tcp) in [("some.example", 0), ("flood.example", 1)] {
        let answer = resolver.addresses(host).await.unwrap();
        assert_eq!(answer.records, ips(&["192.0.2.1"]), "{host}");
        assert_eq!(server.asked(host, Rtype::A, true), by_tcp, "{host}");
    }
}

/// Records of other names in an answer are not taken, nor is anything but the answer section.
#[tokio::test]
async fn only_what_was_asked_is_taken() {
    let server = Server::start(|asked| {
        let mut builder = asked.begin(Rcode::NOERROR);
        push(&mut builder, "evil.example 60 A 192.0.2.66");
        if asked.kind == Rtype::A {
            push(&mut builder, "good.example 60 A 192.0.2.1");
        }
        let mut builder = builder.additional();
        builder
            .push((name("good.example"), Ttl::from_secs(60), A::new("192.0.2.67".parse().unwrap())))
            .unwrap();
        builder
            .push((name("evil.example"), Ttl::from_secs(60), A::new("192.0.2.68".parse().unwrap())))
            .unwrap();
        vec![builder.finish()]
    })
    .await;
    let resolver = server.resolver();
    assert_eq!(resolver.addresses("good.example").await.unwrap().records, ips(&["192.0.2.1"]));
    assert_eq!(resolver.addresses("evil.example").await.unwrap().records, ips(&["192.0.2.66"]));
    assert_eq!(server.asked("evil.example", Rtype::A, false), 1, "it was not in the cache");
}

/// A server that fails, refuses, says nonsense, is silent or is not there is passed over; if all are so, the error says it.
#[tokio::test]
async fn failing_servers_are_passed_over() {
    let codes = [Rcode::SERVFAIL, Rcode::REFUSED];
    let failing =
        Server::start(move |asked| vec![asked.begin(codes[usize::from(asked.kind == Rtype::AAAA)]).finish()])
            .await;
    let silent = Server::start(|_| Vec::new()).await;
    let broken = Server::start(|asked| {
        let mut packet = asked.reply(&["x.example 60 A 192.0.2.1"]);
        packet.truncate(packet.len() - 2);
        vec![packet]
    })
    .await;
    let good = Server::start(|asked| match asked.kind {
        Rtype::A => vec![asked.reply(&["x.example 60 A 192.0.2.9"])],
        _ => vec![asked.nothing(Rcode::NOERROR, 60)],
    })
    .await;
    // Nobody listens there.
    let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let base = DnsConfig { timeout: Duration::from_millis(400), ..DnsConfig::default() };
    for first in [failing.address, silent.address, nobody] {
        let resolver = Resolver::with(DnsConfig { servers: vec![first, good.address], ..base.clone() });
        assert_eq!(resolver.addresses("x.example").await.unwrap().records, ips(&["192.0.2.9"]), "{first}");
    }
    for (only, wanted) in [
        (failing.address, DnsError::Refused(2)),
        (silent.address, DnsError::Timeout),
        (broken.address, DnsError::Broken),
    ] {
        let resolver = Resolver::with(DnsConfig { servers: vec![only], ..base.clone() });
        assert_eq!(resolver.lookup_four("x.example").await, Err(wanted), "{only}");
    }
    let resolver = Resolver::with(DnsConfig { servers: vec![nobody], ..base.clone() });
    assert!(matches!(resolver.addresses("x.example").await, Err(DnsError::Unreachable(_))));
    let resolver = Resolver::with(DnsConfig { servers: Vec::new(), ..base });
    assert!(matches!(resolver.addresses("x.example").await, Err(DnsError::Unreachable(_))));
    // Once where another server helped, and twice where there was none.
    assert_eq!(silent.asked("x.example", Rtype::A, false), 1 + 2);
}

/// RFC 6891 §7: a server that is older than EDNS gets a question without it.
#[tokio::test]
async fn servers_without_edns() {
    let server = Server::start(|asked| {
        if asked.edns() {
            let mut header = asked.begin(Rcode::FORMERR).finish();
            // Nothing but the header, which says that there is nothing more.
            header.truncate(12);
            header[4..12].fill(0);
            return vec![header];
        }
        vec![asked.reply(if asked.kind == Rtype::A { &["x.example 60 A 192.0.2.1"] } else { &[] })]
    })
    .await;
    assert_eq!(server.resolver().addresses("x.example").await.unwrap().records, ips(&["192.0.2.1"]));
    assert_eq!(server.asked("x.example", Rtype::A, false), 2);
}

/// One family that fails does no harm if there is another.
#[tokio::test]
async fn one_family_is_enough() {
    let server = Server::start(|asked| match (asked.name.as_str(), asked.kind) {
        ("four.example", Rtype::A) => vec![asked.reply(&["four.example 60 A 192.0.2.1"])],
        ("six.example", Rtype::AAAA) => vec![asked.reply(&["six.example 60 AAAA 2001:db8::1"])],
        // Home routers that drop questions for IPv6.
        ("slow.example", Rtype::A) => vec![asked.reply(&["slow.example 60 A 192.0.2.1"])],
        ("slow.example", _) => Vec::new(),
        _ => vec![asked.begin(Rcode::SERVFAIL).finish()],
    })
    .await;
    let resolver = server.resolver();
    for (host, wanted) in
        [("four.example", "192.0.2.1"), ("six.example", "2001:db8::1"), ("slow.example", "192.0.2.1")]
    {
        assert_eq!(resolver.addresses(host).await.unwrap().records, ips(&[wanted]), "{host}");
    }
    assert_eq!(resolver.addresses("neither.example").await, Err(DnsError::Refused(2)));
}

/// TTLs count, of the records, of the aliases before them and of the SOA of what is not there (RFC 2308 §5); none is longer than allowed.
#[tokio::test]
async fn answers_are_remembered_as_long_as_they_say() {
    let server = Server::start(|asked| {
        vec![match asked.name.as_str() {
            "short.example" => asked.reply(&["short.example 1 A 192.0.2.1", "short.example 60 A 192.0.2.2"]),
            "alias.example" => asked.reply(&["alias.example 1 CNAME x.example", "x.example 60 A 192.0.2.2"]),
            "zero.example" => asked.reply(&["zero.example 0 A 192.0.2.1"]),
            "wrong.example" => asked.reply(&["wrong.example 4294967295 A 192.0.2.1"]),
            "long.example" => asked.reply(&["long.example 2000000000 A 192.0.2.1"]),
            "nothing.example" => asked.nothing(Rcode::NXDOMAIN, 1),
            "unsaid.example" => asked.begin(Rcode::NXDOMAIN).finish(),
            _ => asked.begin(Rcode::SERVFAIL).finish(),
        }]
    })
    .await;
    let config = DnsConfig { longest: Duration::from_secs(100), attempts: 1, ..server.config() };
    let resolver = Resolver::with(config);
    let asked = |host: &str| server.asked(host, Rtype::A, false);
    for (host, again) in [
        ("short.example", false),
        ("alias.example", false),
        ("zero.example", true),
        ("wrong.example", true),
        ("long.example", false),
        ("nothing.example", false),
        ("unsaid.example", true),
        ("failing.example", false),
    ] {
        drop(resolver.lookup_four(host).await);
        drop(resolver.lookup_four(host).await);
        assert_eq!(asked(host), 1 + usize::from(again), "{host}");
    }
    // Only what a real socket must do happens while time runs; then it stands still and jumps.
    tokio::time::pause();
    tokio::time::advance(Duration::from_millis(1001)).await;
    tokio::time::resume();
    for host in ["short.example", "alias.example", "nothing.example", "failing.example"] {
        drop(resolver.lookup_four(host).await);
        assert_eq!(asked(host), 2, "{host}");
    }
    drop(resolver.lookup_four("long.example").await);
    assert_eq!(asked("long.example"), 1);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(100)).await;
    tokio::time::resume();
    drop(resolver.lookup_four("long.example").await);
    assert_eq!(asked("long.example"), 2);
}

/// Many callers, one question; a caller that goes away does not take the answer from the others, and leaves nothing behind.
#[tokio::test]
async fn one_question_for_many_callers() {
    let gate = Arc::new(AtomicUsize::new(0));
    let server = {
        let gate = Arc::clone(&gate);
        Server::start(move |asked| {
            gate.fetch_add(1, Ordering::SeqCst);
            vec![asked.reply(&["x.example 0 A 192.0.2.1"])]
        })
        .await
    };
    let resolver = server.resolver();
    let mut calls: Vec<_> = (0..50)
        .map(|_| {
            let resolver = resolver.clone();
            Box::pin(async move { resolver.lookup_four("x.example").await.unwrap().records.len() })
        })
        .collect();
    // Each has asked, or waits for who has, before anything is answered: nothing else has run meanwhile.
    for call in &mut calls {
        assert!(futures_poll(call).await.is_none());
    }
    // The one whose question it is goes away.
    drop(calls.remove(0));
    for call in calls {
        assert_eq!(call.await, 1);
    }
    // That of the one who left, perhaps, and one for all the others.
    assert!(gate.load(Ordering::SeqCst) <= 2, "{gate:?}");
    assert!(resolver.asks_nothing());
    drop(resolver.lookup_four("x.example").await);
    assert!(resolver.asks_nothing());
}

/// Polls once.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(cx) {
            std::task::Poll::Ready(done) => Some(done),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

/// S3-21: the AD bit counts if it is asked for and a loopback server sets it on every reply of the chain, and never otherwise.
#[tokio::test]
async fn security_is_what_a_trusted_server_vouches_for() {
    let server = Server::start(|asked| {
        let reply = |line: &str, ad: bool| {
            let mut builder = asked.begin(Rcode::NOERROR);
            builder.header_mut().set_ad(ad && asked.message.header().ad());
            push(&mut builder, line);
            builder.finish()
        };
        if asked.kind != Rtype::A {
            let mut builder = asked.begin(Rcode::NOERROR);
            builder.header_mut().set_ad(asked.message.header().ad());
            return vec![with_soa(builder, 60)];
        }
        vec![match asked.name.as_str() {
            "signed.example" => reply("signed.example 60 A 192.0.2.1", true),
            "plain.example" => reply("plain.example 60 A 192.0.2.1", false),
            "half.example" => reply("half.example 60 CNAME plain.example", true),
            other => panic!("{other}"),
        }]
    })
    .await;
    for validation in [Validation::TrustAd, Validation::Off] {
        let resolver = Resolver::with(DnsConfig { validation: validation.clone(), ..server.config() });
        for (host, secure) in [("signed.example", true), ("plain.example", false), ("half.example", false)] {
            let answer = resolver.addresses(host).await.unwrap();
            let wanted = match validation {
                Validation::TrustAd if secure => Security::Secure,
                // Who validates, and says nothing, has found that nothing is signed.
                Validation::TrustAd => Security::Insecure,
                _ => Security::Indeterminate,
            };
            assert_eq!(answer.security, wanted, "{host}");
        }
        // That there is nothing may be proven too.
        let nothing = resolver.srv("_x._tcp.signed.example").await.unwrap();
        assert!(nothing.records.is_empty());
        assert_eq!(nothing.security == Security::Secure, validation == Validation::TrustAd);
    }
}

/// RFC 2782, RFC 6120 §3.2.1, XEP-0368 §2: two sets of records in one order; `.` means that there is no service.
#[tokio::test]
async fn services_are_mixed_and_denied() {
    let server = Server::start(|asked| {
        let (service, domain) = asked.name.split_once("._tcp.").unwrap();
        let direct = service == "_s";
        let at = |rest: &str| format!("{} 60 SRV {rest}", asked.name);
        vec![match (domain, direct) {
            ("mixed.example", true) => asked.reply(&[&at("10 0 443 d.example"), &at("30 0 5223 D2.example")]),
            ("mixed.example", false) => asked.reply(&[&at("20 0 5222 s.example"), &at("40 0 5222 .")]),
            ("denied.example", _) | ("half.example", true) => asked.reply(&[&at("0 0 0 .")]),
            ("half.example", false) => asked.reply(&[&at("5 1 5222 h.example")]),
            ("direct-denied.example", true) => asked.reply(&[&at("0 0 0 .")]),
            ("failing.example", _) | ("half-failing.example", true) => asked.begin(Rcode::SERVFAIL).finish(),
            _ => asked.nothing(Rcode::NXDOMAIN, 60),
        }]
    })
    .await;
    let resolver = server.resolver();
    for (domain, wanted) in [
        (
            "mixed.example",
            Ok(vec![("d.example", 443, 's'), ("s.example", 5222, 'c'), ("d2.example", 5223, 's')]),
        ),
        ("half.example", Ok(vec![("h.example", 5222, 'c')])),
        ("denied.example", Err(Services::Nowhere)),
        ("direct-denied.example", Err(Services::Nowhere)),
        ("absent.example", Err(Services::Unknown)),
        ("failing.example", Err(Services::Unanswered(DnsError::Refused(2)))),
        ("half-failing.example", Err(Services::Unanswered(DnsError::Refused(2)))),
    ] {
        let (direct, start) = (format!("_s._tcp.{domain}"), format!("_c._tcp.{domain}"));
        let found = resolver.services([(&direct, 's'), (&start, 'c')]).await;
        match (found, wanted) {
            (Services::At(found), Ok(wanted)) => {
                let found: Vec<_> =
                    found.iter().map(|one| (one.srv.target.as_str(), one.srv.port, one.tag)).collect();
                assert_eq!(found, wanted, "{domain}");
            }
            (found, Err(wanted)) => assert_eq!(found, wanted, "{domain}"),
            (found, wanted) => panic!("{domain}: {found:?}, not {wanted:?}"),
        }
    }
}

/// Ids are random: two questions with one id, out of so many, would be a coincidence of less than one in a million for each pair in a row.
#[tokio::test]
async fn ids_are_random() {
    let ids: Arc<Mutex<Vec<u16>>> = Arc::default();
    let server = {
        let ids = Arc::clone(&ids);
        Server::start(move |asked| {
            ids.lock().unwrap().push(asked.message.header().id());
            vec![asked.nothing(Rcode::NOERROR, 0)]
        })
        .await
    };
    let resolver = Resolver::new(server.config(), Arc::new(OsEntropy));
    for _ in 0..100 {
        resolver.srv("x.example").await.unwrap();
    }
    let mut ids = ids.lock().unwrap().clone();
    assert_eq!(ids.len(), 100);
    ids.sort_unstable();
    ids.dedup();
    assert!(
        ids.len() > 90 && ids.iter().any(|id| *id > 0x8000) && ids.iter().any(|id| *id < 0x8000),
        "{ids:?}"
    );
}

/// Whatever comes, an answer or an error comes of it: no packet makes the resolver panic or wait for ever.
#[tokio::test]
async fn arbitrary_answers_do_no_harm() {
    let state = Mutex::new(0x9e37_79b9_7f4a_7c15_u64);
    let server = Server::start(move |asked| {
        let lines =
            ["x.example 60 CNAME y.example", "y.example 60 SRV 1 2 3 z.example", "y.example 60 A 192.0.2.1"];
        let mut packet = asked.reply(&lines);
        let mut state = state.lock().unwrap();
        // One to four bytes behind the id and the flags are anything.
        let mut next = || {
            *state ^= *state << 13;
            *state ^= *state >> 7;
            *state ^= *state << 17;
            *state as usize
        };
        for _ in 0..1 + next() % 4 {
            let at = 4 + next() % (packet.len() - 4);
            packet[at] = next() as u8;
        }
        vec![packet]
    })
    .await;
    let config = DnsConfig { timeout: Duration::from_millis(20), attempts: 1, cache: 0, ..server.config() };
    let resolver = Resolver::with(config);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..150 {
        match resolver.srv("x.example").await {
            Ok(answer) if !answer.records.is_empty() => good += 1,
            _ => bad += 1,
        }
    }
    assert!(good > 0 && bad > 0, "{good} {bad}");
}

/// The same without a network, for many more packets: cut anywhere, changed anywhere, pointers into themselves included.
#[test]
fn arbitrary_packets_are_read_or_refused() {
    let mut question = MessageBuilder::new_vec().question();
    question.push((name("x.example"), Rtype::SRV)).unwrap();
    let asked = Asked::read(&question.finish(), false);
    let lines =
        ["x.example 60 CNAME y.example", "y.example 60 SRV 1 2 3 z.example", "y.example 60 SRV 0 0 0 ."];
    let packet = asked.reply(&lines);
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    let (mut good, mut broken) = (0, 0);
    for _ in 0..50_000 {
        let mut packet = packet.clone();
        for _ in 0..next() % 4 {
            let at = 2 + next() % (packet.len() - 2);
            // Compression pointers are what readers of DNS packets fall over (RFC 1035 §4.1.4).
            packet[at] = if next() % 3 == 0 { 0xc0 } else { next() as u8 };
        }
        if next() % 4 == 0 {
            packet.truncate(next() % packet.len());
        }
        let Ok(message) = Message::from_octets(packet) else { continue };
        // What comes of these may be anything, but it must come.
        drop((reply::signed_for(&message, 0), validate::bounded(&message)));
        match reply::read(&message, &name("x.example"), Kind::Srv, &mut Vec::new()) {
            Ok(_) => good += 1,
            Err(DnsError::Broken | DnsError::Aliases) => broken += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(good > 1000 && broken > 1000, "{good} {broken}");
}
