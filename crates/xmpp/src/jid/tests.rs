//! JIDs against the tables and rules of RFC 7622, RFC 8264, RFC 8265, RFC 5892 and RFC 5893.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash, Hasher};

use proptest::prelude::*;

use super::precis::{Property, property};
use super::*;

fn reason<T: fmt::Debug>(result: Result<T, JidError>) -> Option<(Part, Reason)> {
    result.err().map(|error| (error.part(), error.reason()))
}

/// RFC 7622 §3.5 table 1: the address, its localpart, domainpart and resourcepart.
#[test]
fn rfc7622_3_5_valid() {
    type Row = (u8, &'static str, Option<&'static str>, &'static str, Option<&'static str>);
    let rows: [Row; 15] = [
        (1, "juliet@example.com", Some("juliet"), "example.com", None),
        (2, "juliet@example.com/foo", Some("juliet"), "example.com", Some("foo")),
        (3, "juliet@example.com/foo bar", Some("juliet"), "example.com", Some("foo bar")),
        (4, "juliet@example.com/foo@bar", Some("juliet"), "example.com", Some("foo@bar")),
        (5, "foo\\20bar@example.com", Some("foo\\20bar"), "example.com", None),
        (6, "fussball@example.com", Some("fussball"), "example.com", None),
        (7, "fu\u{DF}ball@example.com", Some("fu\u{DF}ball"), "example.com", None),
        (8, "\u{3C0}@example.com", Some("\u{3C0}"), "example.com", None),
        (9, "\u{3A3}@example.com/foo", Some("\u{3C3}"), "example.com", Some("foo")),
        (10, "\u{3C3}@example.com/foo", Some("\u{3C3}"), "example.com", Some("foo")),
        (11, "\u{3C2}@example.com/foo", Some("\u{3C2}"), "example.com", Some("foo")),
        (12, "king@example.com/\u{265A}", Some("king"), "example.com", Some("\u{265A}")),
        (13, "example.com", None, "example.com", None),
        (14, "example.com/foobar", None, "example.com", Some("foobar")),
        (15, "a.example.com/b@example.net", None, "a.example.com", Some("b@example.net")),
    ];
    for (number, input, local, domain, resource) in rows {
        let jid = Jid::new(input).unwrap_or_else(|error| panic!("example {number}: {error}"));
        assert_eq!(
            (jid.local(), jid.domain(), jid.resource()),
            (local, domain, resource),
            "example {number}"
        );
        assert_eq!(jid.is_full(), resource.is_some());
        assert_eq!(jid.is_domain(), local.is_none() && resource.is_none());
        check_invariants(input);
    }
    let jid = |at: usize| Jid::new(rows[at - 1].1).unwrap();
    assert_ne!(jid(6), jid(7), "sharp s is not ss");
    assert_eq!(jid(9), jid(10), "capital sigma is small sigma");
    assert_ne!(jid(9), jid(11), "final sigma is another letter");
}

/// RFC 7622 §3.5 table 2.
#[test]
fn rfc7622_3_5_invalid() {
    let rows = [
        (16, "\"juliet\"@example.com", Part::Local, Reason::Disallowed('"')),
        (17, "foo bar@example.com", Part::Local, Reason::Disallowed(' ')),
        (18, "juliet@example.com/ foo", Part::Resource, Reason::LeadingSpace),
        (19, "@example.com/", Part::Local, Reason::Empty),
        (20, "henry\u{2163}@example.com", Part::Local, Reason::Disallowed('\u{2163}')),
        (21, "\u{265A}@example.com", Part::Local, Reason::Disallowed('\u{265A}')),
        (22, "juliet@", Part::Domain, Reason::Empty),
        (23, "/foobar", Part::Domain, Reason::Empty),
    ];
    for (number, input, part, why) in rows {
        assert_eq!(reason(Jid::new(input)), Some((part, why)), "example {number}");
        check_invariants(input);
    }
    assert_eq!(reason(Jid::new("example.com/")), Some((Part::Resource, Reason::Empty)));
}

/// RFC 7622 §3.3.1: each excluded character, plain and fullwidth (which is mapped to it).
#[test]
fn rfc7622_3_3_1_excluded() {
    for c in "\"&'/:<>@".chars() {
        let wide = char::from_u32(u32::from(c) + 0xFEE0).unwrap();
        for input in [format!("a{c}b"), format!("a{wide}b"), format!("\u{E4}{c}"), c.to_string()] {
            assert_eq!(reason(prepare_local(&input)), Some((Part::Local, Reason::Disallowed(c))), "{input}");
        }
    }
    // The separators are sought before any mapping (RFC 7622 §3.1).
    assert!(Jid::new("a\u{FF20}example.com").is_err());
}

