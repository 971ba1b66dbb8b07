use nuncio_xmpp::xml::Element;
use proptest::prelude::*;

use super::*;

fn read(items: &str) -> Result<Wish, StanzaError> {
    let query = Element::parse(format!("<query xmlns='jabber:iq:roster'>{items}</query>")).unwrap();
    Wish::read(query.root(), &BareJid::new("juliet@capulet.example").unwrap())
}

/// RFC 6121 §2.3.3, §2.1.5 and §2.1.2: every case in which a roster set is refused.
#[test]
fn section_2_3_3_error_cases() {
    let long = "x".repeat(MAX_NAME + 1);
    let crowd: String = (0..=MAX_GROUPS).map(|n| format!("<group>g{n}</group>")).collect();
    let cases = [
        ("", Condition::BadRequest),
        ("<item jid='a@example'/><item jid='b@example'/>", Condition::BadRequest),
        ("<item name='nobody'/>", Condition::BadRequest),
        ("<item jid='a@example/there'/>", Condition::BadRequest),
        ("<item jid='a@example'><group>Friends</group><group>Friends</group></item>", Condition::BadRequest),
        // Equal as resourceparts: U+212B is U+00C5.
        ("<item jid='a@example'><group>\u{212b}</group><group>\u{c5}</group></item>", Condition::BadRequest),
        ("<item jid='@example'/>", Condition::JidMalformed),
        ("<item jid=''/>", Condition::JidMalformed),
        ("<item jid='Juliet@capulet.example'/>", Condition::NotAllowed),
        (&format!("<item jid='a@example' name='{long}'/>"), Condition::NotAcceptable),
        ("<item jid='a@example'><group/></item>", Condition::NotAcceptable),
        ("<item jid='a@example'><group>Friends</group><group></group></item>", Condition::NotAcceptable),
        (&format!("<item jid='a@example'><group>{long}</group></item>"), Condition::NotAcceptable),
        (&format!("<item jid='a@example'>{crowd}</item>"), Condition::NotAcceptable),
    ];
    for (items, condition) in cases {
        assert_eq!(read(items).map_err(|error| error.condition), Err(condition), "{items}");
    }
}

#[test]
fn section_2_1_2_5_only_remove_is_the_clients_to_say() {
    let nurse = BareJid::new("nurse@capulet.example").unwrap();
    let update = |name: &str, groups: &[&str]| Wish::Update {
        contact: nurse.clone(),
        name: name.into(),
        groups: groups.iter().map(|group| (*group).into()).collect(),
    };
    let cases = [
        (
            "<item jid='NURSE@capulet.example' name='Nurse'><group>Servants</group><group>servants</group></item>",
            update("Nurse", &["Servants", "servants"]),
        ),
        (
            "<item jid='nurse@capulet.example' subscription='both' ask='subscribe' approved='true'/>",
            update("", &[]),
        ),
        ("<item jid='nurse@capulet.example' name=''/>", update("", &[])),
        (
            "<other xmlns='urn:x'/><item jid='nurse@capulet.example'><x xmlns='urn:x'/></item>",
            update("", &[]),
        ),
        (
            "<item jid='nurse@capulet.example' subscription='remove'><group/></item>",
            Wish::Remove { contact: nurse.clone() },
        ),
    ];
    for (items, wish) in cases {
        assert_eq!(read(items).unwrap(), wish, "{items}");
    }
}

#[test]
fn items_are_written_as_in_section_2_1_2() {
    let contact = BareJid::new("nurse@capulet.example").unwrap();
    let write = |item: &Item| String::from_utf8(item.builder(&contact).bytes(ns::ROSTER).to_vec()).unwrap();
    let plain = Item { listed: true, ..Item::default() };
    assert_eq!(write(&plain), "<item jid='nurse@capulet.example' subscription='none'/>");
    let full = Item {
        state: State::FromPendingOut,
        approved: true,
        name: "N & <co>".into(),
        groups: ["Servants".into(), "A&B".into()].into_iter().collect(),
        ..plain
    };
    assert_eq!(
        write(&full),
        "<item jid='nurse@capulet.example' subscription='from' name='N &amp; &lt;co&gt;' ask='subscribe' approved='true'>\
         <group>Servants</group><group>A&amp;B</group></item>"
    );
}

fn items() -> impl Strategy<Value = Item> {
    let text = "\\PC{0,12}".prop_map(Box::<str>::from);
    let groups = prop::collection::vec(text.clone(), 0..4).prop_map(Groups::from_iter);
    let request = prop::option::of(
        prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Box::new(Bytes::from(bytes))),
    );
    (0..9_u8, any::<(bool, bool)>(), text, groups, request, any::<u64>()).prop_map(
        |(state, (approved, listed), name, groups, request, version)| Item {
            state: State::from_number(state).unwrap(),
            approved,
            listed,
            name,
            groups,
            request,
            version,
        },
    )
}

proptest! {
    #[test]
    fn rows_come_back_as_they_were(item in items()) {
        prop_assert_eq!(Item::decode(item.encode()), Some(item));
    }

    #[test]
    fn rows_that_are_damaged_are_no_rows_and_no_panic(item in items(), cut: prop::sample::Index, noise: Vec<u8>) {
        let whole = Item { request: None, ..item }.encode();
        prop_assert_eq!(Item::decode(whole.slice(..cut.index(whole.len()))), None);
        let _ = Item::decode(noise.into());
    }
}
