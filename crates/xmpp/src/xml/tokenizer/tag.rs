//! Tags: attributes, namespaces (Namespaces in XML 1.0), opening and closing.

use std::cell::RefCell;
use std::sync::Arc;

use super::{Declared, Frame, Header, NO_ATTR, NO_NODE, Node, State, Step, Tokenizer};
use crate::ns;
use crate::xml::tree::{Attr, DECLARES, EXTRA, NsRef, RAW_DIFFERS, Tree, resolve_attr};
use crate::xml::{Limits, Which, XmlError};

/// What nearly all clients declare, the default namespace first.
const USUAL: &str = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
/// So many streams share a scope: with more of them cores would fight over its count.
const SHARERS: u8 = 64;

thread_local! {
    static SHARED: RefCell<Option<(Arc<Tree>, u8)>> = const { RefCell::new(None) };
}

/// A scope that declares what [`USUAL`] does. Many streams hold one, instead of one each.
fn usual_scope() -> Option<Arc<Tree>> {
    SHARED.with_borrow_mut(|shared| {
        if let Some((scope, left)) = shared
            && *left > 0
        {
            *left -= 1;
            return Some(Arc::clone(scope));
        }
        let mut tokenizer = Tokenizer { own_scope: true, ..Tokenizer::new(Limits::default()) };
        tokenizer.push(USUAL.as_bytes());
        let Ok(Some(Frame::Header(header))) = tokenizer.next() else { return None };
        *shared = Some((Arc::clone(&header.tree), SHARERS));
        Some(header.tree)
    })
}

impl Tokenizer {
    fn bytes(&self, from: u32, len: usize) -> &[u8] {
        let from = self.start + from as usize;
        self.buffer.get(from..from + len).unwrap_or_default()
    }

    /// The innermost open element.
    fn inner(&self) -> Option<&Node> {
        if self.depth == 0 { None } else { self.nodes.get(self.inner as usize) }
    }

    /// The name of the innermost open element, prefix included; that of the stream outside of all.
    pub(super) fn open_name(&self) -> &[u8] {
        match self.inner() {
            Some(node) => self.bytes(node.start + 1, usize::from(node.name_len)),
            None => {
                let root = self.scope.as_deref().and_then(|scope| Some((scope, scope.nodes.first()?)));
                root.map_or(&[], |(scope, node)| {
                    scope.slice(node.start + 1, node.start + 1 + u32::from(node.name_len)).as_bytes()
                })
            }
        }
    }

    /// The next byte begins the name of an element; the one before is its `<`.
    pub(super) fn begin_tag(&mut self) -> Result<(), XmlError> {
        if self.depth >= self.limits.depth {
            let limit = u64::from(self.limits.depth);
            return Err(XmlError::Limit { which: Which::Depth, limit });
        }
        self.room_for_node()?;
        let attrs = u32::try_from(self.attrs.len()).unwrap_or(u32::MAX);
        self.mark = self.offset();
        self.tag = Node { start: self.mark - 1, attrs, ..NO_NODE };
        self.fresh = true;
        self.state = State::Name;
        Ok(())
    }

    /// The next byte begins the name of an attribute.
    pub(super) fn begin_attr(&mut self) -> Result<(), XmlError> {
        if self.tag.attr_count >= self.limits.attributes {
            let limit = u64::from(self.limits.attributes);
            return Err(XmlError::Limit { which: Which::Attributes, limit });
        }
        self.mark = self.offset();
        self.attr = Attr { name: self.mark, ..NO_ATTR };
        // The prefix is counted in the tag while a name is read.
        (self.attr.prefix_len, self.tag.prefix_len) = (self.tag.prefix_len, 0);
        self.fresh = true;
        self.state = State::AttrName;
        Ok(())
    }

    /// The name that was being read ends before the next byte.
    pub(super) fn end_name(&mut self, end: usize) -> Result<Step, XmlError> {
        let len = self.name_len();
        if self.state == State::Name {
            self.tag.name_len = len;
            return self.in_tag(end);
        }
        (self.attr.prefix_len, self.tag.prefix_len) = (self.tag.prefix_len, self.attr.prefix_len);
        self.attr.name_len = len;
        let prefix_len = usize::from(self.attr.prefix_len);
        let declares = match prefix_len {
            0 => self.bytes(self.attr.name, usize::from(len)) == b"xmlns",
            _ => self.bytes(self.attr.name, prefix_len) == b"xmlns",
        };
        if declares {
            self.attr.flags = DECLARES;
            self.attr.ns = NsRef::XMLNS;
        }
        self.state = State::Equals;
        if self.peek(end) == Some(b'=') {
            self.pos += 1;
            self.state = State::Quote;
            if let Some(quote @ (b'\'' | b'"')) = self.peek(end) {
                self.begin_value();
                self.pos += 1;
                self.state = State::Value(quote);
            }
        }
        Ok(Step::Go)
    }

