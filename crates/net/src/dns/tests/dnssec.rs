//! Validation against zones that are signed, not signed, or signed wrongly (S3-16, S3-21).

use std::time::Duration;

use super::lab::Server;
use super::world::World;
use super::*;

const ZONES: &str = "
    zone test signed
    ns.test 60 A 192.0.2.53
    zone sec.test signed
    sec.test 60 A 192.0.2.1
    *.wild.sec.test 60 A 192.0.2.7
    alias.sec.test 60 CNAME sec.test
    out.sec.test 60 CNAME uns.test
    in.sec.test 60 CNAME a.sub.sec.test
    _xmpp-server._tcp.sec.test 300 SRV 10 0 5269 sec.test
    _5269._tcp.sec.test 300 TLSA 3 1 1 aabb
    forged.sec.test 60 A 192.0.2.66 ;forged
    naked.sec.test 60 A 192.0.2.66 ;naked
    expired.sec.test 60 A 192.0.2.66 ;expired
    soon.sec.test 3600 A 192.0.2.2 ;soon
    many.sec.test 60 A 192.0.2.66 ;many
    worse.sec.test 60 CNAME forged.sec.test
    zone sub.sec.test signed
    a.sub.sec.test 60 A 192.0.2.3
    zone uns.test plain
    uns.test 60 A 192.0.2.4
    back.uns.test 60 CNAME sec.test
    zone bog.test broken
    bog.test 60 A 192.0.2.66
";

fn judged<T: std::fmt::Debug>(answer: Result<Answer<T>, DnsError>) -> Result<Security, DnsError> {
    answer.map(|answer| answer.security)
}

/// RFC 4035 §4.3, §5: each of the four states, over aliases, wildcards and denials.
#[tokio::test]
async fn s3_16_answers_are_as_good_as_their_signatures() {
    let (_server, config) = World::new(ZONES).serve().await;
    let resolver = Resolver::with(config);
    for (name, records, security) in [
        ("sec.test", 1, Security::Secure),
        ("SEC.Test", 1, Security::Secure),
        ("a.sub.sec.test", 1, Security::Secure),
        ("x.wild.sec.test", 1, Security::Secure),
        ("alias.sec.test", 1, Security::Secure),
        ("in.sec.test", 1, Security::Secure),
        ("nothing.sec.test", 0, Security::Secure),
        ("x.y.z.test", 0, Security::Secure),
        ("_tcp.sec.test", 0, Security::Secure),
        // An alias between a zone that is signed and one that is not.
        ("out.sec.test", 1, Security::Insecure),
        ("back.uns.test", 1, Security::Insecure),
        ("uns.test", 1, Security::Insecure),
        ("nothing.uns.test", 0, Security::Insecure),
    ] {
        let answer = resolver.family(name, false).await.unwrap();
        assert_eq!((answer.records.len(), answer.security), (records, security), "{name}");
    }
    for name in [
        "forged.sec.test",
        "naked.sec.test",
        "expired.sec.test",
        "many.sec.test",
        "worse.sec.test",
        "bog.test",
        "nothing.bog.test",
    ] {
        let answer = resolver.family(name, false).await;
        assert!(matches!(answer, Err(DnsError::Bogus(_))), "{name}: {answer:?}");
    }
    // Outside of what the anchor is for, nobody can say.
    assert_eq!(judged(resolver.family("other.example", false).await), Ok(Security::Indeterminate));
    let srv = resolver.srv("_xmpp-server._tcp.sec.test").await.unwrap();
    assert_eq!((srv.records[0].port, srv.security), (5269, Security::Secure));
    let tlsa = resolver.tlsa("_5269._tcp.sec.test").await.unwrap();
    assert_eq!((tlsa.records[0].to_string(), tlsa.security), ("3 1 1 aabb".to_owned(), Security::Secure));
    assert_eq!(judged(resolver.tlsa("_5270._tcp.sec.test").await), Ok(Security::Secure));
}

/// RFC 4035 §5.3.3: an answer holds no longer than its signature. What was followed is told, with what is known of it.
#[tokio::test]
async fn s3_20_answers_end_with_their_signatures() {
    let (_server, config) = World::new(ZONES).serve().await;
    let resolver = Resolver::with(config);
    let left = |time: Time| time.since(resolver::now()).as_secs();
    let soon = resolver.family("soon.sec.test", false).await.unwrap();
    assert!((90..=100).contains(&left(soon.expires)), "{:?}", soon.expires);
    let alias = resolver.family("alias.sec.test", false).await.unwrap();
    assert!((50..=60).contains(&left(alias.expires)));
    let [hop] = alias.aliases.as_slice() else { panic!("{alias:?}") };
    assert_eq!((hop.owner.as_str(), hop.target.as_str()), ("alias.sec.test", "sec.test"));
    assert_eq!(hop.security, Security::Secure);
}

