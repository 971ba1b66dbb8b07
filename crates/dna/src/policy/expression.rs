//! The language of policies: `authenticated or (dialback and tls13)`.
//!
//! ```text
//! expression = term *( "or" term )
//! term       = factor *( "and" factor )
//! factor     = name / "(" expression ")"
//! ```
//! There is no "not" on purpose: more evidence never makes a peer less welcome, so nobody gains by hiding some.

use std::fmt;
use std::str::FromStr;

use crate::proof::{Prooftype, ProvenDomain, Strength};
use crate::{Evidence, Time, Tls};

/// The longest policy that is read, in octets.
const MAX_LENGTH: usize = 1024;

/// The deepest nesting of parentheses.
const MAX_DEPTH: usize = 16;

macro_rules! atoms {
    ($($(#[$doc:meta])+ $name:ident => $text:literal;)+) => {
        /// A name in a policy.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Atom {
            $($(#[$doc])+ $name,)+
        }

        impl Atom {
            /// Every name, for messages and the manual.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The name as it is written.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

atoms! {
    /// A certificate for the domain, by a trusted authority.
    Pkix => "pkix";
    /// A certificate for the host to which signed SRV records delegate.
    Delegation => "delegation";
    /// A certificate that signed TLSA records name.
    Dane => "dane";
    /// A certificate that the domain's web server names.
    Posh => "posh";
    /// A certificate that the operator pinned.
    Pin => "pin";
    /// Dialback of any strength.
    Dialback => "dialback";
    /// Dialback that was answered by a server that a certificate proves, over TLS.
    Vouched => "vouched";
    /// The stream is encrypted.
    Tls => "tls";
    /// The stream is encrypted by TLS 1.3 or better.
    Tls13 => "tls13";
    /// The peer presented a certificate, be it worth anything or not.
    Certificate => "certificate";
    /// XEP-0238: everybody.
    Permissive => "permissive";
    /// XEP-0238: dialback or better.
    Verified => "verified";
    /// XEP-0238: TLS, and dialback or better.
    Encrypted => "encrypted";
    /// XEP-0238 calls it trusted: TLS, and a proof by certificate.
    Authenticated => "authenticated";
    /// Nobody.
    Nobody => "nobody";
}

/// What must be proven.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expression {
    /// One name.
    Atom(Atom),
    /// All of these; at least two.
    All(Vec<Self>),
    /// Any of these; at least two.
    Any(Vec<Self>),
}

impl Default for Expression {
    /// `authenticated`: TLS, and any of PKIX, delegation, DANE, POSH or a pin.
    fn default() -> Self {
        Self::Atom(Atom::Authenticated)
    }
}

/// What a policy looks at.
pub(crate) struct Facts<'a> {
    pub(crate) proofs: &'a [ProvenDomain],
    pub(crate) evidence: &'a Evidence,
}

impl Facts<'_> {
    fn best(&self, good: impl Fn(&ProvenDomain) -> bool) -> Option<Time> {
        self.proofs.iter().filter(|proof| good(proof)).map(ProvenDomain::expires).max()
    }

    fn by(&self, by: Prooftype) -> Option<Time> {
        self.best(|proof| proof.by() == by)
    }

    fn when(is: bool) -> Option<Time> {
        is.then_some(Time::NEVER)
    }
}

impl Expression {
    /// Until when the facts fulfil the policy; none if they do not.
    pub(crate) fn holds(&self, facts: &Facts<'_>) -> Option<Time> {
        match self {
            Self::Atom(atom) => atom.holds(facts),
            Self::All(all) => {
                all.iter().try_fold(Time::NEVER, |until, one| one.holds(facts).map(|time| time.min(until)))
            }
            Self::Any(any) => any.iter().filter_map(|one| one.holds(facts)).max(),
        }
    }

    /// Every name in it, in order, with repetitions.
    fn atoms(&self, into: &mut Vec<Atom>) {
        match self {
            Self::Atom(atom) => into.push(*atom),
            Self::All(some) | Self::Any(some) => some.iter().for_each(|one| one.atoms(into)),
        }
    }

    /// Whether it can depend on dialback: if not, nobody needs to try it.
    #[must_use]
    pub fn wants_dialback(&self) -> bool {
        let mut atoms = Vec::new();
        self.atoms(&mut atoms);
        let dialback = [Atom::Dialback, Atom::Vouched, Atom::Verified, Atom::Encrypted];
        atoms.iter().any(|atom| dialback.contains(atom))
    }
}

impl Atom {
    fn holds(self, facts: &Facts<'_>) -> Option<Time> {
        let tls = Facts::when(facts.evidence.tls >= Tls::V12);
        let both = |one: Option<Time>, other: Option<Time>| Some(one?.min(other?));
        match self {
            Self::Pkix => facts.by(Prooftype::Pkix),
            Self::Delegation => facts.by(Prooftype::Delegation),
            Self::Dane => facts.by(Prooftype::Dane),
            Self::Posh => facts.by(Prooftype::Posh),
            Self::Pin => facts.by(Prooftype::Pin),
            Self::Dialback => facts.by(Prooftype::Dialback),
            Self::Vouched => {
                facts.best(|proof| proof.by() == Prooftype::Dialback && proof.strength() >= Strength::Vouched)
            }
            Self::Tls => tls,
            Self::Tls13 => Facts::when(facts.evidence.tls >= Tls::V13),
            Self::Certificate => {
                Facts::when(facts.evidence.tls >= Tls::V12 && !facts.evidence.chain.is_empty())
            }
            Self::Permissive => Some(Time::NEVER),
            Self::Verified => facts.best(|proof| proof.strength() >= Strength::Weak),
            Self::Encrypted => both(tls, facts.best(|proof| proof.strength() >= Strength::Encrypted)),
            Self::Authenticated => both(tls, facts.best(ProvenDomain::is_by_certificate)),
            Self::Nobody => None,
        }
    }
}

/// The level of federation that was reached (XEP-0238 §1), from worst to best.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Nothing is proven.
    Permissive,
    /// Dialback without TLS.
    Verified,
    /// Dialback over TLS: better than nothing, but whoever can forge DNS answers can stand between (RFC 7590 §3.4).
    Encrypted,
    /// A proof by certificate. XEP-0238 says "trusted".
    Authenticated,
}

impl Level {
    /// What the facts amount to.
    pub(crate) fn reached(facts: &Facts<'_>) -> Self {
        let levels = [
            (Atom::Authenticated, Self::Authenticated),
            (Atom::Encrypted, Self::Encrypted),
            (Atom::Verified, Self::Verified),
        ];
        levels
            .iter()
            .find(|(atom, _)| atom.holds(facts).is_some())
            .map_or(Self::Permissive, |(_, level)| *level)
    }

    /// The name in logs and JSON; in policies it demands this level.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Permissive => "permissive",
            Self::Verified => "verified",
            Self::Encrypted => "encrypted",
            Self::Authenticated => "authenticated",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, some: &[Self], word: &str| {
            for (index, one) in some.iter().enumerate() {
                if index > 0 {
                    write!(f, " {word} ")?;
                }
                match one {
                    Self::Atom(_) => write!(f, "{one}")?,
                    Self::All(_) | Self::Any(_) => write!(f, "({one})")?,
                }
            }
            Ok(())
        };
        match self {
            Self::Atom(atom) => f.write_str(atom.name()),
            Self::All(all) => list(f, all, "and"),
            Self::Any(any) => list(f, any, "or"),
        }
    }
}

/// Why a text is no policy, and where, in octets from its beginning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPolicy {
    /// A word that means nothing here.
    #[error("\"{word}\" at {at} is no name of a policy{hint}")]
    Unknown {
        /// The word, cut to 40 characters.
        word: String,
        /// Where it begins.
        at: usize,
        /// What may have been meant, as words that can follow; maybe empty.
        hint: String,
    },
    /// A name or "(" is missing.
    #[error("a name or \"(\" is missing at {at}")]
    Missing {
        /// Where it should stand.
        at: usize,
    },
    /// Something follows that does not belong there.
    #[error("\"and\", \"or\" or the end was expected at {at}")]
    Trailing {
        /// Where it stands.
        at: usize,
    },
    /// "and" and "or" side by side.
    #[error("\"and\" and \"or\" are mixed at {at}: parentheses must say which comes first")]
    Mixed {
        /// Where the second one stands.
        at: usize,
    },
    /// A "(" without its ")".
    #[error("the parenthesis at {at} is not closed")]
    Unclosed {
        /// Where it opens.
        at: usize,
    },
    /// Too long or too deep.
    #[error("the policy is longer than {MAX_LENGTH} octets or deeper than {MAX_DEPTH} parentheses")]
    TooLarge,
}

