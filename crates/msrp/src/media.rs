//! Media types and lists of those that are accepted (RFC 4975 §8.6).

use std::fmt;

/// One entry of `accept-types` or `accept-wrapped-types`. Parameters are left out: with or without them a type is the same (§8.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accept {
    /// `*`: anything may be tried.
    Any,
    /// `type/*`, in lower case.
    Family(Box<str>),
    /// `type/subtype`, in lower case.
    Type(Box<str>),
}

/// A list of accepted types, in order of preference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcceptTypes(Vec<Accept>);

impl AcceptTypes {
    /// Reads entries with spaces between them. None if one is no media type.
    pub fn parse(text: &str) -> Option<Self> {
        text.split(' ').filter(|word| !word.is_empty()).map(entry).collect::<Option<Vec<_>>>().map(Self)
    }

    /// Everything.
    pub fn any() -> Self {
        Self(vec![Accept::Any])
    }

    /// The entries, in order of preference.
    pub fn entries(&self) -> &[Accept] {
        &self.0
    }

    /// Whether nothing is listed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether content of this type may be sent to whoever listed these.
    pub fn accepts(&self, content_type: &str) -> bool {
        let Some(essence) = essence(content_type) else { return false };
        self.0.iter().any(|entry| match entry {
            Accept::Any => true,
            Accept::Family(family) => essence.split_once('/').is_some_and(|(kind, _)| kind == &**family),
            Accept::Type(listed) => essence == **listed,
        })
    }

    /// Whether everything is to be wrapped in `message/cpim`: the peer lists it first (RFC 4975 §13).
    pub fn prefers_cpim(&self) -> bool {
        matches!(self.0.first(), Some(Accept::Type(first)) if &**first == "message/cpim")
    }
}

impl fmt::Display for AcceptTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, entry) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            match entry {
                Accept::Any => f.write_str("*")?,
                Accept::Family(family) => write!(f, "{family}/*")?,
                Accept::Type(listed) => f.write_str(listed)?,
            }
        }
        Ok(())
    }
}

fn entry(text: &str) -> Option<Accept> {
    if text == "*" {
        return Some(Accept::Any);
    }
    let essence = essence(text)?;
    Some(match essence.strip_suffix("/*") {
        Some(family) => Accept::Family(family.into()),
        None => Accept::Type(essence.into()),
    })
}

/// `type/subtype` in lower case, without parameters; none if it is no media type.
pub fn essence(content_type: &str) -> Option<String> {
    let essence = content_type.split(';').next()?.trim_matches([' ', '\t']);
    let (kind, subtype) = essence.split_once('/')?;
    let token = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]".contains(&b))
    };
    (token(kind) && token(subtype)).then(|| essence.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_as_rfc_4975_section_8_6_matches_them() {
        let list = AcceptTypes::parse("message/cpim Text/Plain;charset=utf-8 image/*").expect("a list");
        assert_eq!(list.to_string(), "message/cpim text/plain image/*");
        assert!(list.prefers_cpim());
        for (content_type, accepted) in [
            ("text/plain", true),
            ("TEXT/plain; charset=utf-8", true),
            ("image/png", true),
            ("imagex/png", false),
            ("text/html", false),
            ("text", false),
            ("", false),
            ("text/pl ain", false),
        ] {
            assert_eq!(list.accepts(content_type), accepted, "{content_type}");
        }
        assert!(AcceptTypes::any().accepts("application/x-new"));
        assert!(!AcceptTypes::any().accepts("no type"));
        assert!(!AcceptTypes::default().accepts("text/plain"));
        for bad in ["text", "text/", "/plain", "text/plain text", "text//x"] {
            assert_eq!(AcceptTypes::parse(bad), None, "{bad}");
        }
    }
}
