//! Writing a stanza for the stream that it leaves on.

use bytes::Bytes;
use smallvec::SmallVec;

use super::Stanza;
use crate::jid::Jid;
use crate::ns;
use crate::xml::escape_attr;
use crate::xml::{Closed, ElementRef, declare, escape_text, tree};

/// What a stanza's start tag and direct children mean for writing it elsewhere.
pub(super) struct Shape {
    pub(super) head: Bytes,
    pub(super) rebuild: bool,
    pub(super) stripped: SmallVec<[u32; 4]>,
}

impl Shape {
    pub(super) fn of(root: ElementRef<'_>) -> Self {
        let tree = root.tree;
        let node = root.data();
        let own = root.ns();
        let mut rebuild = node.prefix_len != 0 || node.default_ns != node.ns;
        let mut stripped = SmallVec::new();
        for child in root.children() {
            let data = child.data();
            if data.ns == node.ns && data.prefix_len == 0 {
                continue;
            }
            let ns = child.ns();
            if ns == own {
                rebuild = true;
            } else if ns::is_content(ns) {
                stripped.push(child.node);
            }
        }
        let mut head = Vec::new();
        if rebuild {
            declare_for_attrs(root, &mut head);
        }
        for attr in tree.attrs_of(node) {
            let known = match (attr.flags & tree::DECLARES != 0, attr.prefix_len) {
                // What is rebuilt declares its prefixes itself.
                (true, prefix) => prefix == 0 || rebuild,
                (false, 0) => matches!(tree.local(attr), "to" | "from" | "id" | "type"),
                (false, _) => attr.ns == tree::NsRef::XML && tree.local(attr) == "lang",
            };
            if !known {
                copy_attr(tree, attr, &mut head);
            }
        }
        if tree.borrows_prefix && !rebuild {
            Closed::new(root).write_prefixes(&mut head);
        }
        Self { head: head.into(), rebuild, stripped }
    }
}

/// Copies an attribute as written, after a space.
fn copy_attr(tree: &tree::Tree, attr: &tree::Attr, out: &mut Vec<u8>) {
    out.push(b' ');
    // The value's closing quote is the byte after it.
    out.extend_from_slice(tree.slice(attr.name, attr.value + attr.value_len + 1).as_bytes());
}

/// Declares the prefixes that an element's own attributes use.
fn declare_for_attrs(element: ElementRef<'_>, out: &mut Vec<u8>) {
    let tree = element.tree;
    let mut done: SmallVec<[&str; 2]> = SmallVec::new();
    for attr in tree.attrs_of(element.data()) {
        let prefix = tree.prefix(attr);
        let inherent = attr.flags & tree::DECLARES != 0 || prefix.is_empty() || attr.ns == tree::NsRef::XML;
        if !inherent && !done.contains(&prefix) {
            declare(out, prefix, tree.uri(attr.ns));
            done.push(prefix);
        }
    }
}

fn attr(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"='");
    escape_attr(out, value);
    out.push(b'\'');
}

impl Stanza {
    /// Appends the stanza as it must be written on a stream whose default namespace is `stream_ns`: [`ns::CLIENT`], [`ns::SERVER`]
    /// or another content namespace, or empty where nothing is inherited (RFC 7395, archives), so that the stanza declares
    /// [`ns::CLIENT`] itself. What is in the stanza's own namespace is then in that of the stream (RFC 6120 §4.8.3).
    pub fn render(&self, out: &mut Vec<u8>, stream_ns: &str) {
        out.reserve(self.room(stream_ns));
        let name = self.name().as_bytes();
        out.push(b'<');
        out.extend_from_slice(name);
        let content = if stream_ns.is_empty() {
            declare(out, "", ns::CLIENT);
            ns::CLIENT
        } else {
            stream_ns
        };
        out.extend_from_slice(&self.head);
        if let Some(from) = &self.from {
            attr(out, "from", from.as_str());
        }
        if let Some(to) = &self.to {
            attr(out, "to", to.as_str());
        }
        if let Some(kind) = self.kind.type_attr() {
            attr(out, "type", kind);
        }
        if let Some(id) = &self.id {
            attr(out, "id", id);
        }
        if let Some(lang) = &self.lang {
            attr(out, "xml:lang", lang);
        }
        out.push(b'>');
        let before = out.len();
        self.render_content(out, content);
        for added in &self.added {
            out.extend_from_slice(added);
        }
        if out.len() == before {
            out.pop();
            out.extend_from_slice(b"/>");
        } else {
            out.extend_from_slice(b"</");
            out.extend_from_slice(name);
            out.push(b'>');
        }
    }

