//! Entity capabilities (XEP-0115).

use super::disco::Info;
use crate::ns;
use crate::xml::{Builder, ElementRef};

/// `<c/>`: what a presence says of the sender's capabilities (XEP-0115 §4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caps {
    /// The name of the hash function, for example `sha-1`.
    pub hash: String,
    /// A URI that names the software.
    pub node: String,
    /// The hash of [`verification_string`], in Base64.
    pub ver: String,
}

impl Caps {
    /// Reads a `<c/>`; `None` if it is another element, or of the legacy format without `hash`.
    pub fn parse(element: ElementRef<'_>) -> Option<Self> {
        if !element.is("c", ns::CAPS) {
            return None;
        }
        let attr = |name| element.attr(name).map(std::borrow::Cow::into_owned);
        Some(Self { hash: attr("hash")?, node: attr("node")?, ver: attr("ver")? })
    }

    /// Writes it.
    pub fn builder(&self) -> Builder {
        Builder::new("c", ns::CAPS).attr("hash", &self.hash).attr("node", &self.node).attr("ver", &self.ver)
    }

    /// The node to ask in `disco#info` (XEP-0115 §6.2).
    pub fn disco_node(&self) -> String {
        format!("{}#{}", self.node, self.ver)
    }
}

/// Why a hash over an answer would say nothing (XEP-0115 §5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CapsFault {
    /// Two identities agree in category, type, language and name.
    #[error("an identity is given twice")]
    IdentityTwice,
    /// A feature is given twice.
    #[error("a feature is given twice")]
    FeatureTwice,
    /// Two forms have the same `FORM_TYPE`.
    #[error("a form type is given twice")]
    FormTwice,
    /// A `FORM_TYPE` has values that differ.
    #[error("a form type has several values")]
    FormType,
    /// A `<` in a value makes two different answers give the same string.
    #[error("a value contains '<'")]
    Ambiguous,
}

/// The string whose hash is the verification string (XEP-0115 §5.1). The hash and Base64 are the caller's.
///
/// # Errors
/// The answer is ill-formed, and its hash must not be trusted (§5.4).
pub fn verification_string(info: &Info) -> Result<String, CapsFault> {
    let mut identities: Vec<_> = info
        .identities
        .iter()
        .map(|identity| {
            let lang = identity.lang.as_deref().unwrap_or("");
            (&*identity.category, &*identity.kind, lang, identity.name.as_deref().unwrap_or(""))
        })
        .collect();
    identities.sort_unstable();
    if identities.windows(2).any(|pair| pair.first() == pair.get(1)) {
        return Err(CapsFault::IdentityTwice);
    }
    let mut features: Vec<&str> = info.features.iter().map(String::as_str).collect();
    features.sort_unstable();
    if features.windows(2).any(|pair| pair.first() == pair.get(1)) {
        return Err(CapsFault::FeatureTwice);
    }
    let mut forms = Vec::new();
    for form in &info.forms {
        // A form without a hidden FORM_TYPE is left out (§5.4, rule 3.6).
        let Some(form_type) = form.form_type() else { continue };
        if form.values("FORM_TYPE").iter().any(|value| value != form_type) {
            return Err(CapsFault::FormType);
        }
        forms.push((form_type, form));
    }
    forms.sort_by(|a, b| a.0.cmp(b.0));
    if forms.windows(2).any(|pair| pair.first().map(|form| form.0) == pair.get(1).map(|form| form.0)) {
        return Err(CapsFault::FormTwice);
    }

    let mut parts: Vec<String> = identities
        .iter()
        .map(|(category, kind, lang, name)| format!("{category}/{kind}/{lang}/{name}"))
        .collect();
    parts.extend(features.iter().map(|feature| (*feature).to_owned()));
    for (form_type, form) in forms {
        parts.push(form_type.to_owned());
        let mut fields: Vec<_> =
            form.fields.iter().filter(|field| field.var.as_deref() != Some("FORM_TYPE")).collect();
        fields.sort_by(|a, b| a.var.cmp(&b.var));
        for field in fields {
            parts.push(field.var.clone().unwrap_or_default());
            let mut values = field.values.clone();
            values.sort_unstable();
            parts.extend(values);
        }
    }
    if parts.iter().any(|part| part.contains('<')) {
        return Err(CapsFault::Ambiguous);
    }
    Ok(parts.iter().flat_map(|part| [part.as_str(), "<"]).collect())
}
