use nuncio_xmpp::xml::Element;

use super::*;

/// RFC 6121 §4.7.2.3: an integer from -128 to 127, once, without other content; zero if there is none.
#[test]
fn section_4_7_2_3_priority() {
    let cases = [
        ("", Some(0)),
        ("<priority>0</priority>", Some(0)),
        ("<priority>-128</priority>", Some(-128)),
        ("<priority>127</priority>", Some(127)),
        ("<priority>+7</priority>", Some(7)),
        ("<priority> 7\n</priority>", Some(7)),
        ("<priority xmlns='urn:other'>999</priority>", Some(0)),
        ("<priority>128</priority>", None),
        ("<priority>-129</priority>", None),
        ("<priority>99999999999999999999</priority>", None),
        ("<priority/>", None),
        ("<priority>high</priority>", None),
        ("<priority>1.5</priority>", None),
        ("<priority>\u{661}</priority>", None),
        ("<priority>1<x xmlns='urn:other'/></priority>", None),
        ("<priority>1</priority><priority>1</priority>", None),
    ];
    for (content, expected) in cases {
        let xml = format!("<presence xmlns='jabber:client'>{content}</presence>");
        let stanza = Stanza::from_element(Element::parse(xml).unwrap()).unwrap();
        assert_eq!(priority(&stanza).ok(), expected, "{content}");
        if let Err(error) = priority(&stanza) {
            assert_eq!(error.condition, Condition::BadRequest, "{content}");
        }
    }
}