/// RFC 8265 §3.5 (UsernameCaseMapped) as far as RFC 7622 leaves it, and the rules of §3.3.
#[test]
fn rfc8265_localparts() {
    let valid = [
        ("fussball", "fussball"),
        ("fu\u{DF}ball", "fu\u{DF}ball"),
        ("stra\u{DF}e", "stra\u{DF}e"),
        ("\u{3C0}", "\u{3C0}"),
        ("\u{3A3}", "\u{3C3}"),
        ("\u{3C3}", "\u{3C3}"),
        ("\u{3C2}", "\u{3C2}"),
        ("JULIET", "juliet"),
        ("\u{C5}NGSTR\u{D6}M", "\u{E5}ngstr\u{F6}m"),
        // width mapping
        ("\u{FF2A}\u{FF55}\u{FF4C}\u{FF49}\u{FF45}\u{FF54}", "juliet"),
        ("\u{FF76}\u{FF9E}", "\u{30AC}"),
        // NFC
        ("A\u{30A}", "\u{E5}"),
        ("e\u{301}", "\u{E9}"),
        // lower case that is longer, or meets its marks again
        ("\u{130}", "i\u{307}"),
        ("T\u{308}", "\u{1E97}"),
        ("\u{1E9E}", "\u{DF}"),
        // newer than Unicode 6.3: Adlam (9.0), Vithkuqi (14.0)
        ("\u{1E900}", "\u{1E922}"),
        ("\u{10570}", "\u{10597}"),
    ];
    for (input, expected) in valid {
        assert_eq!(prepare_local(input).as_deref(), Ok(expected), "{input:?}");
        assert_eq!(prepare_local(expected).as_deref(), Ok(expected), "{expected:?}");
    }
    let invalid = [
        ("foo bar", Reason::Disallowed(' ')),
        ("", Reason::Empty),
        ("henry\u{2163}", Reason::Disallowed('\u{2163}')),
        ("\u{221E}", Reason::Disallowed('\u{221E}')),
        ("\u{265A}", Reason::Disallowed('\u{265A}')),
        ("\u{1F4F1}", Reason::Disallowed('\u{1F4F1}')),
        ("a\u{A0}b", Reason::Disallowed('\u{A0}')),
        ("a\u{3000}b", Reason::Disallowed(' ')),
        ("\u{FB00}", Reason::Disallowed('\u{FB00}')),
        ("\u{17F}", Reason::Disallowed('\u{17F}')),
        ("\u{212B}", Reason::Disallowed('\u{212B}')),
        ("a\u{AD}b", Reason::Disallowed('\u{AD}')),
        ("a\u{200B}b", Reason::Disallowed('\u{200B}')),
        ("a\tb", Reason::Disallowed('\t')),
        ("a\0b", Reason::Disallowed('\0')),
        ("a\u{7F}", Reason::Disallowed('\u{7F}')),
        ("\u{1100}\u{1161}", Reason::Disallowed('\u{1100}')),
        ("\u{E000}", Reason::Disallowed('\u{E000}')),
        ("\u{378}", Reason::Disallowed('\u{378}')),
        ("\u{FFFF}", Reason::Disallowed('\u{FFFF}')),
    ];
    for (input, why) in invalid {
        assert_eq!(reason(prepare_local(input)), Some((Part::Local, why)), "{input:?}");
    }
}

