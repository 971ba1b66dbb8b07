//! Service discovery (XEP-0030), with extended information (XEP-0128).

use super::forms::Form;
use crate::jid::Jid;
use crate::ns;
use crate::xml::{Builder, ElementRef};

/// What an entity is (XEP-0030 §3.1).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// For example `server`.
    pub category: String,
    /// For example `im`.
    pub kind: String,
    /// The language of the name.
    pub lang: Option<String>,
    /// A name for a human being.
    pub name: Option<String>,
}

impl Identity {
    /// An identity without language.
    pub fn new(category: &str, kind: &str, name: Option<&str>) -> Self {
        Self { category: category.into(), kind: kind.into(), lang: None, name: name.map(Into::into) }
    }
}

/// The answer to a `disco#info` query (XEP-0030 §3.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// The node that was asked for.
    pub node: Option<String>,
    /// What it is.
    pub identities: Vec<Identity>,
    /// What it can do.
    pub features: Vec<String>,
    /// More about it (XEP-0128).
    pub forms: Vec<Form>,
}

impl Info {
    /// Whether it has a feature.
    pub fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|known| known == feature)
    }

    /// Reads a `query` element; `None` if it is another.
    pub fn parse(element: ElementRef<'_>) -> Option<Self> {
        if !element.is("query", ns::DISCO_INFO) {
            return None;
        }
        let mut info = Self { node: element.attr("node").map(Into::into), ..Self::default() };
        for child in element.children() {
            if child.is("identity", ns::DISCO_INFO) {
                info.identities.push(Identity {
                    category: child.attr("category").unwrap_or_default().into_owned(),
                    kind: child.attr("type").unwrap_or_default().into_owned(),
                    lang: child.lang().map(Into::into),
                    name: child.attr("name").map(Into::into),
                });
            } else if child.is("feature", ns::DISCO_INFO) {
                info.features.extend(child.attr("var").map(std::borrow::Cow::into_owned));
            } else if let Some(form) = Form::parse(child) {
                info.forms.push(form);
            }
        }
        Some(info)
    }

    /// Writes it.
    pub fn builder(&self) -> Builder {
        let identities = self.identities.iter().map(|identity| {
            let builder = Builder::new("identity", ns::DISCO_INFO)
                .attr("category", &identity.category)
                .attr("type", &identity.kind)
                .attr_opt("name", identity.name.as_deref());
            match &identity.lang {
                Some(lang) => builder.lang(lang),
                None => builder,
            }
        });
        let features =
            self.features.iter().map(|var| Builder::new("feature", ns::DISCO_INFO).attr("var", var));
        Builder::new("query", ns::DISCO_INFO)
            .attr_opt("node", self.node.as_deref())
            .children(identities)
            .children(features)
            .children(self.forms.iter().map(Form::builder))
    }
}

/// An item of an entity (XEP-0030 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its address.
    pub jid: Jid,
    /// Its node, if it has no address of its own.
    pub node: Option<String>,
    /// A name for a human being.
    pub name: Option<String>,
}

/// The answer to a `disco#items` query (XEP-0030 §4.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Items {
    /// The node that was asked for.
    pub node: Option<String>,
    /// The items.
    pub items: Vec<Item>,
}

impl Items {
    /// Reads a `query` element; `None` if it is another. Items without a valid address are left out.
    pub fn parse(element: ElementRef<'_>) -> Option<Self> {
        if !element.is("query", ns::DISCO_ITEMS) {
            return None;
        }
        let item = |child: ElementRef<'_>| {
            let jid = Jid::new(&child.attr("jid")?).ok()?;
            Some(Item {
                jid,
                node: child.attr("node").map(Into::into),
                name: child.attr("name").map(Into::into),
            })
        };
        let items = element.children().filter(|child| child.is("item", ns::DISCO_ITEMS)).filter_map(item);
        Some(Self { node: element.attr("node").map(Into::into), items: items.collect() })
    }

    /// Writes it.
    pub fn builder(&self) -> Builder {
        let items = self.items.iter().map(|item| {
            Builder::new("item", ns::DISCO_ITEMS)
                .attr("jid", item.jid.as_str())
                .attr_opt("node", item.node.as_deref())
                .attr_opt("name", item.name.as_deref())
        });
        Builder::new("query", ns::DISCO_ITEMS).attr_opt("node", self.node.as_deref()).children(items)
    }
}
