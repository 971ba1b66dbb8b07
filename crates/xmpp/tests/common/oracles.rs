//! The same documents as other parsers read them.

use nuncio_xmpp::fuzz::{Node, Part};

/// Asserts that the oracles read `document` as `read`. Where one is known to differ, the reason stands here.
pub(crate) fn agree(document: &[u8], read: &Node) {
    let text = std::str::from_utf8(document).expect("accepted means UTF-8");
    // XML §2.11 has line ends normalised before anything else. rxml refuses a single carriage return in an attribute, roxmltree keeps
    // one at the end of some texts.
    let text = &text.replace("\r\n", "\n").replace('\r', "\n");
    // rxml takes no more than eight digits in a character reference; XML sets no bound (§4.1).
    let long = text.split('&').skip(1).any(|rest| rest.find(';').is_some_and(|end| end > 8));
    // XML allows whitespace before the root (§2.8), rxml does not.
    let by_rxml = by_rxml(text.trim_start_matches([' ', '\t', '\n']).as_bytes());
    // rxml takes no character above U+FDEF of the basic plane in names; NameStartChar has U+FDF0 to U+FFFD (§2.3).
    let late = text.contains(|c| ('\u{FDF0}'..='\u{FFFD}').contains(&c));
    let marked = late && by_rxml.as_ref().is_err_and(|error| error.contains("UnexpectedChar(Some(Name"));
    if !long && !marked {
        assert_eq!(by_rxml, Ok(read.clone()), "rxml: {text:?}");
    }
    let by_roxmltree = by_roxmltree(text);
    // roxmltree does not know the prefix xml on elements (Namespaces in XML §3 binds it everywhere), and takes xml:xmlns for a
    // declaration.
    let xml = by_roxmltree.as_ref().is_err_and(|error| error.contains("unknown namespace prefix 'xml'"));
    if !xml && !text.contains("xml:xmlns") {
        assert_eq!(by_roxmltree, Ok(read.clone()), "roxmltree: {text:?}");
    }
}

/// rxml's reading of a whole document; its error text otherwise.
pub(crate) fn by_rxml(document: &[u8]) -> Result<Node, String> {
    use rxml::{Event, Parse as _, Parser};
    let mut parser = Parser::default();
    let mut rest = document;
    let mut open: Vec<Node> = Vec::new();
    let mut root = None;
    loop {
        let event = match parser.parse(&mut rest, true) {
            Ok(Some(event)) => event,
            Ok(None) => return root.ok_or_else(|| "no root".into()),
            Err(error) => return Err(format!("{error:?}")),
        };
        match event {
            Event::XmlDeclaration(..) => {}
            Event::StartElement(_, (ns, name), attrs) => {
                let mut attrs: Vec<_> = attrs
                    .into_iter()
                    .map(|((ns, name), value)| (ns.to_string(), name.to_string(), value.to_string()))
                    .collect();
                attrs.sort();
                open.push(Node { ns: ns.to_string(), name: name.to_string(), attrs, content: Vec::new() });
            }
            Event::Text(_, text) => {
                if let Some(node) = open.last_mut() {
                    node.push_text(&text);
                }
            }
            Event::EndElement(_) => {
                let Some(node) = open.pop() else { return Err("nothing is open".into()) };
                match open.last_mut() {
                    Some(parent) => parent.content.push(Part::Element(node)),
                    None => root = Some(node),
                }
            }
        }
    }
}

/// roxmltree's reading of a whole document; its error text otherwise.
pub(crate) fn by_roxmltree(document: &str) -> Result<Node, String> {
    let options = roxmltree::ParsingOptions { allow_dtd: false, ..roxmltree::ParsingOptions::default() };
    let read =
        roxmltree::Document::parse_with_options(document, options).map_err(|error| error.to_string())?;
    Ok(node(read.root_element()))
}

fn node(element: roxmltree::Node<'_, '_>) -> Node {
    let tag = element.tag_name();
    let mut attrs: Vec<_> = element
        .attributes()
        .map(|attr| (attr.namespace().unwrap_or("").into(), attr.name().into(), attr.value().into()))
        .collect();
    attrs.sort();
    let mut read = Node {
        ns: tag.namespace().unwrap_or("").into(),
        name: tag.name().into(),
        attrs,
        content: Vec::new(),
    };
    for child in element.children() {
        if child.is_element() {
            read.content.push(Part::Element(node(child)));
        } else if child.is_text() {
            read.push_text(child.text().unwrap_or(""));
        }
    }
    read
}