/// RFC 8265 §4.3 (OpaqueString) and the rules of §4.2.
#[test]
fn rfc8265_resourceparts() {
    let valid = [
        ("correct horse battery staple", "correct horse battery staple"),
        ("Correct Horse Battery Staple", "Correct Horse Battery Staple"),
        ("\u{3C0}\u{DF}\u{E5}", "\u{3C0}\u{DF}\u{E5}"),
        ("Jack of \u{2666}s", "Jack of \u{2666}s"),
        ("foo\u{1680}bar", "foo bar"),
        ("foo\u{A0}bar\u{3000}", "foo bar "),
        ("A\u{30A}", "\u{C5}"),
        ("\u{212B}", "\u{C5}"),
        ("\u{FF21}", "\u{FF21}"),
        ("\u{2163}", "\u{2163}"),
        ("\u{1F4F1}", "\u{1F4F1}"),
        ("\u{1FAE0} melting", "\u{1FAE0} melting"),
        ("\u{1F469}\u{1F3FD}", "\u{1F469}\u{1F3FD}"),
        ("/a/b@c", "/a/b@c"),
        ("\u{5D0} a", "\u{5D0} a"),
    ];
    for (input, expected) in valid {
        assert_eq!(prepare_resource(input).as_deref(), Ok(expected), "{input:?}");
    }
    let invalid = [
        ("", Reason::Empty),
        ("my cat is a \tby", Reason::Disallowed('\t')),
        (" a", Reason::LeadingSpace),
        ("\u{A0}a", Reason::LeadingSpace),
        ("a\u{2028}b", Reason::Disallowed('\u{2028}')),
        ("a\u{202E}b", Reason::Disallowed('\u{202E}')),
        ("\u{2764}\u{FE0F}", Reason::Disallowed('\u{FE0F}')),
        ("\u{1F469}\u{200D}\u{1F4BB}", Reason::Context('\u{200D}')),
        ("\u{FDD0}", Reason::Disallowed('\u{FDD0}')),
        ("\u{1100}", Reason::Disallowed('\u{1100}')),
    ];
    for (input, why) in invalid {
        assert_eq!(reason(prepare_resource(input)), Some((Part::Resource, why)), "{input:?}");
    }
}

/// The derived property of RFC 8264 §8, for code points of every category of §9.
#[test]
fn rfc8264_8_derived_property() {
    use Property::{ContextJ, ContextO, Disallowed, FreeformOnly, Unassigned, Valid};

    let points = [
        // ASCII7 (§9.11) and what stands around it
        (0x00, Disallowed),
        (0x1F, Disallowed),
        (0x20, FreeformOnly),
        (0x21, Valid),
        (0x41, Valid),
        (0x61, Valid),
        (0x7E, Valid),
        (0x7F, Disallowed),
        (0x85, Disallowed),
        // Exceptions (§9.6)
        (0xDF, Valid),
        (0x3C2, Valid),
        (0x6FD, Valid),
        (0x6FE, Valid),
        (0xF0B, Valid),
        (0x3007, Valid),
        (0xB7, ContextO),
        (0x375, ContextO),
        (0x5F3, ContextO),
        (0x5F4, ContextO),
        (0x30FB, ContextO),
        (0x660, ContextO),
        (0x669, ContextO),
        (0x6F0, ContextO),
        (0x6F9, ContextO),
        (0x640, Disallowed),
        (0x7FA, Disallowed),
        (0x302E, Disallowed),
        (0x302F, Disallowed),
        (0x3031, Disallowed),
        (0x3035, Disallowed),
        (0x303B, Disallowed),
        // JoinControl (§9.8)
        (0x200C, ContextJ),
        (0x200D, ContextJ),
        // OldHangulJamo (§9.9)
        (0x1100, Disallowed),
        (0x1161, Disallowed),
        (0x11A8, Disallowed),
        (0xA960, Disallowed),
        (0xD7FB, Disallowed),
        (0xAC00, Valid),
        // Unassigned (§9.10), noncharacters are not
        (0x378, Unassigned),
        (0x1FFFF, Disallowed),
        (0xFDD0, Disallowed),
        (0x10FFFF, Disallowed),
        // PrecisIgnorableProperties (§9.13)
        (0xAD, Disallowed),
        (0x34F, Disallowed),
        (0x115F, Disallowed),
        (0x180E, Disallowed),
        (0x200B, Disallowed),
        (0x200E, Disallowed),
        (0x2060, Disallowed),
        (0x3164, Disallowed),
        (0xFE0F, Disallowed),
        (0xFEFF, Disallowed),
        (0xFFA0, Disallowed),
        (0xE0001, Disallowed),
        (0xE0100, Disallowed),
        // Spaces (§9.14); the other separators belong to nothing
        (0xA0, FreeformOnly),
        (0x1680, FreeformOnly),
        (0x2003, FreeformOnly),
        (0x202F, FreeformOnly),
        (0x3000, FreeformOnly),
        (0x2028, Disallowed),
        (0x2029, Disallowed),
        // Symbols (§9.15), Punctuation (§9.16)
        (0xA2, FreeformOnly),
        (0xA9, FreeformOnly),
        (0xD7, FreeformOnly),
        (0x2C2, FreeformOnly),
        (0x221E, FreeformOnly),
        (0x265A, FreeformOnly),
        (0x1F4F1, FreeformOnly),
        (0xA7, FreeformOnly),
        (0xBF, FreeformOnly),
        (0x2010, FreeformOnly),
        (0x203F, FreeformOnly),
        (0x3001, FreeformOnly),
        // HasCompat (§9.17)
        (0xAA, FreeformOnly),
        (0xB2, FreeformOnly),
        (0xBC, FreeformOnly),
        (0x132, FreeformOnly),
        (0x17F, FreeformOnly),
        (0x1C5, FreeformOnly),
        (0x340, FreeformOnly),
        (0x387, FreeformOnly),
        (0x958, FreeformOnly),
        (0x1D2C, FreeformOnly),
        (0x1F71, FreeformOnly),
        (0x2126, FreeformOnly),
        (0x212A, FreeformOnly),
        (0x212B, FreeformOnly),
        (0x2163, FreeformOnly),
        (0x3131, FreeformOnly),
        (0xF900, FreeformOnly),
        (0xFB00, FreeformOnly),
        (0xFF21, FreeformOnly),
        (0x1D400, FreeformOnly),
        (0x2F800, FreeformOnly),
        // LetterDigits (§9.1)
        (0xB5, FreeformOnly),
        (0xC0, Valid),
        (0xE0, Valid),
        (0x138, Valid),
        (0x1C0, Valid),
        (0x2BB, Valid),
        (0x300, Valid),
        (0x345, Valid),
        (0x3A3, Valid),
        (0x5D0, Valid),
        (0x627, Valid),
        (0x903, Valid),
        (0x966, Valid),
        (0x1E9E, Valid),
        (0x3005, Valid),
        (0x4E00, Valid),
        (0x10400, Valid),
        (0x1E922, Valid),
        (0x20000, Valid),
        (0x30000, Valid),
        // OtherLetterDigits (§9.18)
        (0x488, FreeformOnly),
        (0x1F88, FreeformOnly),
        (0x16EE, FreeformOnly),
        (0x9F4, FreeformOnly),
        (0x20DD, FreeformOnly),
        (0x3021, FreeformOnly),
        // private use belongs to nothing
        (0xE000, Disallowed),
        (0xF0000, Disallowed),
    ];
    for (point, expected) in points {
        let c = char::from_u32(point).unwrap();
        assert_eq!(property(c), expected, "U+{point:04X}");
    }
}