    fn render_content(&self, out: &mut Vec<u8>, content: &str) {
        let root = self.element.root();
        let own = root.ns();
        if self.rebuild {
            for child in self.children() {
                if child.ns() == own {
                    rewrite(child, out, own, content);
                } else {
                    child.write_closed(out, content);
                }
            }
            return;
        }
        let node = root.data();
        let mut from = node.open_end;
        for index in &self.stripped {
            let child = ElementRef { tree: root.tree, node: *index }.data();
            out.extend_from_slice(root.tree.slice(from, child.start).as_bytes());
            from = child.end;
        }
        out.extend_from_slice(root.tree.slice(from, node.close).as_bytes());
    }

    /// The bytes that [`Stanza::render`] appends.
    pub fn bytes(&self, stream_ns: &str) -> Bytes {
        let mut out = Vec::new();
        self.render(&mut out, stream_ns);
        out.into()
    }

    /// How many bytes [`Stanza::render`] appends, if nothing has to be escaped, stripped or rewritten: then what it writes fits exactly.
    pub(super) fn room(&self, stream_ns: &str) -> usize {
        let node = self.element.root().data();
        let content = node.close.saturating_sub(node.open_end) as usize
            + self.added.iter().map(Bytes::len).sum::<usize>();
        let name = self.name().len();
        let ends = if content == 0 { name + "</>".len() } else { 2 * name + "<></>".len() };
        let declared = if stream_ns.is_empty() { " xmlns=''".len() + ns::CLIENT.len() } else { 0 };
        let attr =
            |name: usize, value: Option<&str>| value.map_or(0, |value| name + value.len() + " =''".len());
        let attrs = attr(4, self.from.as_ref().map(Jid::as_str))
            + attr(2, self.to.as_ref().map(Jid::as_str))
            + attr(4, self.kind.type_attr())
            + attr(2, self.id.as_deref())
            + attr(8, self.lang.as_deref());
        content + ends + declared + attrs + self.head.len()
    }

    /// About how many bytes [`Stanza::render`] appends.
    pub fn size(&self) -> usize {
        let node = self.element.root().data();
        let body = node.close.saturating_sub(node.open_end) as usize;
        let added: usize = self.added.iter().map(Bytes::len).sum();
        let addresses =
            [&self.to, &self.from].into_iter().flatten().map(|jid| jid.as_str().len()).sum::<usize>();
        body + added + self.head.len() + addresses + self.id.as_ref().map_or(0, |id| id.len()) + 96
    }
}

/// Writes an element of the stanza's own namespace into one with the content namespace `content`: without prefix and declaration.
fn rewrite(element: ElementRef<'_>, out: &mut Vec<u8>, own: &str, content: &str) {
    let tree = element.tree;
    let node = element.data();
    out.push(b'<');
    out.extend_from_slice(element.name().as_bytes());
    declare_for_attrs(element, out);
    for attr in tree.attrs_of(node).iter().filter(|attr| attr.flags & tree::DECLARES == 0) {
        copy_attr(tree, attr, out);
    }
    out.push(b'>');
    for index in element.child_nodes() {
        let child = ElementRef { tree, node: index };
        let data = child.data();
        if data.flags & tree::TEXT != 0 {
            escape_text(out, &tree.text_of(data));
        } else if child.ns() == own {
            rewrite(child, out, own, content);
        } else {
            child.write_closed(out, content);
        }
    }
    out.extend_from_slice(b"</");
    out.extend_from_slice(element.name().as_bytes());
    out.push(b'>');
}