    /// The next byte is the quote that opens a value.
    pub(super) fn begin_value(&mut self) {
        self.attr.value = self.offset() + 1;
        self.flags = 0;
    }

    /// A name or a value is complete: what is most often next, without a detour.
    fn in_tag(&mut self, end: usize) -> Result<Step, XmlError> {
        self.state = State::InTag(false);
        match self.peek(end) {
            Some(b'>') => {
                self.pos += 1;
                return self.open_tag(false);
            }
            Some(b' ') => {
                self.pos += 1;
                self.state = State::InTag(true);
            }
            _ => {}
        }
        Ok(Step::Go)
    }

    /// The next byte is the quote that closes a value.
    pub(super) fn end_attr(&mut self, end: usize) -> Result<Step, XmlError> {
        self.attr.value_len = self.offset() - self.attr.value;
        self.attr.flags |= self.flags;
        if self.attrs.capacity() == 0 {
            self.attrs.reserve(8);
        }
        self.attrs.push(self.attr);
        self.tag.attr_count += 1;
        self.pos += 1;
        self.in_tag(end)
    }

    /// The opening tag is complete; an empty element with it.
    pub(super) fn open_tag(&mut self, empty: bool) -> Result<Step, XmlError> {
        let outside = self.declared.len();
        self.tag.default_ns = self.inherited();
        if self.tag.attr_count > 0 {
            self.declare()?;
        }
        self.tag.ns = match usize::from(self.tag.prefix_len) {
            0 => self.tag.default_ns,
            len => self.lookup(self.tag.start + 1, len)?.at,
        };
        if self.tag.attr_count > 0 {
            self.bind_attrs()?;
        }
        self.opened(empty, outside)
    }

    /// As [`Tokenizer::open_tag`], for a tag without prefixes and doubles.
    pub(super) fn open_plain(&mut self, empty: bool, declares: bool) -> Result<Step, XmlError> {
        let outside = self.declared.len();
        self.tag.default_ns = self.inherited();
        if declares {
            self.declare()?;
        }
        self.tag.ns = self.tag.default_ns;
        self.opened(empty, outside)
    }

    /// The default namespace around the tag.
    fn inherited(&self) -> NsRef {
        self.inner().map_or(self.default_ns, |parent| parent.default_ns)
    }

    /// The tag is read and its names are bound; `outside` declarations were in scope before it.
    fn opened(&mut self, empty: bool, outside: usize) -> Result<Step, XmlError> {
        let end = self.offset();
        self.tag.open_end = end;
        let node = self.room_for_node()?;
        if empty {
            (self.tag.close, self.tag.end, self.tag.next) = (end, end, node + 1);
        } else {
            (self.tag.close, self.tag.next) = (u32::try_from(outside).unwrap_or(u32::MAX), self.inner);
        }
        if self.nodes.capacity() == 0 {
            self.nodes.reserve(8);
        }
        self.nodes.push(self.tag);
        self.mark = end;
        self.flags = 0;
        if !self.single && !self.streaming {
            return self.open_stream(empty);
        }
        if empty {
            self.declared.truncate(outside);
            return self.closed();
        }
        self.inner = node;
        self.depth += 1;
        self.state = State::Content;
        Ok(Step::Go)
    }

    /// The stream's opening tag is complete.
    fn open_stream(&mut self, empty: bool) -> Result<Step, XmlError> {
        let root = self.tag;
        let tree = Arc::new(self.take_tree()?);
        let usual = if self.own_scope { None } else { self.usual(&tree) };
        let usual = usual.and_then(|default| Some((default, usual_scope()?)));
        let place = |ns: NsRef| match (ns.own(), &usual) {
            (Some(own), Some((default, _))) => NsRef::scope(u32::from(own != *default)),
            (Some(own), None) => NsRef::scope(own),
            (None, _) => ns,
        };
        for declared in &mut self.declared {
            (declared.at, declared.same) = (place(declared.at), place(declared.same));
        }
        self.default_ns = if root.default_ns.own().is_some() { place(root.default_ns) } else { NsRef::NONE };
        self.scope = Some(usual.map_or_else(|| Arc::clone(&tree), |(_, shared)| shared));
        self.streaming = true;
        self.start = self.pos;
        self.state = if empty { State::EmptyRoot } else { State::Between };
        Ok(self.done(Frame::Header(Header { tree })))
    }