impl FromStr for Expression {
    type Err = BadPolicy;

    fn from_str(text: &str) -> Result<Self, BadPolicy> {
        if text.len() > MAX_LENGTH {
            return Err(BadPolicy::TooLarge);
        }
        let mut reader = Reader { text, at: 0 };
        let expression = reader.expression(0)?;
        match reader.peek() {
            None => Ok(expression),
            Some(_) => Err(BadPolicy::Trailing { at: reader.at }),
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    /// The next token: a parenthesis, or letters up to a space or parenthesis.
    fn peek(&mut self) -> Option<&'a str> {
        let rest = self.text.get(self.at..)?;
        let trimmed = rest.trim_start();
        self.at += rest.len() - trimmed.len();
        let first = trimmed.chars().next()?;
        if matches!(first, '(' | ')') {
            return trimmed.get(..1);
        }
        trimmed.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')')).next()
    }

    fn take(&mut self, token: &str) -> bool {
        let is = self.peek() == Some(token);
        if is {
            self.at += token.len();
        }
        is
    }

    fn expression(&mut self, depth: usize) -> Result<Expression, BadPolicy> {
        if depth > MAX_DEPTH {
            return Err(BadPolicy::TooLarge);
        }
        let first = self.factor(depth)?;
        let Some(word @ ("and" | "or")) = self.peek() else { return Ok(first) };
        let mut all = vec![first];
        while self.take(word) {
            all.push(self.factor(depth)?);
        }
        if matches!(self.peek(), Some("and" | "or")) {
            return Err(BadPolicy::Mixed { at: self.at });
        }
        Ok(if word == "and" { Expression::All(all) } else { Expression::Any(all) })
    }

    fn factor(&mut self, depth: usize) -> Result<Expression, BadPolicy> {
        let Some(token) = self.peek() else { return Err(BadPolicy::Missing { at: self.at }) };
        let at = self.at;
        if matches!(token, ")" | "and" | "or") {
            return Err(BadPolicy::Missing { at });
        }
        self.at += token.len();
        if token == "(" {
            let inner = self.expression(depth + 1)?;
            return match self.peek() {
                Some(")") => {
                    self.at += 1;
                    Ok(inner)
                }
                None => Err(BadPolicy::Unclosed { at }),
                Some(_) => Err(BadPolicy::Trailing { at: self.at }),
            };
        }
        let known = Atom::ALL.iter().find(|atom| atom.name() == token);
        known.map(|atom| Expression::Atom(*atom)).ok_or_else(|| BadPolicy::Unknown {
            word: crate::x509::printable(token).chars().take(40).collect(),
            at,
            hint: hint(token),
        })
    }
}

