//! Immutable elements: the received text and an index of ranges into it.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::builder::Builder;
use super::chars::is_char;
use super::{Frame, Tokenizer, XmlError};
use crate::ns;

/// Where the name of a namespace is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NsRef(pub(crate) u32);

impl NsRef {
    /// No default namespace is declared.
    pub(crate) const NONE: Self = Self(u32::MAX);
    /// The namespace of the prefix `xml`.
    pub(crate) const XML: Self = Self(u32::MAX - 1);
    /// The namespace of the prefix `xmlns`.
    pub(crate) const XMLNS: Self = Self(u32::MAX - 2);
    const SCOPE: u32 = 0x8000_0000;

    /// A declaration of the stream header, by the index of the attribute.
    pub(crate) const fn scope(index: u32) -> Self {
        Self(Self::SCOPE | index)
    }

    /// The attribute of the same element index that declares it.
    pub(crate) const fn own(self) -> Option<u32> {
        if self.0 & Self::SCOPE == 0 { Some(self.0) } else { None }
    }

    /// The attribute of the scope that declares it.
    pub(crate) const fn in_scope(self) -> Option<u32> {
        if self.0 & Self::SCOPE != 0 && self.0 < Self::XMLNS.0 { Some(self.0 & !Self::SCOPE) } else { None }
    }
}

/// An element or a run of text. Offsets are bytes of [`Tree::text`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    /// The `<` of the opening tag; the first byte of a text.
    pub(crate) start: u32,
    /// After the `>` of the opening tag.
    pub(crate) open_end: u32,
    /// The `<` of the closing tag; [`Node::open_end`] if there is none.
    pub(crate) close: u32,
    /// After the closing tag; after the last byte of a text.
    pub(crate) end: u32,
    /// The index of the first node after this one's content.
    pub(crate) next: u32,
    /// The first of its attributes.
    pub(crate) attrs: u32,
    /// How many attributes.
    pub(crate) attr_count: u16,
    /// Bytes of the prefix; 0 without one.
    pub(crate) prefix_len: u16,
    /// Bytes of the name, prefix and colon included.
    pub(crate) name_len: u16,
    /// [`TEXT`], [`CDATA`], [`RAW_DIFFERS`].
    pub(crate) flags: u8,
    /// The declaration that binds the name.
    pub(crate) ns: NsRef,
    /// The default namespace's declaration inside this element.
    pub(crate) default_ns: NsRef,
}

/// The node is a run of text.
pub(crate) const TEXT: u8 = 1;
/// The text stands in a CDATA section: `&` means itself.
pub(crate) const CDATA: u8 = 2;
/// The value is not what is written: it has references or line ends to normalise.
pub(crate) const RAW_DIFFERS: u8 = 4;
/// The attribute declares a namespace.
pub(crate) const DECLARES: u8 = 8;
/// The attribute declares a namespace whose name stands in [`Tree::extras`] at the index in [`Attr::ns`].
pub(crate) const EXTRA: u8 = 16;

/// An attribute. Offsets are bytes of [`Tree::text`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attr {
    pub(crate) name: u32,
    pub(crate) prefix_len: u16,
    pub(crate) name_len: u16,
    pub(crate) value: u32,
    pub(crate) value_len: u32,
    pub(crate) ns: NsRef,
    pub(crate) flags: u8,
}

/// The text of an element, its index, and the declarations that it inherits.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) text: Box<str>,
    pub(crate) nodes: Box<[Node]>,
    pub(crate) attrs: Box<[Attr]>,
    pub(crate) extras: Box<[Box<str>]>,
    /// The stream header, or what stands in for it.
    pub(crate) scope: Option<Arc<Self>>,
    /// A name's prefix is bound by the scope.
    pub(crate) borrows_prefix: bool,
}