/// Whoever is between us and the recursive server drops, cuts or changes what he likes: nothing of it looks like "there is no record".
#[tokio::test]
async fn s3_16_whoever_is_in_the_way_can_only_break_things() {
    type Attack = fn(&Asked, Vec<u8>) -> Vec<Vec<u8>>;
    type Expected = fn(&DnsError) -> bool;
    let attacks: [(&str, Attack, Expected); 5] = [
        (
            "no such record",
            |asked, _| vec![asked.nothing(Rcode::NOERROR, 60)],
            |error| matches!(error, DnsError::Bogus(_)),
        ),
        (
            "no such name",
            |asked, _| vec![asked.nothing(Rcode::NXDOMAIN, 60)],
            |error| matches!(error, DnsError::Bogus(_)),
        ),
        ("SERVFAIL", |asked, _| vec![asked.refused()], |error| *error == DnsError::Refused(2)),
        ("silence", |_, _| Vec::new(), |error| *error == DnsError::Timeout),
        (
            "another record",
            |asked, _| vec![asked.reply(&["_xmpp-server._tcp.sec.test 60 SRV 0 0 5269 evil.example"])],
            |error| matches!(error, DnsError::Bogus(_)),
        ),
    ];
    for (what, attack, expected) in attacks {
        // On the answer itself, then on the keys that it needs.
        for on in [Rtype::SRV, Rtype::DS, Rtype::DNSKEY] {
            if what == "another record" && on != Rtype::SRV {
                continue;
            }
            let world = World::new(ZONES);
            let anchors = world.anchors();
            let server = Server::start(move |asked| {
                let reply = world.reply(asked);
                if asked.kind == on { attack(asked, reply) } else { vec![reply] }
            })
            .await;
            let config = DnsConfig {
                validation: Validation::Local(anchors),
                timeout: Duration::from_millis(200),
                attempts: 1,
                ..server.config()
            };
            let answer = Resolver::with(config).srv("_xmpp-server._tcp.sec.test").await;
            assert!(answer.as_ref().is_err_and(expected), "{what} on {on}: {answer:?}");
        }
    }
}

/// A forwarder that gives aliases without their targets: each step is proven by itself.
#[tokio::test]
async fn aliases_without_their_targets() {
    let world = World::new(ZONES);
    let anchors = world.anchors();
    let server = Server::start(move |asked| {
        let name = asked.name.as_str();
        let alias = Asked {
            kind: Rtype::CNAME,
            name: asked.name.clone(),
            message: asked.message.clone(),
            tcp: false,
        };
        let is_alias = ["alias.sec.test", "in.sec.test", "out.sec.test", "worse.sec.test"].contains(&name);
        vec![if is_alias && asked.kind == Rtype::A { world.reply(&alias) } else { world.reply(asked) }]
    })
    .await;
    let config = DnsConfig { validation: Validation::Local(anchors), ..server.config() };
    let resolver = Resolver::with(config);
    for (name, security) in [
        ("alias.sec.test", Security::Secure),
        ("in.sec.test", Security::Secure),
        ("out.sec.test", Security::Insecure),
    ] {
        let answer = resolver.family(name, false).await.unwrap();
        assert_eq!((answer.records.len(), answer.security, answer.aliases.len()), (1, security, 1), "{name}");
    }
    assert!(matches!(resolver.family("worse.sec.test", false).await, Err(DnsError::Bogus(_))));
}

/// KeyTrap: a name below very many zones is given up; what was asked is bounded.
#[tokio::test]
async fn work_is_bounded() {
    let mut text = "zone test signed\n".to_owned();
    let mut apex = "test".to_owned();
    for number in 0..40 {
        apex = format!("z{number}.{apex}");
        text += &format!("zone {apex} signed\n");
    }
    text += &format!("{apex} 60 A 192.0.2.1\n");
    let (server, config) = World::new(&text).serve().await;
    let answer = Resolver::with(config).family(&apex, false).await;
    assert_eq!(
        answer.map(|answer| answer.security),
        Err(DnsError::Bogus("too many zones on the way".to_owned()))
    );
    assert!(server.total() < 60, "{}", server.total());
}

/// Keys and delegations are asked for once, not for each answer.
#[tokio::test]
async fn keys_are_remembered() {
    let (server, config) = World::new(ZONES).serve().await;
    let resolver = Resolver::with(config);
    for name in ["sec.test", "alias.sec.test", "nothing.sec.test", "x.wild.sec.test"] {
        resolver.family(name, false).await.unwrap();
    }
    for kind in [Rtype::DS, Rtype::DNSKEY] {
        assert_eq!(server.asked("sec.test", kind, false), 1, "{kind}");
    }
}

