//! Result set management (XEP-0059).

use crate::ns;
use crate::xml::{Builder, ElementRef};

/// Which page of the results is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Page {
    /// The first one.
    #[default]
    First,
    /// What follows the item with this id (XEP-0059 §2.2).
    After(String),
    /// What precedes the item with this id (XEP-0059 §2.3).
    Before(String),
    /// The last one (XEP-0059 §2.5).
    Last,
    /// What begins at this place, counted from 0 (XEP-0059 §2.6).
    Index(u32),
}

/// What is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// At most so many items; 0 asks for the count only (XEP-0059 §2.7).
    pub max: Option<u32>,
    /// Which page.
    pub page: Page,
}

impl Request {
    /// Reads a `<set/>`; `None` if it is another element, or holds something that is not a number where one must be.
    pub fn parse(element: ElementRef<'_>) -> Option<Self> {
        if !element.is("set", ns::RSM) {
            return None;
        }
        let text = |name| element.child(name, ns::RSM).map(|child| child.text().into_owned());
        let max = text("max").map(|max| max.trim().parse()).transpose().ok()?;
        let page = if let Some(id) = text("after").filter(|id| !id.is_empty()) {
            Page::After(id)
        } else if let Some(id) = text("before") {
            if id.is_empty() { Page::Last } else { Page::Before(id) }
        } else if let Some(index) = text("index") {
            Page::Index(index.trim().parse().ok()?)
        } else {
            Page::First
        };
        Some(Self { max, page })
    }

    /// Writes it.
    pub fn builder(&self) -> Builder {
        let child = |name: &str, text: &str| Builder::new(name, ns::RSM).text(text);
        let page = match &self.page {
            Page::First => None,
            Page::After(id) => Some(child("after", id)),
            Page::Before(id) => Some(child("before", id)),
            Page::Last => Some(child("before", "")),
            Page::Index(index) => Some(child("index", &index.to_string())),
        };
        let max = self.max.map(|max| child("max", &max.to_string()));
        Builder::new("set", ns::RSM).child_opt(max).child_opt(page)
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    /// The id of the page's first item.
    pub first: Option<String>,
    /// The place of the page's first item in all, counted from 0.
    pub index: Option<u32>,
    /// The id of the page's last item.
    pub last: Option<String>,
    /// How many items there are in all.
    pub count: Option<u32>,
}

impl Set {
    /// Reads a `<set/>`; `None` if it is another element.
    pub fn parse(element: ElementRef<'_>) -> Option<Self> {
        if !element.is("set", ns::RSM) {
            return None;
        }
        let text = |name| element.child(name, ns::RSM).map(|child| child.text().into_owned());
        let first = element.child("first", ns::RSM);
        Some(Self {
            first: text("first"),
            index: first.and_then(|first| first.attr("index")?.trim().parse().ok()),
            last: text("last"),
            count: text("count").and_then(|count| count.trim().parse().ok()),
        })
    }

    /// Writes it.
    pub fn builder(&self) -> Builder {
        let child = |name: &str, text: &str| Builder::new(name, ns::RSM).text(text);
        let first = self.first.as_deref().map(|first| child("first", first).attr_opt("index", self.index));
        Builder::new("set", ns::RSM)
            .child_opt(first)
            .child_opt(self.last.as_deref().map(|last| child("last", last)))
            .child_opt(self.count.map(|count| child("count", &count.to_string())))
    }
}
