//! Writing elements.

use std::fmt::Display;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::chars::{is_char, is_ncname};
use super::tree::{DECLARES, Element, ElementRef, NsRef, TEXT};
use super::write::{escape_attr, escape_text};
use crate::ns;
use crate::stanza::Stanza;

/// Writes one element. Whatever the arguments hold, what is written is well-formed: values are escaped, a character that XML cannot
/// carry becomes U+FFFD, and a name that is no `NCName` (a mistake of the caller, never of a peer) becomes `invalid`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Builder {
    name: Box<str>,
    ns: Box<str>,
    attrs: SmallVec<[Attr; 2]>,
    content: Vec<Content>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Attr {
    /// Empty for an attribute without prefix.
    ns: Box<str>,
    name: Box<str>,
    value: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Content {
    Text(Box<str>),
    Child(Builder),
    Copy(Arc<Copied>),
}

/// A closed copy of a received element, cut where a default namespace may have to be declared.
#[derive(Debug, PartialEq, Eq)]
struct Copied {
    start: Vec<u8>,
    default_ns: Option<Box<str>>,
    rest: Vec<u8>,
}

fn checked(name: &str) -> Box<str> {
    let right = is_ncname(name);
    debug_assert!(right, "{name:?} is no NCName");
    if right { name.into() } else { "invalid".into() }
}

/// A namespace name that can be declared: what XML reserves cannot, and characters that it cannot carry are replaced before names are
/// compared.
fn declarable(ns: &str) -> Box<str> {
    let reserved = ns == ns::XMLNS || ns == ns::XML;
    debug_assert!(!reserved, "{ns:?} is not for elements");
    if reserved {
        return "invalid".into();
    }
    if ns.chars().all(|c| is_char(u32::from(c))) {
        return ns.into();
    }
    ns.chars().map(|c| if is_char(u32::from(c)) { c } else { '\u{FFFD}' }).collect::<String>().into()
}

impl Builder {
    /// An element with a local name and a namespace name; an empty namespace name means none.
    pub fn new(name: &str, ns: &str) -> Self {
        Self { name: checked(name), ns: declarable(ns), attrs: SmallVec::new(), content: Vec::new() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its namespace name.
    pub fn ns(&self) -> &str {
        &self.ns
    }

    /// With an attribute. Setting a name again replaces its value; `xmlns` is not an attribute and becomes `invalid`. `xml:lang` is the only name with a prefix that is taken;
    /// [`Builder::attr_ns`] is for others.
    #[must_use]
    pub fn attr(self, name: &str, value: impl Display) -> Self {
        match name.strip_prefix("xml:") {
            Some(local) => self.attr_ns(local, ns::XML, value),
            None => self.attr_ns(name, "", value),
        }
    }

    /// With an attribute if there is a value.
    #[must_use]
    pub fn attr_opt(self, name: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.attr(name, value),
            None => self,
        }
    }

    /// With an attribute in a namespace; an empty one means none.
    #[must_use]
    pub fn attr_ns(mut self, name: &str, ns: &str, value: impl Display) -> Self {
        let value = value.to_string().into();
        let name = checked(if name == "xmlns" && ns.is_empty() { "" } else { name });
        let ns = if ns == ns::XML { ns.into() } else { declarable(ns) };
        match self.attrs.iter_mut().find(|attr| attr.name == name && attr.ns == ns) {
            Some(attr) => attr.value = value,
            None => self.attrs.push(Attr { ns, name, value }),
        }
        self
    }

    /// With `xml:lang`.
    #[must_use]
    pub fn lang(self, lang: &str) -> Self {
        self.attr_ns("lang", ns::XML, lang)
    }

    /// With more character data at its end.
    #[must_use]
    pub fn text(mut self, text: &str) -> Self {
        if !text.is_empty() {
            self.content.push(Content::Text(text.into()));
        }
        self
    }

    /// With one more child.
    #[must_use]
    pub fn child(mut self, child: Self) -> Self {
        self.content.push(Content::Child(child));
        self
    }

    /// With one more child, if there is one.
    #[must_use]
    pub fn child_opt(self, child: Option<Self>) -> Self {
        self.children(child)
    }

    /// With more children.
    #[must_use]
    pub fn children(mut self, children: impl IntoIterator<Item = Self>) -> Self {
        self.content.extend(children.into_iter().map(Content::Child));
        self
    }

    /// With a copy of a received element as one more child. The copy keeps its bytes; declarations that it inherits are added.
    #[must_use]
    pub fn copy(mut self, element: ElementRef<'_>) -> Self {
        self.content.push(Content::Copy(Arc::new(Closed::new(element).copied())));
        self
    }

    /// With a stanza as it stands, edits included, as one more child. It is in [`ns::CLIENT`].
    #[must_use]
    pub fn stanza(mut self, stanza: &Stanza) -> Self {
        let mut start = Vec::with_capacity(stanza.size());
        stanza.render(&mut start, ns::CLIENT);
        let rest = start.split_off((1 + stanza.name().len()).min(start.len()));
        self.content.push(Content::Copy(Arc::new(Copied {
            start,
            default_ns: Some(ns::CLIENT.into()),
            rest,
        })));
        self
    }

    /// Appends the element as it must be written under a parent whose default namespace is `parent_ns` (empty: none).
    pub fn write(&self, out: &mut Vec<u8>, parent_ns: &str) {
        out.push(b'<');
        out.extend_from_slice(self.name.as_bytes());
        if *self.ns != *parent_ns {
            declare(out, "", &self.ns);
        }
        for (i, attr) in self.attrs.iter().enumerate() {
            match &*attr.ns {
                "" => out.push(b' '),
                ns::XML => out.extend_from_slice(b" xml:"),
                other => {
                    let prefix = format!("ns{i}");
                    declare(out, &prefix, other);
                    out.push(b' ');
                    out.extend_from_slice(prefix.as_bytes());
                    out.push(b':');
                }
            }
            out.extend_from_slice(attr.name.as_bytes());
            out.extend_from_slice(b"='");
            escape_attr(out, &attr.value);
            out.push(b'\'');
        }
        if self.content.is_empty() {
            out.extend_from_slice(b"/>");
            return;
        }
        out.push(b'>');
        for content in &self.content {
            match content {
                Content::Text(text) => escape_text(out, text),
                Content::Child(child) => child.write(out, &self.ns),
                Content::Copy(copy) => copy.write(out, &self.ns),
            }
        }
        out.extend_from_slice(b"</");
        out.extend_from_slice(self.name.as_bytes());
        out.push(b'>');
    }

    /// The bytes that [`Builder::write`] appends.
    pub fn bytes(&self, parent_ns: &str) -> Bytes {
        let mut out = Vec::with_capacity(256);
        self.write(&mut out, parent_ns);
        out.into()
    }

    /// The element itself, as if it had been received.
    pub fn element(&self) -> Element {
        Element::parse_own(&self.bytes("")).unwrap_or_else(|error| {
            debug_assert!(false, "{self:?} is written ill-formed: {error}");
            Element::nothing()
        })
    }
}

impl Copied {
    fn write(&self, out: &mut Vec<u8>, parent_ns: &str) {
        out.extend_from_slice(&self.start);
        if let Some(default_ns) = self.default_ns.as_deref().filter(|default_ns| *default_ns != parent_ns) {
            declare(out, "", default_ns);
        }
        out.extend_from_slice(&self.rest);
    }
}

/// Appends a namespace declaration; the empty prefix is the default namespace.
pub(crate) fn declare(out: &mut Vec<u8>, prefix: &str, uri: &str) {
    out.extend_from_slice(b" xmlns");
    if !prefix.is_empty() {
        out.push(b':');
        out.extend_from_slice(prefix.as_bytes());
    }
    out.extend_from_slice(b"='");
    escape_attr(out, uri);
    out.push(b'\'');
}

/// What an element takes from the declarations around it.
pub(crate) struct Closed<'a> {
    element: ElementRef<'a>,
    /// The inherited default namespace, if a name uses it.
    pub(crate) default_ns: Option<&'a str>,
    /// Inherited prefixes that names use, and what they are bound to.
    pub(crate) prefixes: SmallVec<[(&'a str, &'a str); 2]>,
}

impl<'a> Closed<'a> {
    pub(crate) fn new(element: ElementRef<'a>) -> Self {
        let tree = element.tree;
        let root = element.data();
        // Attributes stand in document order, so what an earlier one declares is outside.
        let outside = |ns: NsRef| {
            ns == NsRef::NONE || ns.in_scope().is_some() || ns.own().is_some_and(|i| i < root.attrs)
        };
        let mut closed = Self { element, default_ns: None, prefixes: SmallVec::new() };
        let last = (root.next as usize).min(tree.nodes.len());
        let nodes = tree.nodes.get(element.node as usize..last).unwrap_or_default();
        for node in nodes.iter().filter(|node| node.flags & TEXT == 0) {
            if outside(node.ns) {
                if node.prefix_len == 0 {
                    closed.default_ns = Some(tree.uri(node.ns));
                } else {
                    closed.prefix(
                        tree.slice(node.start + 1, node.start + 1 + u32::from(node.prefix_len)),
                        tree.uri(node.ns),
                    );
                }
            }
            for attr in tree.attrs_of(node) {
                if attr.prefix_len != 0 && attr.flags & DECLARES == 0 && outside(attr.ns) {
                    closed.prefix(tree.prefix(attr), tree.uri(attr.ns));
                }
            }
        }
        closed
    }

    fn prefix(&mut self, prefix: &'a str, uri: &'a str) {
        if !self.prefixes.iter().any(|(known, _)| *known == prefix) {
            self.prefixes.push((prefix, uri));
        }
    }

    fn cut(&self) -> (&'a [u8], &'a [u8]) {
        let raw = self.element.raw();
        raw.split_at_checked(1 + usize::from(self.element.data().name_len)).unwrap_or((raw, &[]))
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>, default_ns: &str) {
        let (start, rest) = self.cut();
        out.extend_from_slice(start);
        if let Some(inherited) = self.default_ns.filter(|inherited| *inherited != default_ns) {
            declare(out, "", inherited);
        }
        self.write_prefixes(out);
        out.extend_from_slice(rest);
    }

    pub(crate) fn write_prefixes(&self, out: &mut Vec<u8>) {
        for (prefix, uri) in &self.prefixes {
            declare(out, prefix, uri);
        }
    }

    fn copied(&self) -> Copied {
        let (start, raw_rest) = self.cut();
        let mut rest = Vec::with_capacity(raw_rest.len());
        self.write_prefixes(&mut rest);
        rest.extend_from_slice(raw_rest);
        Copied { start: start.into(), default_ns: self.default_ns.map(Into::into), rest }
    }
}