    /// Whether the header declares what nearly all do and nothing else: then the attribute that declares the default namespace. Of such a
    /// header nothing has to be kept, since [`usual_scope`] says the same.
    fn usual(&self, header: &Tree) -> Option<u32> {
        let root = header.nodes.first()?;
        let name = header.slice(root.start + 1, root.start + 1 + u32::from(root.name_len));
        if name != "stream:stream" || self.declared.len() != 2 {
            return None;
        }
        let find = |prefix: &str, uri: &str| {
            let declares = |index: &u32| {
                let attr = header.attrs.get(*index as usize);
                attr.is_some_and(|attr| header.declared_prefix(attr) == prefix)
                    && header.declared(*index) == uri
            };
            self.declared.iter().filter_map(|declared| declared.at.own()).find(declares)
        };
        find("stream", ns::STREAMS)?;
        find("", ns::CLIENT)
    }

    /// A closing tag is complete.
    pub(super) fn close_tag(&mut self) -> Result<Step, XmlError> {
        let end = self.offset();
        if self.depth == 0 {
            self.start = self.pos;
            self.state = State::After;
            return Ok(self.done(Frame::End));
        }
        let next = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        if let Some(node) = self.nodes.get_mut(self.inner as usize) {
            self.declared.truncate(node.close as usize);
            self.inner = node.next;
            node.close = self.mark;
            node.end = end;
            node.next = next;
        }
        self.depth -= 1;
        self.closed()
    }

    /// An element is complete.
    fn closed(&mut self) -> Result<Step, XmlError> {
        self.mark = self.offset();
        if self.depth > 0 {
            self.state = State::Content;
            return Ok(Step::Go);
        }
        self.state = if self.single { State::After } else { State::Between };
        let element = self.take_element()?;
        Ok(self.done(Frame::Element(element)))
    }

    /// Brings the declarations of the tag into scope.
    fn declare(&mut self) -> Result<(), XmlError> {
        let first = self.tag.attrs as usize;
        let outside = self.declared.len();
        for index in first..self.attrs.len() {
            let Some(&attr) = self.attrs.get(index) else { break };
            if attr.flags & DECLARES == 0 {
                continue;
            }
            let Ok(own) = u32::try_from(index) else { break };
            let limit = self.limits.namespaces;
            if self.declared.len() >= usize::from(limit) {
                return Err(XmlError::Limit { which: Which::Namespaces, limit: u64::from(limit) });
            }
            if attr.flags & RAW_DIFFERS != 0 {
                let raw = self.bytes(attr.value, attr.value_len as usize);
                let resolved = resolve_attr(&String::from_utf8_lossy(raw));
                if let Some(slot) = self.attrs.get_mut(index) {
                    slot.flags |= EXTRA;
                    slot.ns = NsRef(u32::try_from(self.extras.len()).unwrap_or(u32::MAX));
                }
                self.extras.push(resolved.into());
            }
            let at = NsRef(own);
            self.check_declaration(&attr, at)?;
            let prefix = self.prefix_declared(at);
            let inside = self.declared.get(outside..).unwrap_or_default();
            if inside.iter().any(|other| self.prefix_declared(other.at) == prefix) {
                return self.wrong("namespace declared twice");
            }
            let uri = self.uri(at);
            let same =
                self.declared.iter().find(|other| self.uri(other.at) == uri).map_or(at, |other| other.same);
            self.work += self.declared.len() as u64;
            self.declared.push(Declared { at, same });
            if attr.prefix_len == 0 {
                self.tag.default_ns = at;
            }
        }
        Ok(())
    }