/// RFC 5892 appendix A: each rule with a text it allows and one it does not.
#[test]
fn rfc5892_a_context() {
    let rows = [
        // A.1 ZERO WIDTH NON-JOINER: after a virama, or where a connection is broken
        ("\u{915}\u{94D}\u{200C}\u{937}", None),
        ("\u{628}\u{200C}\u{628}", None),
        ("\u{628}\u{64B}\u{200C}\u{64B}\u{627}", None),
        ("\u{627}\u{200C}\u{628}", Some('\u{200C}')),
        ("a\u{200C}b", Some('\u{200C}')),
        ("\u{200C}a", Some('\u{200C}')),
        ("\u{628}\u{200C}", Some('\u{200C}')),
        // A.2 ZERO WIDTH JOINER
        ("\u{915}\u{94D}\u{200D}\u{937}", None),
        ("\u{628}\u{200D}\u{628}", Some('\u{200D}')),
        // A.3 MIDDLE DOT
        ("col\u{B7}lega", None),
        ("col\u{B7}egal", Some('\u{B7}')),
        ("\u{B7}l", Some('\u{B7}')),
        ("l\u{B7}", Some('\u{B7}')),
        // A.4 GREEK LOWER NUMERAL SIGN
        ("\u{375}\u{3B2}", None),
        ("\u{375}b", Some('\u{375}')),
        ("\u{3B2}\u{375}", Some('\u{375}')),
        // A.5, A.6 HEBREW PUNCTUATION
        ("\u{5D0}\u{5F3}\u{5D1}", None),
        ("\u{5D0}\u{5F4}\u{5D1}", None),
        ("\u{5F3}\u{5D0}", Some('\u{5F3}')),
        ("\u{5F4}\u{5D0}", Some('\u{5F4}')),
        // A.7 KATAKANA MIDDLE DOT, also halfwidth
        ("\u{30FB}\u{30AB}", None),
        ("a\u{30FB}\u{3042}", None),
        ("a\u{30FB}\u{4E00}", None),
        ("\u{FF65}\u{30AB}", None),
        ("a\u{30FB}b", Some('\u{30FB}')),
        // A.8, A.9 digits
        ("\u{627}\u{661}\u{662}", None),
        ("\u{627}\u{6F1}\u{6F2}", None),
        ("\u{627}\u{661}\u{6F2}", Some('\u{661}')),
        ("\u{627}\u{6F2}\u{661}", Some('\u{6F2}')),
    ];
    for (input, wrong) in rows {
        let expected = wrong.map(|c| (Part::Local, Reason::Context(c)));
        assert_eq!(reason(prepare_local(input)), expected, "{input:?}");
    }
}