impl Tree {
    /// A scope that declares only a default namespace.
    pub(crate) fn scope_of(default_ns: &str) -> Arc<Self> {
        let attr = Attr {
            name: 0,
            prefix_len: 0,
            name_len: 5,
            value: 5,
            value_len: u32::try_from(default_ns.len()).unwrap_or(0),
            ns: NsRef::XMLNS,
            flags: DECLARES,
        };
        Arc::new(Self {
            text: format!("xmlns{default_ns}").into(),
            nodes: Box::default(),
            attrs: Box::new([attr]),
            extras: Box::default(),
            scope: None,
            borrows_prefix: false,
        })
    }

    pub(crate) fn slice(&self, start: u32, end: u32) -> &str {
        self.text.get(start as usize..end as usize).unwrap_or_default()
    }

    pub(crate) fn uri(&self, ns: NsRef) -> &str {
        if let Some(index) = ns.own() {
            self.declared(index)
        } else if let Some(index) = ns.in_scope() {
            self.scope.as_deref().map_or("", |scope| scope.declared(index))
        } else if ns == NsRef::XML {
            ns::XML
        } else if ns == NsRef::XMLNS {
            ns::XMLNS
        } else {
            ""
        }
    }

    /// The namespace name that attribute `index` declares.
    pub(crate) fn declared(&self, index: u32) -> &str {
        let Some(attr) = self.attrs.get(index as usize) else { return "" };
        if attr.flags & EXTRA != 0 {
            self.extras.get(attr.ns.0 as usize).map_or("", |extra| extra)
        } else {
            self.slice(attr.value, attr.value.saturating_add(attr.value_len))
        }
    }

    /// The prefix that a declaring attribute binds; empty for the default namespace.
    pub(crate) fn declared_prefix(&self, attr: &Attr) -> &str {
        if attr.prefix_len == 0 { "" } else { self.local(attr) }
    }

    pub(crate) fn prefix(&self, attr: &Attr) -> &str {
        self.slice(attr.name, attr.name + u32::from(attr.prefix_len))
    }

    pub(crate) fn local(&self, attr: &Attr) -> &str {
        let skip = if attr.prefix_len == 0 { 0 } else { u32::from(attr.prefix_len) + 1 };
        self.slice(attr.name + skip, attr.name + u32::from(attr.name_len))
    }

    pub(crate) fn raw_value(&self, attr: &Attr) -> &str {
        self.slice(attr.value, attr.value.saturating_add(attr.value_len))
    }

    pub(crate) fn value(&self, attr: &Attr) -> Cow<'_, str> {
        let raw = self.raw_value(attr);
        if attr.flags & RAW_DIFFERS == 0 { Cow::Borrowed(raw) } else { Cow::Owned(resolve_attr(raw)) }
    }

    pub(crate) fn attrs_of(&self, node: &Node) -> &[Attr] {
        let first = node.attrs as usize;
        self.attrs.get(first..first + usize::from(node.attr_count)).unwrap_or_default()
    }
}

/// The value of a reference without `&` and `;`: a predefined entity (XML §4.6) or a character (XML §4.1).
fn referenced(name: &str) -> Option<char> {
    match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "apos" => Some('\''),
        "quot" => Some('"'),
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix('x') {
                Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                None => number.parse().ok()?,
            };
            if is_char(code) { char::from_u32(code) } else { None }
        }
    }
}

/// Resolves references, and maps what stands between them.
fn resolve(raw: &str, out: &mut String, literal: impl Fn(&str, &mut String)) {
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once('&') {
        literal(before, out);
        let Some((name, after)) = after.split_once(';') else {
            rest = after;
            break;
        };
        out.extend(referenced(name));
        rest = after;
    }
    literal(rest, out);
}

/// The attribute value for what is written: references resolved, whitespace normalised (XML §2.11, §3.3.3).
pub(crate) fn resolve_attr(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    resolve(raw, &mut out, |literal, out| {
        let mut after_return = false;
        for c in literal.chars() {
            match c {
                '\n' if after_return => {}
                '\t' | '\n' | '\r' => out.push(' '),
                c => out.push(c),
            }
            after_return = c == '\r';
        }
    });
    out
}

