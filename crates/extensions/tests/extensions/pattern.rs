//! Expected stanzas: an element that names what must be there. What it does not name may be there too.
//!
//! - An attribute or text of `*` stands for any; one that begins with `$` is remembered at its first sight and must be the same later.
//! - `<only xmlns='urn:test'/>` among the children: there are no others than those named.
//! - Children match in any order, each a different one.

use std::collections::HashMap;

use nuncio_xmpp::ns;
use nuncio_xmpp::xml::{Element, ElementRef};

pub(crate) type Names = HashMap<String, String>;

const TEST: &str = "urn:test";

fn value(expected: &str, actual: &str, names: &mut Names) -> bool {
    if expected == "*" {
        return true;
    }
    match expected.strip_prefix('$') {
        Some(name) => names.entry(name.to_owned()).or_insert_with(|| actual.to_owned()) == actual,
        None => expected == actual,
    }
}

pub(crate) fn matches(expected: ElementRef<'_>, actual: ElementRef<'_>, names: &mut Names) -> bool {
    if !actual.is(expected.name(), expected.ns()) {
        return false;
    }
    for attr in expected.attrs() {
        let found = match attr.ns {
            "" => actual.attr(attr.name),
            ns => actual.attr_ns(attr.name, ns),
        };
        if !found.is_some_and(|found| value(&attr.value, &found, names)) {
            return false;
        }
    }
    let text = expected.text();
    if expected.children().next().is_none()
        && !text.trim().is_empty()
        && !value(text.trim(), actual.text().trim(), names)
    {
        return false;
    }
    let mut only = false;
    let mut left: Vec<_> = actual.children().collect();
    for child in expected.children() {
        if child.is("only", TEST) {
            only = true;
            continue;
        }
        let mut found = None;
        for (place, candidate) in left.iter().enumerate() {
            let mut tried = names.clone();
            if matches(child, *candidate, &mut tried) {
                *names = tried;
                found = Some(place);
                break;
            }
        }
        match found {
            Some(place) => {
                left.remove(place);
            }
            None => return false,
        }
    }
    !only || left.is_empty()
}

/// Whether a stanza fits a pattern, both as text in `jabber:client`.
pub(crate) fn fits(expected: &str, actual: &str, names: &mut Names) -> bool {
    let parse = |text: &str| Element::parse_in(ns::CLIENT, text.to_owned());
    let expected = parse(expected).unwrap_or_else(|why| panic!("{why}: {expected}"));
    let actual = parse(actual).unwrap_or_else(|why| panic!("{why}: {actual}"));
    let mut tried = names.clone();
    let fits = matches(expected.root(), actual.root(), &mut tried);
    if fits {
        *names = tried;
    }
    fits
}

/// Puts remembered values in: `$name` followed by anything but a letter or digit.
pub(crate) fn fill(text: &str, names: &Names) -> String {
    let mut sorted: Vec<_> = names.iter().collect();
    sorted.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    sorted.into_iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${name}"), value))
}

#[test]
fn patterns_name_what_must_be_there() {
    let mut names = Names::new();
    let mut fits = |expected: &str, actual: &str| fits(expected, actual, &mut names);
    assert!(fits("<a x='1'/>", "<a x='1' y='2'><b/></a>"));
    assert!(!fits("<a x='1'/>", "<a x='2'/>"));
    assert!(!fits("<a xmlns='u'/>", "<a/>"));
    assert!(fits("<a><b/><c/></a>", "<a><c/><b/><d/></a>"));
    assert!(!fits("<a><b/><b/></a>", "<a><b/></a>"), "each a different one");
    assert!(!fits("<a><b/><only xmlns='urn:test'/></a>", "<a><b/><d/></a>"));
    assert!(fits("<a>x</a>", "<a>x</a>") && !fits("<a>x</a>", "<a>y</a>"));
    assert!(fits("<a id='$i'/>", "<a id='1'/>") && !fits("<a id='$i'/>", "<a id='2'/>"));
    assert_eq!(fill("<a id='$i'/>", &names), "<a id='1'/>");
}
