//! Service discovery (XEP-0030): who contributes what, and the whole that results.

use std::collections::{BTreeMap, BTreeSet};

use nuncio_xmpp::jid::Jid;
use nuncio_xmpp::payload::{self, FieldType};

use crate::points::{Boxed, Cx, Place};
use crate::router::Router;

/// Contributes to the answers of `disco#info` and `disco#items`.
pub trait Disco: Send + Sync + 'static {
    /// Adds to the information about a place.
    fn info(&self, _cx: &Cx<'_>, _about: &About<'_>, _out: &mut Info) {}

    /// Adds items of a place.
    fn items<'a>(&'a self, _cx: &'a Cx<'a>, _about: &'a About<'a>) -> Boxed<'a, Vec<Item>> {
        Box::pin(std::future::ready(Vec::new()))
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// Where.
    pub place: &'a Place,
    /// By whom.
    pub asker: &'a Jid,
    /// At which node of the place.
    pub node: Option<&'a str>,
}

/// An identity (XEP-0030 §3.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// The category, from the XMPP registrar.
    pub category: String,
    /// The type within it.
    pub kind: String,
    /// `xml:lang` of the name.
    pub lang: Option<String>,
    /// A name for people.
    pub name: Option<String>,
}

impl Identity {
    /// An identity with an English name.
    pub fn new(category: &str, kind: &str, name: &str) -> Self {
        Self { category: category.to_owned(), kind: kind.to_owned(), lang: None, name: Some(name.to_owned()) }
    }
}

/// A field of an extended-information form (XEP-0128).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Field {
    /// Its type; none for the form's default.
    pub kind: Option<FieldType>,
    /// Its values.
    pub values: Vec<String>,
}

/// The information about a place; forms with one FORM_TYPE become one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Info {
    /// The identities, without doubles.
    pub identities: BTreeSet<Identity>,
    /// The features, without doubles.
    pub features: BTreeSet<String>,
    /// Fields by FORM_TYPE and name.
    pub forms: BTreeMap<String, BTreeMap<String, Field>>,
    /// Whether the node asked about exists; a place without a node always does.
    pub found: bool,
}

impl Info {
    /// Adds an identity.
    pub fn identity(&mut self, identity: Identity) {
        self.identities.insert(identity);
    }

    /// Adds a feature.
    pub fn feature(&mut self, ns: impl Into<String>) {
        self.features.insert(ns.into());
    }

    /// Adds values to a field of the form of this FORM_TYPE.
    pub fn field(
        &mut self,
        form_type: &str,
        name: &str,
        kind: Option<FieldType>,
        values: impl IntoIterator<Item = String>,
    ) {
        let form = self.forms.entry(form_type.to_owned()).or_default();
        let field = form.entry(name.to_owned()).or_default();
        field.kind = field.kind.or(kind);
        field.values.extend(values);
    }
}

impl Info {
    /// As it goes over the wire.
    pub fn payload(&self, node: Option<&str>) -> payload::Info {
        let identities = self.identities.iter().map(|identity| payload::Identity {
            category: identity.category.clone(),
            kind: identity.kind.clone(),
            lang: identity.lang.clone(),
            name: identity.name.clone(),
        });
        let forms = self.forms.iter().map(|(form_type, fields)| {
            let fields = fields.iter().map(|(var, field)| payload::Field {
                var: Some(var.clone()),
                kind: field.kind,
                values: field.values.clone(),
                ..payload::Field::default()
            });
            fields.fold(payload::Form::typed(payload::FormType::Result, form_type), payload::Form::field)
        });
        payload::Info {
            node: node.map(str::to_owned),
            identities: identities.collect(),
            features: self.features.iter().cloned().collect(),
            forms: forms.collect(),
        }
    }
}

/// An item of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its address.
    pub jid: Jid,
    /// Its node.
    pub node: Option<String>,
    /// A name for people.
    pub name: Option<String>,
}

impl Router {
    /// What is known about a place, of the static features and all [`Disco`] points. Whether the asker may know is asked before:
    /// see [`crate::Step::sees`].
    pub fn disco_info(self: &std::sync::Arc<Self>, about: &About<'_>) -> Info {
        let mut info = Info { found: about.node.is_none(), ..Info::default() };
        let cx = self.cx();
        if about.node.is_none() {
            for (at, feature) in &self.points().features {
                if *at == about.place.at {
                    info.feature(feature.clone());
                }
            }
        }
        for disco in &self.points().disco {
            disco.info(&cx, about, &mut info);
        }
        info
    }

    /// The items of a place.
    pub async fn disco_items(self: &std::sync::Arc<Self>, about: &About<'_>) -> Vec<Item> {
        let cx = self.cx();
        let mut all = Vec::new();
        for disco in &self.points().disco {
            all.extend(disco.items(&cx, about).await);
        }
        all
    }
}