/// RFC 5893 §2, the six conditions, for localparts (RFC 8265 §3.3.3).
#[test]
fn rfc5893_2_bidi() {
    let rows = [
        ("\u{5D0}\u{5D1}", true),
        ("\u{5D0}1", true),
        ("\u{627}\u{661}", true),
        ("\u{5D0}-\u{5D1}", true),
        ("\u{5D0}\u{5B0}", true),
        ("a1", true),
        ("1a", true),
        ("1\u{5D0}", false),
        ("a\u{5D0}", false),
        ("\u{5D0}a", false),
        ("\u{5D0}a\u{5D1}", false),
        ("\u{5D0}-", false),
        ("\u{627}\u{661}1", false),
        ("\u{661}", false),
        ("\u{5B0}\u{5D0}", false),
    ];
    for (input, good) in rows {
        let expected = (!good).then_some((Part::Local, Reason::Direction));
        assert_eq!(reason(prepare_local(input)), expected, "{input:?}");
    }
    assert!(prepare_resource("\u{5D0}a").is_ok(), "OpaqueString has no rule of direction");
}

/// RFC 7622 §3.2: what a domainpart may be and what it becomes.
#[test]
fn rfc7622_3_2_domainparts() {
    let rows = [
        ("example.com", "example.com", Some("example.com")),
        ("Example.COM", "example.com", Some("example.com")),
        ("example.com.", "example.com", Some("example.com")),
        ("localhost", "localhost", Some("localhost")),
        ("b\u{FC}cher.example", "b\u{FC}cher.example", Some("xn--bcher-kva.example")),
        ("xn--bcher-kva.example", "b\u{FC}cher.example", Some("xn--bcher-kva.example")),
        ("XN--BCHER-KVA.example.", "b\u{FC}cher.example", Some("xn--bcher-kva.example")),
        ("B\u{DC}CHER.example", "b\u{FC}cher.example", Some("xn--bcher-kva.example")),
        ("bu\u{308}cher.example", "b\u{FC}cher.example", Some("xn--bcher-kva.example")),
        ("fa\u{DF}.de", "fa\u{DF}.de", Some("xn--fa-hia.de")),
        ("\u{FF45}x\u{AD}ample\u{3002}com", "example.com", Some("example.com")),
        ("\u{212B}.example", "\u{E5}.example", Some("xn--5ca.example")),
        ("\u{5D0}\u{5D1}.example", "\u{5D0}\u{5D1}.example", Some("xn--4dbc.example")),
        ("192.0.2.1", "192.0.2.1", Some("192.0.2.1")),
        ("[2001:DB8:0::1]", "[2001:db8::1]", None),
        ("[::ffff:192.0.2.1]", "[::ffff:192.0.2.1]", None),
        ("[FE80::1%25eth0]", "[fe80::1%25eth0]", None),
    ];
    for (input, expected, ascii) in rows {
        assert_eq!(prepare_domain(input).as_deref(), Ok(expected), "{input:?}");
        assert_eq!(prepare_domain(expected).as_deref(), Ok(expected), "{expected:?}");
        assert_eq!(to_ascii(input).as_deref(), ascii, "{input:?}");
        assert_eq!(Jid::new(input).unwrap().domain(), expected);
    }
    let long = format!("{}.example", "a".repeat(64));
    let name = |last: usize| format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(last));
    let umlauts = "\u{FC}".repeat(60);
    let rows = [
        ("", Reason::Empty),
        (".", Reason::Empty),
        ("..", Reason::EmptyLabel),
        ("a..b", Reason::EmptyLabel),
        (".a", Reason::EmptyLabel),
        ("a..", Reason::EmptyLabel),
        ("a.\u{3002}b", Reason::EmptyLabel),
        ("\u{AD}", Reason::Empty),
        ("-a", Reason::Hyphen),
        ("a-.b", Reason::Hyphen),
        ("ab--cd.example", Reason::Hyphen),
        ("a_b", Reason::Disallowed('_')),
        ("a b", Reason::Disallowed(' ')),
        ("a:5222", Reason::Disallowed(':')),
        ("::1", Reason::Disallowed(':')),
        ("a\0b", Reason::Disallowed('\0')),
        ("\u{FF20}.example", Reason::Disallowed('@')),
        ("\u{2100}.example", Reason::Disallowed('/')),
        ("\u{2603}.example", Reason::Disallowed('\u{2603}')),
        ("xn--n3h.example", Reason::Disallowed('\u{2603}')),
        ("a\u{B7}b.example", Reason::Context('\u{B7}')),
        ("xn--.example", Reason::NotIdna),
        ("xn--a.example", Reason::NotIdna),
        ("xn--abc-.example", Reason::NotIdna),
        ("\u{5D0}a.example", Reason::NotIdna),
        ("\u{300}a.example", Reason::NotIdna),
        ("\u{378}.example", Reason::NotIdna),
        (&long, Reason::LabelTooLong),
        (&umlauts, Reason::LabelTooLong),
        (&name(62), Reason::TooLong),
        ("[::1", Reason::NotAnAddress),
        ("[::1]a", Reason::NotAnAddress),
        ("[example]", Reason::NotAnAddress),
        ("[192.0.2.1]", Reason::NotAnAddress),
        ("[fe80::1%25]", Reason::NotAnAddress),
        ("[fe80::1%25a/b]", Reason::NotAnAddress),
    ];
    for (input, why) in rows {
        assert_eq!(reason(prepare_domain(input)), Some((Part::Domain, why)), "{input:?}");
        assert_eq!(to_ascii(input), None, "{input:?}");
    }
    assert!(prepare_domain(&name(61)).is_ok(), "253 octets");
    // Names that differ in writing only are one domain, and one address.
    assert_eq!(Jid::new("a@xn--bcher-kva.example"), Jid::new("A@B\u{DC}CHER.example."));
    assert_ne!(Jid::new("a@fa\u{DF}.de"), Jid::new("a@fass.de"));
    assert_ne!(Jid::new("stra\u{DF}e@example.com"), Jid::new("strasse@example.com"));
}