/// Appends `raw` with line ends normalised (XML §2.11).
fn line_ends(raw: &str, out: &mut String) {
    let mut rest = raw;
    while let Some((before, after)) = rest.split_once('\r') {
        out.push_str(before);
        out.push('\n');
        rest = after.strip_prefix('\n').unwrap_or(after);
    }
    out.push_str(rest);
}

/// A complete element as received. Immutable; a clone shares everything.
#[derive(Clone)]
pub struct Element {
    pub(crate) tree: Arc<Tree>,
}

impl Element {
    /// Parses one complete element that inherits no declarations. Whitespace may surround it. [`super::Limits::default`] applies.
    ///
    /// # Errors
    /// Whatever a stream would be closed for, and [`XmlError::Incomplete`].
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Self, XmlError> {
        Self::parse_with(Tokenizer::single(super::Limits::default(), None), &bytes.into())
    }

    /// Parses one complete element whose parent has the default namespace `default_ns`.
    ///
    /// # Errors
    /// As [`Element::parse`].
    pub fn parse_in(default_ns: &str, bytes: impl Into<Bytes>) -> Result<Self, XmlError> {
        let scope = Some(Tree::scope_of(default_ns));
        Self::parse_with(Tokenizer::single(super::Limits::default(), scope), &bytes.into())
    }

    /// Parses what this program wrote, of any size.
    pub(crate) fn parse_own(bytes: &[u8]) -> Result<Self, XmlError> {
        Self::parse_with(Tokenizer::single(super::Limits::own(), None), bytes)
    }

    pub(crate) fn parse_with(mut tokenizer: Tokenizer, bytes: &[u8]) -> Result<Self, XmlError> {
        tokenizer.push(bytes);
        let mut found = None;
        loop {
            match tokenizer.next()? {
                Some(Frame::Element(element)) => found = Some(element),
                Some(_) => {}
                None => break,
            }
        }
        tokenizer.finish()?;
        found.ok_or(XmlError::Incomplete)
    }

    /// An element without name and content.
    pub(crate) fn nothing() -> Self {
        let tree = Tree {
            text: Box::default(),
            nodes: Box::default(),
            attrs: Box::default(),
            extras: Box::default(),
            scope: None,
            borrows_prefix: false,
        };
        Self { tree: Arc::new(tree) }
    }

    /// The element itself.
    pub fn root(&self) -> ElementRef<'_> {
        ElementRef { tree: &self.tree, node: 0 }
    }

    /// See [`ElementRef::name`].
    pub fn name(&self) -> &str {
        self.root().name()
    }

    /// See [`ElementRef::ns`].
    pub fn ns(&self) -> &str {
        self.root().ns()
    }

    /// See [`ElementRef::is`].
    pub fn is(&self, name: &str, ns: &str) -> bool {
        self.root().is(name, ns)
    }

    /// See [`ElementRef::attr`].
    pub fn attr(&self, name: &str) -> Option<Cow<'_, str>> {
        self.root().attr(name)
    }

    /// See [`ElementRef::children`].
    pub fn children(&self) -> impl Iterator<Item = ElementRef<'_>> {
        self.root().children()
    }

    /// See [`ElementRef::child`].
    pub fn child(&self, name: &str, ns: &str) -> Option<ElementRef<'_>> {
        self.root().child(name, ns)
    }

    /// See [`ElementRef::text`].
    pub fn text(&self) -> Cow<'_, str> {
        self.root().text()
    }

    /// See [`ElementRef::raw`].
    pub fn raw(&self) -> &[u8] {
        self.root().raw()
    }
}

impl std::fmt::Debug for Element {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Element").field(&&*self.tree.text).finish()
    }
}

/// An element inside an [`Element`].
#[derive(Clone, Copy)]
pub struct ElementRef<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) node: u32,
}

