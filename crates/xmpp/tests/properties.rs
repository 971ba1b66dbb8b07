//! Property tests: what is written is read back, by this parser and by others; what is read is a fixed point.

mod common;

use common::oracles;
use nuncio_xmpp::fuzz::{self, Node, Part, Rng};
use nuncio_xmpp::xml::{Builder, Element};
use proptest::collection::vec;
use proptest::prelude::*;

/// `NCName`s over all ranges of the fifth edition.
const NAME: &str = "[a-zA-Z_\u{C0}-\u{D6}\u{37F}-\u{1FFF}\u{4E00}-\u{9FFF}\u{10000}-\u{1000F}][a-z0-9.\u{B7}\u{300}-\u{310}_-]{0,8}";

/// Any text that XML can carry.
fn text() -> impl Strategy<Value = String> {
    vec(
        prop_oneof![
            4 => prop::char::range(' ', '~'),
            2 => prop::sample::select(vec!['<', '>', '&', '\'', '"', ']', '\r', '\n', '\t', ';', '#']),
            1 => prop::char::range('\u{80}', '\u{D7FF}'),
            1 => prop::char::range('\u{E000}', '\u{FFFD}'),
            1 => prop::char::range('\u{10000}', '\u{10FFFF}'),
        ],
        0..12,
    )
    .prop_map(|chars| chars.into_iter().collect())
}

fn attrs() -> impl Strategy<Value = Vec<(String, String, String)>> {
    let ns = prop_oneof![3 => Just(String::new()), 1 => text()];
    vec((ns, NAME.prop_filter("no declaration", |name| name != "xmlns"), text()), 0..4).prop_map(
        |mut attrs| {
            attrs.sort();
            attrs.dedup_by(|a, b| a.0 == b.0 && a.1 == b.1);
            attrs
        },
    )
}

fn node() -> impl Strategy<Value = Node> {
    let bare = || (text(), NAME, attrs());
    let leaf = bare().prop_map(|(ns, name, attrs)| Node { ns, name, attrs, content: Vec::new() });
    leaf.prop_recursive(4, 24, 4, move |inner| {
        let part = prop_oneof![inner.prop_map(Part::Element), text().prop_map(Part::Text)];
        (bare(), vec(part, 0..4)).prop_map(|((ns, name, attrs), parts)| {
            let mut node = Node { ns, name, attrs, content: Vec::new() };
            for part in parts {
                match part {
                    Part::Text(text) => node.push_text(&text),
                    element @ Part::Element(_) => node.content.push(element),
                }
            }
            node
        })
    })
}

fn build(node: &Node) -> Builder {
    let mut builder = Builder::new(&node.name, &node.ns);
    for (ns, name, value) in &node.attrs {
        builder = builder.attr_ns(name, ns, value);
    }
    for part in &node.content {
        builder = match part {
            Part::Element(child) => builder.child(build(child)),
            Part::Text(text) => builder.text(text),
        };
    }
    builder
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn what_is_built_is_read_by_all(node in node()) {
        let bytes = build(&node).bytes("");
        let element = Element::parse(bytes.clone()).unwrap();
        prop_assert_eq!(&Node::of(element.root()), &node);
        oracles::agree(&bytes, &node);
        // Read, built and written once more it is the same to the byte.
        prop_assert_eq!(element.root().to_builder().bytes(""), bytes);
    }

    #[test]
    fn what_is_built_under_a_parent_means_the_same(node in node(), parent in text()) {
        let bytes = build(&node).bytes(&parent);
        if parent != nuncio_xmpp::ns::XML {
            let element = Element::parse_in(&parent, bytes).unwrap();
            prop_assert_eq!(Node::of(element.root()), node);
        }
    }

    #[test]
    fn damaged_streams_keep_the_invariants(seed: u64, noise in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4)) {
        let mut data = fuzz::stream(&mut Rng::new(seed));
        for (at, byte) in noise {
            let at = at.index(data.len());
            data[at] = byte;
        }
        fuzz::tokenizer(&data);
    }

    #[test]
    fn arbitrary_bytes_keep_the_invariants(data in vec(any::<u8>(), 0..64)) {
        fuzz::tokenizer(&data);
    }

    #[test]
    fn arbitrary_text_as_address_keeps_the_invariants(text in "\\PC{0,24}") {
        fuzz::jid(text.as_bytes());
    }
}