/// RFC 7622 §3.1: a part has 1 to 1023 octets once it is prepared.
#[test]
fn rfc7622_3_1_lengths() {
    for (unit, fits) in [("a", 1023), ("\u{E4}", 511), ("\u{4E00}", 341)] {
        for prepare in [prepare_local, prepare_resource] {
            assert_eq!(prepare(&unit.repeat(fits)).unwrap().len(), fits * unit.len());
            let error = prepare(&unit.repeat(fits + 1)).unwrap_err();
            assert_eq!(error.reason(), Reason::TooLong, "{unit}");
        }
    }
    // Three octets each before the mapping, one after it.
    assert_eq!(prepare_local(&"\u{FF41}".repeat(1023)).unwrap().len(), 1023);
    // Two octets each before, three after.
    assert_eq!(prepare_local(&"\u{130}".repeat(341)).unwrap().len(), 1023);
    assert!(prepare_local(&"\u{130}".repeat(342)).is_err());
    let full = format!("{}@{}.example/{}", "l".repeat(1023), "d".repeat(63), "r".repeat(1023));
    let jid = Jid::new(&full).unwrap();
    assert_eq!(jid.as_str(), full);
    assert_eq!(jid.resource().map(str::len), Some(1023));
    assert!(Jid::new(&"\u{AD}".repeat(MAX_RAW)).is_err(), "the work is bounded");
}