    /// The constraints on reserved prefixes and namespace names (Namespaces in XML §2.2, §3, §5).
    fn check_declaration(&self, attr: &Attr, at: NsRef) -> Result<(), XmlError> {
        let uri = self.uri(at);
        let (is_xml, is_xmlns) = (uri == ns::XML.as_bytes(), uri == ns::XMLNS.as_bytes());
        if is_xmlns {
            return self.wrong("the namespace of xmlns cannot be declared");
        }
        if attr.prefix_len == 0 {
            return if is_xml { self.wrong("the namespace of xml cannot be the default") } else { Ok(()) };
        }
        match self.prefix_declared(at) {
            b"xml" if is_xml => Ok(()),
            b"xml" => self.wrong("the prefix xml cannot be bound to another namespace"),
            b"xmlns" => self.wrong("the prefix xmlns cannot be declared"),
            _ if is_xml => self.wrong("the namespace of xml cannot be bound to another prefix"),
            _ if uri.is_empty() => self.wrong("a prefix cannot be undeclared"),
            _ => Ok(()),
        }
    }

    /// The prefix that a declaration binds; empty for the default namespace.
    fn prefix_declared(&self, at: NsRef) -> &[u8] {
        if let Some(index) = at.own() {
            let Some(attr) = self.attrs.get(index as usize).filter(|attr| attr.prefix_len != 0) else {
                return &[];
            };
            let skip = attr.prefix_len + 1;
            self.bytes(attr.name + u32::from(skip), usize::from(attr.name_len.saturating_sub(skip)))
        } else {
            let scope = self.scope.as_deref();
            let found = scope.and_then(|scope| Some((scope, scope.attrs.get(at.in_scope()? as usize)?)));
            found.map_or(&[], |(scope, attr)| scope.declared_prefix(attr).as_bytes())
        }
    }

    /// The namespace name that a declaration declares.
    fn uri(&self, at: NsRef) -> &[u8] {
        if let Some(index) = at.own() {
            let Some(attr) = self.attrs.get(index as usize) else { return &[] };
            if attr.flags & EXTRA != 0 {
                self.extras.get(attr.ns.0 as usize).map_or(&[], |extra| extra.as_bytes())
            } else {
                self.bytes(attr.value, attr.value_len as usize)
            }
        } else {
            self.scope
                .as_deref()
                .zip(at.in_scope())
                .map_or(&[], |(scope, index)| Tree::declared(scope, index).as_bytes())
        }
    }

    /// The declaration in scope of a prefix.
    fn lookup(&mut self, from: u32, len: usize) -> Result<Declared, XmlError> {
        let prefix = self.bytes(from, len);
        match prefix {
            b"xml" => return Ok(Declared { at: NsRef::XML, same: NsRef::XML }),
            b"xmlns" => return self.wrong("an element cannot have the prefix xmlns"),
            _ => {}
        }
        let found =
            self.declared.iter().rev().position(|declared| self.prefix_declared(declared.at) == prefix);
        let Some(found) = found else { return self.wrong("undeclared prefix") };
        self.work += found as u64 + 1;
        let Some(&declared) = self.declared.get(self.declared.len() - 1 - found) else {
            return self.wrong("undeclared prefix");
        };
        if declared.at.in_scope().is_some() {
            self.borrows_prefix = true;
        }
        Ok(declared)
    }

    /// Binds the attributes' prefixes, and refuses two of the same name (XML §3.1, Namespaces in XML §6.3).
    fn bind_attrs(&mut self) -> Result<(), XmlError> {
        let first = self.tag.attrs as usize;
        // The namespace by which two names are compared; it replaces the declaration until all are compared.
        let mut bound: smallvec::SmallVec<[NsRef; 8]> = smallvec::SmallVec::new();
        for index in first..self.attrs.len() {
            let Some(&attr) = self.attrs.get(index) else { break };
            if attr.flags & DECLARES != 0 {
                bound.push(NsRef::XMLNS);
                continue;
            }
            let mut same = NsRef::NONE;
            if attr.prefix_len != 0 {
                let found = self.lookup(attr.name, usize::from(attr.prefix_len))?;
                same = found.same;
                if let Some(slot) = self.attrs.get_mut(index) {
                    slot.ns = found.at;
                }
            }
            let local = self.local(&attr);
            let earlier = self.attrs.get(first..index).unwrap_or_default();
            let twice =
                earlier.iter().zip(&bound).any(|(other, ns)| *ns == same && self.local(other) == local);
            self.work += earlier.len() as u64;
            if twice {
                return self.wrong("attribute given twice");
            }
            bound.push(same);
        }
        Ok(())
    }

    fn local(&self, attr: &Attr) -> &[u8] {
        let skip = if attr.prefix_len == 0 { 0 } else { attr.prefix_len + 1 };
        self.bytes(attr.name + u32::from(skip), usize::from(attr.name_len.saturating_sub(skip)))
    }
}