/// What stands between an element's tags.
#[derive(Clone, Debug)]
pub enum Content<'a> {
    /// A child element.
    Element(ElementRef<'a>),
    /// A run of character data, references resolved and line ends normalised. Runs may stand side by side.
    Text(Cow<'a, str>),
}

/// One attribute; namespace declarations are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// The name without prefix.
    pub name: &'a str,
    /// The namespace; empty for an attribute without prefix.
    pub ns: &'a str,
    /// The value, references resolved.
    pub value: Cow<'a, str>,
}

static NOTHING: Node = Node {
    start: 0,
    open_end: 0,
    close: 0,
    end: 0,
    next: u32::MAX,
    attrs: 0,
    attr_count: 0,
    prefix_len: 0,
    name_len: 0,
    flags: 0,
    ns: NsRef::NONE,
    default_ns: NsRef::NONE,
};

impl<'a> ElementRef<'a> {
    pub(crate) fn data(self) -> &'a Node {
        self.tree.nodes.get(self.node as usize).unwrap_or(&NOTHING)
    }

    /// The name without prefix.
    pub fn name(self) -> &'a str {
        let node = self.data();
        let skip = if node.prefix_len == 0 { 1 } else { u32::from(node.prefix_len) + 2 };
        self.tree.slice(node.start + skip, node.start + 1 + u32::from(node.name_len))
    }

    /// The prefix as written; empty without one.
    pub fn prefix(self) -> &'a str {
        let node = self.data();
        self.tree.slice(node.start + 1, node.start + 1 + u32::from(node.prefix_len))
    }

    /// The namespace name; empty if there is none.
    pub fn ns(self) -> &'a str {
        self.tree.uri(self.data().ns)
    }

    /// The default namespace inside this element.
    pub fn default_ns(self) -> &'a str {
        self.tree.uri(self.data().default_ns)
    }

    /// Whether it has this name and namespace.
    pub fn is(self, name: &str, ns: &str) -> bool {
        self.name() == name && self.ns() == ns
    }

    /// The value of an attribute without prefix, references resolved and whitespace normalised.
    pub fn attr(self, name: &str) -> Option<Cow<'a, str>> {
        let attrs = self.tree.attrs_of(self.data());
        let attr = attrs.iter().find(|attr| {
            attr.prefix_len == 0 && attr.flags & DECLARES == 0 && self.tree.local(attr) == name
        })?;
        Some(self.tree.value(attr))
    }

    /// The value of an attribute in a namespace.
    pub fn attr_ns(self, name: &str, ns: &str) -> Option<Cow<'a, str>> {
        let attrs = self.tree.attrs_of(self.data());
        let attr = attrs.iter().find(|attr| {
            attr.prefix_len != 0
                && attr.flags & DECLARES == 0
                && self.tree.local(attr) == name
                && self.tree.uri(attr.ns) == ns
        })?;
        Some(self.tree.value(attr))
    }

    /// Its own `xml:lang`; what an ancestor says is not looked up.
    pub fn lang(self) -> Option<Cow<'a, str>> {
        self.attr_ns("lang", ns::XML)
    }

    /// Its attributes in the order written.
    pub fn attrs(self) -> impl Iterator<Item = Attribute<'a>> {
        let tree = self.tree;
        tree.attrs_of(self.data()).iter().filter(|attr| attr.flags & DECLARES == 0).map(move |attr| {
            Attribute {
                name: tree.local(attr),
                ns: if attr.prefix_len == 0 { "" } else { tree.uri(attr.ns) },
                value: tree.value(attr),
            }
        })
    }

    /// Indices of all child nodes, texts included.
    pub(crate) fn child_nodes(self) -> impl Iterator<Item = u32> + use<'a> {
        let tree = self.tree;
        let end = self.data().next.min(u32::try_from(tree.nodes.len()).unwrap_or(u32::MAX));
        let mut at = self.node + 1;
        std::iter::from_fn(move || {
            let here = at;
            if here >= end {
                return None;
            }
            at = tree.nodes.get(here as usize)?.next;
            Some(here)
        })
    }

    /// Its child elements and its character data in the order written.
    pub fn content(self) -> impl Iterator<Item = Content<'a>> + use<'a> {
        let tree = self.tree;
        self.child_nodes().map(move |node| {
            let child = ElementRef { tree, node };
            match child.data() {
                data if data.flags & TEXT != 0 => Content::Text(tree.text_of(data)),
                _ => Content::Element(child),
            }
        })
    }

    /// Its child elements in the order written.
    pub fn children(self) -> impl Iterator<Item = ElementRef<'a>> + use<'a> {
        let tree = self.tree;
        self.child_nodes()
            .map(move |node| ElementRef { tree, node })
            .filter(|child| child.data().flags & TEXT == 0)
    }

    /// The first child element with this name and namespace.
    pub fn child(self, name: &str, ns: &str) -> Option<Self> {
        self.children().find(|child| child.is(name, ns))
    }

    /// Its character data, that of child elements not included: references resolved, line ends normalised.
    pub fn text(self) -> Cow<'a, str> {
        let mut texts = self
            .child_nodes()
            .filter_map(|node| self.tree.nodes.get(node as usize))
            .filter(|node| node.flags & TEXT != 0);
        let Some(first) = texts.next() else { return Cow::Borrowed("") };
        let first_text = self.tree.text_of(first);
        let Some(second) = texts.next() else { return first_text };
        let mut all = first_text.into_owned();
        all.push_str(&self.tree.text_of(second));
        for node in texts {
            all.push_str(&self.tree.text_of(node));
        }
        Cow::Owned(all)
    }

    /// The bytes as received. They may use declarations of ancestors: [`ElementRef::write_closed`] makes a copy that stands alone.
    pub fn raw(self) -> &'a [u8] {
        let node = self.data();
        self.tree.slice(node.start, node.end).as_bytes()
    }

    /// Appends a copy that means the same under a parent whose default namespace is `default_ns` and that declares no prefixes:
    /// declarations that the element inherits are written where it uses them.
    pub fn write_closed(self, out: &mut Vec<u8>, default_ns: &str) {
        super::builder::Closed::new(self).write(out, default_ns);
    }

    /// A copy that stands alone.
    pub fn to_element(self) -> Element {
        let mut bytes = Vec::with_capacity(self.raw().len() + 64);
        self.write_closed(&mut bytes, "");
        // A closed copy of what was accepted is well-formed; were it not, an empty element says less than a wrong one.
        Element::parse_own(&bytes).unwrap_or_else(|_| Builder::new(self.name(), self.ns()).element())
    }

    /// A builder that writes this element again, so that more can be added. Prefixes and quoting are not kept.
    pub fn to_builder(self) -> Builder {
        let mut builder = Builder::new(self.name(), self.ns());
        for attr in self.attrs() {
            builder = builder.attr_ns(attr.name, attr.ns, &attr.value);
        }
        for node in self.child_nodes() {
            let Some(data) = self.tree.nodes.get(node as usize) else { continue };
            builder = if data.flags & TEXT != 0 {
                builder.text(&self.tree.text_of(data))
            } else {
                builder.child(ElementRef { tree: self.tree, node }.to_builder())
            };
        }
        builder
    }
}

impl std::fmt::Debug for ElementRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let node = self.data();
        f.debug_tuple("ElementRef").field(&self.tree.slice(node.start, node.end)).finish()
    }
}

impl Tree {
    /// The character data of a text node.
    pub(crate) fn text_of(&self, node: &Node) -> Cow<'_, str> {
        let raw = self.slice(node.start, node.end);
        if node.flags & RAW_DIFFERS == 0 {
            return Cow::Borrowed(raw);
        }
        let mut out = String::with_capacity(raw.len());
        if node.flags & CDATA != 0 {
            line_ends(raw, &mut out);
        } else {
            resolve(raw, &mut out, line_ends);
        }
        Cow::Owned(out)
    }
}