#[test]
fn parts_and_wholes() {
    let full = Jid::new("Juliet@Example.COM/Balcony").unwrap();
    assert_eq!(full.as_str(), "juliet@example.com/Balcony");
    assert_eq!(full.bare_str(), "juliet@example.com");
    assert_eq!(full.bare().as_str(), "juliet@example.com");
    assert_eq!(full.bare().local(), Some("juliet"));
    assert_eq!(full.bare().domain(), "example.com");
    assert_eq!(full.bare().with_resource("Balcony").as_ref(), Ok(&full));
    assert_eq!(full.with_resource("Tomb").unwrap().as_str(), "juliet@example.com/Tomb");
    assert_eq!(full.clone().to_bare_jid().as_str(), "juliet@example.com");
    assert!(full.bare().to_jid().is_bare());
    assert!(BareJid::new("example.com").unwrap().is_domain());
    assert_eq!(reason(BareJid::new("a@b/c")), Some((Part::Resource, Reason::Unexpected)));
    assert_eq!(reason(Jid::from_parts(Some(""), "b", None)), Some((Part::Local, Reason::Empty)));
    assert_eq!(reason(Jid::from_parts(None, "b", Some(""))), Some((Part::Resource, Reason::Empty)));
    assert_eq!(
        reason(Jid::from_parts(Some("a"), "b/c", None)),
        Some((Part::Domain, Reason::Disallowed('/')))
    );
    assert_eq!(reason(full.with_resource("")), Some((Part::Resource, Reason::Empty)));
    assert_eq!("a@b/c".parse::<Jid>(), Jid::new("a@b/c"));
    assert_eq!(format!("{full:?}"), "Jid(\"juliet@example.com/Balcony\")");
    // A map that is keyed by addresses can be asked with a text.
    let by_hash: HashMap<BareJid, u8> = [(full.bare(), 1)].into();
    let by_order: BTreeMap<Jid, u8> = [(full.clone(), 2)].into();
    assert_eq!(by_hash.get(full.bare_str()), Some(&1));
    assert_eq!(by_order.get(full.as_str()), Some(&2));
}

/// An error names the part and what would be right, in one line and without the text of the peer.
#[test]
fn errors_say_what_is_right() {
    let rows = [
        ("@example.com", "localpart is empty: put a name before the `@` or leave the `@` out"),
        ("juliet@", "domainpart is empty: every address needs a host name"),
        ("a@b/", "resourcepart is empty: put a name after the `/` or leave the `/` out"),
        (
            "foo bar@b",
            "localpart contains U+0020: only letters, digits, their marks and ASCII signs except \" & ' / : < > @ \
             are allowed",
        ),
        ("a@b_c", "domainpart contains U+005F: only letters, digits and hyphens between dots are allowed"),
        ("a@b/ c", "resourcepart begins with a space: another character must stand first"),
    ];
    for (input, text) in rows {
        assert_eq!(Jid::new(input).unwrap_err().to_string(), text);
    }
    let error = Jid::new("a@b/\u{1B}[31m").unwrap_err().to_string();
    assert!(error.starts_with("resourcepart contains U+001B: "), "{error}");
}

/// Every code point alone and in company, in every part (RFC 8264 §7: idempotence).
#[test]
fn every_code_point_is_stable() {
    let mut accepted = [0_u32; 3];
    for c in '\0'..=char::MAX {
        let text = c.to_string();
        check_invariants(&text);
        let parts = [prepare_local(&text), prepare_domain(&text), prepare_resource(&text)];
        for (count, part) in accepted.iter_mut().zip(&parts) {
            *count += u32::from(part.is_ok());
        }
        assert!(
            parts[0].is_err() || parts[2].is_ok(),
            "U+{:04X}: what an identifier may hold, free text may",
            u32::from(c)
        );
    }
    // Most of Unicode is letters, Han above all: tables that lost a large script would fall below.
    assert!(accepted[0] > 130_000 && accepted[1] > 130_000 && accepted[2] > 150_000, "{accepted:?}");
}

/// Code points that meet a rule often enough for combinations to matter.
fn rich() -> impl Strategy<Value = char> {
    prop_oneof![
        6 => proptest::char::range('!', '~'),
        2 => proptest::sample::select(vec!['@', '/', '.', '-', '[', ']', ' ', ':', '%']),
        2 => proptest::char::range('\u{A0}', '\u{24F}'),
        1 => proptest::char::range('\u{300}', '\u{36F}'),
        1 => proptest::char::range('\u{370}', '\u{3FF}'),
        1 => proptest::char::range('\u{590}', '\u{6FF}'),
        1 => proptest::char::range('\u{900}', '\u{97F}'),
        1 => proptest::char::range('\u{1E00}', '\u{20FF}'),
        1 => proptest::char::range('\u{3000}', '\u{31FF}'),
        1 => proptest::char::range('\u{FB00}', '\u{FFFF}'),
        1 => proptest::sample::select(vec!['\u{200C}', '\u{200D}', '\u{B7}', '\u{375}', '\u{30FB}', '\u{345}']),
        1 => any::<char>(),
    ]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        proptest::collection::vec(any::<char>(), 0..40).prop_map(String::from_iter),
        proptest::collection::vec(rich(), 0..24).prop_map(String::from_iter),
    ]
}