/// The known name that is nearest to a mistyped one.
fn hint(word: &str) -> String {
    let word = word.to_ascii_lowercase();
    if word == "not" {
        return "; policies have no \"not\"".to_owned();
    }
    let same = |atom: &&Atom| atom.name().get(..3) == word.get(..3);
    let near = match word.as_str() {
        "trusted" => Some(Atom::Authenticated),
        "tls1.3" | "tlsv1.3" => Some(Atom::Tls13),
        "any" | "all" => Some(Atom::Permissive),
        "none" => Some(Atom::Nobody),
        _ => Atom::ALL.iter().find(same).copied(),
    };
    near.map(|atom| format!("; did you mean \"{}\"?", atom.name())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn policies_are_read_and_written() {
        for (text, canonical) in [
            ("authenticated", "authenticated"),
            ("  pkix   or dane\tor\nposh ", "pkix or dane or posh"),
            ("dialback and tls13", "dialback and tls13"),
            ("authenticated or (dialback and tls13)", "authenticated or (dialback and tls13)"),
            ("authenticated or(dialback and tls13)", "authenticated or (dialback and tls13)"),
            ("(((pkix)))", "pkix"),
            ("pkix and (dane or pin) and tls", "pkix and (dane or pin) and tls"),
        ] {
            let read: Expression = text.parse().unwrap();
            assert_eq!(read.to_string(), canonical);
            assert_eq!(canonical.parse::<Expression>(), Ok(read));
        }
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        for (text, said) in [
            ("", "a name or \"(\" is missing at 0"),
            ("  ", "a name or \"(\" is missing at 2"),
            ("pkix or", "a name or \"(\" is missing at 7"),
            ("and pkix", "a name or \"(\" is missing at 0"),
            ("()", "a name or \"(\" is missing at 1"),
            ("pkix dane", "\"and\", \"or\" or the end was expected at 5"),
            ("pkix)", "\"and\", \"or\" or the end was expected at 4"),
            ("(pkix", "the parenthesis at 0 is not closed"),
            ("(pkix dane)", "\"and\", \"or\" or the end was expected at 6"),
            (
                "pkix or dane and tls",
                "\"and\" and \"or\" are mixed at 13: parentheses must say which comes first",
            ),
            ("pkx", "\"pkx\" at 0 is no name of a policy"),
            ("PKIX", "\"PKIX\" at 0 is no name of a policy; did you mean \"pkix\"?"),
            ("tls and trusted", "\"trusted\" at 8 is no name of a policy; did you mean \"authenticated\"?"),
            ("not pkix", "\"not\" at 0 is no name of a policy; policies have no \"not\""),
            ("dän", "\"d\u{fffd}n\" at 0 is no name of a policy"),
        ] {
            assert_eq!(text.parse::<Expression>().unwrap_err().to_string(), said, "{text}");
        }
        let deep = format!("{}pkix{}", "(".repeat(17), ")".repeat(17));
        assert_eq!(deep.parse::<Expression>(), Err(BadPolicy::TooLarge));
        assert!(deep.get(1..deep.len() - 1).unwrap().parse::<Expression>().is_ok());
        assert_eq!(format!("pkix{}", " ".repeat(1021)).parse::<Expression>(), Err(BadPolicy::TooLarge));
    }

    fn any_expression() -> impl Strategy<Value = Expression> {
        let atom = (0..Atom::ALL.len()).prop_map(|index| Expression::Atom(Atom::ALL[index]));
        atom.prop_recursive(4, 24, 4, |inner| {
            let some = proptest::collection::vec(inner, 2..4);
            prop_oneof![some.clone().prop_map(Expression::All), some.prop_map(Expression::Any)]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(expression in any_expression()) {
            let text = expression.to_string();
            prop_assume!(text.len() <= MAX_LENGTH);
            prop_assert_eq!(text.parse::<Expression>(), Ok(expression));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,60}") {
            let _ = text.parse::<Expression>().map_err(|error| error.to_string());
        }
    }
}