/// S3-16: that nothing can be checked is found out at the start, not by each lookup.
#[tokio::test]
async fn whether_anything_can_be_checked() {
    let (server, good) = World::new(ZONES).serve().await;
    let check = async |config: DnsConfig| Resolver::with(config).check_validation().await;
    assert_eq!(check(good.clone()).await, Ok(()));
    assert_eq!(check(server.config()).await, Ok(()), "nothing is to be checked");
    let other = DnsConfig { validation: Validation::Local(World::new(ZONES).anchors()), ..good.clone() };
    assert!(matches!(check(other).await, Err(DnsError::Bogus(_))), "other keys");
    let root = DnsConfig { validation: Validation::Local(Anchors::root()), ..good.clone() };
    assert!(matches!(check(root).await, Err(DnsError::Bogus(_))), "no keys");
    // One that says nothing about signatures, one that may not say anything, one that does.
    let trust = DnsConfig { validation: Validation::TrustAd, ..good.clone() };
    assert!(matches!(check(trust.clone()).await, Err(DnsError::Bogus(_))));
    let far = DnsConfig { servers: vec!["192.0.2.1:53".parse().unwrap()], ..trust.clone() };
    assert!(matches!(check(far).await, Err(DnsError::Unreachable(_))));
    let validating = Server::start(|asked| {
        let mut reply = asked.begin(Rcode::NOERROR);
        reply.header_mut().set_ad(asked.message.header().ad());
        vec![reply.finish()]
    })
    .await;
    assert_eq!(check(DnsConfig { servers: vec![validating.address], ..trust }).await, Ok(()));
}

/// RFC 8624 §3.1: what zones are signed with today, whoever is above them; what is wrong below them is as wrong as anywhere.
#[tokio::test]
async fn s3_16_zones_of_every_algorithm() {
    for algorithm in [8, 10, 13, 14, 15] {
        for (top, above) in [(13, 13), (8, 15), (15, 14), (14, 8)] {
            let zones = format!(
                "zone test signed {top}
                ns.test 60 A 192.0.2.53
                alias.test 60 CNAME sec.above.test
                zone above.test signed {above}
                zone sec.above.test signed {algorithm}
                sec.above.test 60 A 192.0.2.1
                *.wild.sec.above.test 60 A 192.0.2.7
                _5269._tcp.sec.above.test 300 TLSA 3 1 1 aabb
                forged.sec.above.test 60 A 192.0.2.66 ;forged
                naked.sec.above.test 60 A 192.0.2.66 ;naked
                expired.sec.above.test 60 A 192.0.2.66 ;expired
                zone uns.sec.above.test plain
                uns.sec.above.test 60 A 192.0.2.4
                zone bog.above.test broken {algorithm}
                bog.above.test 60 A 192.0.2.66"
            );
            let (_server, config) = World::new(&zones).serve().await;
            let resolver = Resolver::with(config);
            let case = format!("{algorithm} under {above} under {top}");
            for (name, records, security) in [
                ("uns.sec.above.test", 1, Security::Insecure),
                ("sec.above.test", 1, Security::Secure),
                ("alias.test", 1, Security::Secure),
                ("x.wild.sec.above.test", 1, Security::Secure),
                ("nothing.sec.above.test", 0, Security::Secure),
                ("_tcp.sec.above.test", 0, Security::Secure),
            ] {
                let answer = resolver.family(name, false).await.unwrap();
                assert_eq!((answer.records.len(), answer.security), (records, security), "{case}: {name}");
            }
            assert_eq!(
                judged(resolver.tlsa("_5269._tcp.sec.above.test").await),
                Ok(Security::Secure),
                "{case}"
            );
            assert_eq!(judged(resolver.tlsa("_1._tcp.sec.above.test").await), Ok(Security::Secure), "{case}");
            for name in
                ["forged.sec.above.test", "naked.sec.above.test", "expired.sec.above.test", "bog.above.test"]
            {
                let answer = resolver.family(name, false).await;
                assert!(matches!(answer, Err(DnsError::Bogus(_))), "{case}: {name}: {answer:?}");
            }
        }
    }
}

/// Many at once are told the same, and nobody that a zone is not signed because another found its keys first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grafted_for_all() {
    for _ in 0..20 {
        let mut zones = "zone test signed\n".to_owned();
        for number in 0..8 {
            zones += &format!("zone z{number}.test signed 15\nz{number}.test 60 A 192.0.2.1\n");
            zones += &(0..4).map(|one| format!("n{one}.z{number}.test 60 A 192.0.2.1\n")).collect::<String>();
        }
        let (_server, config) = World::new(&zones).serve().await;
        let resolver = Arc::new(Resolver::with(config));
        let names = (0..8).flat_map(|zone| (0..4).map(move |one| format!("n{one}.z{zone}.test")));
        let lookups: Vec<_> = names
            .map(|name| {
                let resolver = Arc::clone(&resolver);
                tokio::spawn(async move { judged(resolver.family(&name, false).await) })
            })
            .collect();
        for lookup in lookups {
            assert_eq!(lookup.await.unwrap(), Ok(Security::Secure));
        }
    }
}