/// Texts that are mostly addresses.
fn address() -> impl Strategy<Value = String> {
    let word = || {
        prop_oneof![
            2 => "[a-cA-C]{1,2}",
            1 => proptest::collection::vec(rich(), 1..5).prop_map(String::from_iter),
        ]
    };
    let host = prop_oneof![
        2 => "[a-cA-C]{1,2}\\.?",
        1 => "[a-zA-Z0-9-]{1,6}(\\.[a-zA-Z0-9-]{1,5}){0,2}\\.?",
        1 => "(xn--[a-z0-9-]{1,10}|b\u{FC}cher|\u{5D0}\u{5D1})\\.(example|\u{65E5}\u{672C})",
        1 => word(),
    ];
    (proptest::option::of(word()), host, proptest::option::of(word())).prop_map(|(local, host, resource)| {
        let local = local.map_or_else(String::new, |local| format!("{local}@"));
        let resource = resource.map_or_else(String::new, |resource| format!("/{resource}"));
        format!("{local}{host}{resource}")
    })
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_keeps_the_invariants(input in text()) {
        check_invariants(&input);
    }

    #[test]
    fn addresses_keep_the_invariants(input in address()) {
        check_invariants(&input);
    }

    /// Equality, hash and order are those of the prepared text.
    #[test]
    fn comparison_is_by_text(a in address(), b in address()) {
        if let (Ok(a), Ok(b)) = (Jid::new(&a), Jid::new(&b)) {
            prop_assert_eq!(a == b, a.as_str() == b.as_str());
            prop_assert_eq!(a.cmp(&b), a.as_str().cmp(b.as_str()));
            prop_assert_eq!(a.partial_cmp(&b), Some(a.cmp(&b)));
            prop_assert_eq!(hash(&a), hash(&a.as_str()));
            prop_assert_eq!(a.bare().cmp(&b.bare()), a.bare_str().cmp(b.bare_str()));
            prop_assert_eq!(hash(&a.bare()), hash(&a.bare_str()));
        }
    }

    /// The short way for ASCII says what the whole procedure says.
    #[test]
    fn ascii_is_no_special_case(input in "[ -~]{1,12}") {
        let whole = |result: Result<Cow<'_, str>, Reason>| result.ok().map(Cow::into_owned);
        prop_assert_eq!(prepare_local(&input).ok(), whole(precis::local(&input)));
        prop_assert_eq!(prepare_resource(&input).ok(), whole(precis::resource(&input)));
        if let Ok(name) = prepare_domain(&input) && !name.starts_with('[') {
            let (mapped, verdict) = idna::uts46::Uts46::new().to_unicode(
                input.as_bytes(), idna::AsciiDenyList::STD3, idna::uts46::Hyphens::Check);
            prop_assert!(verdict.is_ok());
            prop_assert_eq!(mapped.strip_suffix('.').unwrap_or(&mapped), name);
        }
    }

    /// Writing in capitals, fullwidth or decomposed leaves an address the same.
    #[test]
    fn writing_does_not_matter(local in "[a-z\u{E0}-\u{F6}\u{3B1}-\u{3C1}]{1,8}", host in "[a-z]{1,8}\\.example") {
        let plain = Jid::new(&format!("{local}@{host}")).unwrap();
        let wide: String = local
            .chars()
            .map(|c| if c.is_ascii() { char::from_u32(u32::from(c) + 0xFEE0).unwrap() } else { c })
            .collect();
        let apart = icu_normalizer::DecomposingNormalizerBorrowed::new_nfd().normalize(&local).into_owned();
        for written in [local.to_uppercase(), wide, apart] {
            let jid = Jid::new(&format!("{written}@{}.", host.to_uppercase())).unwrap();
            prop_assert_eq!(&jid, &plain);
            prop_assert_eq!(hash(&jid), hash(&plain));
        }
    }
}
