//! Why a text is no JID.

use std::fmt;

/// A part of a JID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What stands before the `@` (RFC 7622 §3.3).
    Local,
    /// The host (RFC 7622 §3.2).
    Domain,
    /// What stands after the `/` (RFC 7622 §3.4).
    Resource,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Local => "localpart",
            Self::Domain => "domainpart",
            Self::Resource => "resourcepart",
        })
    }
}

/// What is wrong with a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It has no octets.
    Empty,
    /// It has more than 1023 octets, or a domain more than the 253 that DNS allows.
    TooLong,
    /// A resourcepart where a bare JID is wanted.
    Unexpected,
    /// This code point is not allowed there.
    Disallowed(char),
    /// This code point is not allowed between its neighbours (RFC 5892 appendix A).
    Context(char),
    /// Left-to-right and right-to-left are mixed against the Bidi Rule (RFC 5893 §2).
    Direction,
    /// A resourcepart begins with a space (RFC 7622 §3.5, example 18).
    LeadingSpace,
    /// The mapping does not come to rest (RFC 8264 §7).
    Unstable,
    /// Two dots in a row, or a dot at the beginning.
    EmptyLabel,
    /// A label has more than 63 octets in DNS.
    LabelTooLong,
    /// A hyphen at either end of a label, or at its third and fourth place without being an A-label.
    Hyphen,
    /// A label that IDNA does not allow, or an A-label that encodes none.
    NotIdna,
    /// What stands in brackets is no IPv6 address.
    NotAnAddress,
}

/// Why a text is no JID: which part, and what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JidError {
    part: Part,
    reason: Reason,
}

impl JidError {
    pub(super) const fn new(part: Part, reason: Reason) -> Self {
        Self { part, reason }
    }

    /// The part that is wrong.
    pub const fn part(&self) -> Part {
        self.part
    }

    /// What is wrong with it.
    pub const fn reason(&self) -> Reason {
        self.reason
    }
}

impl std::error::Error for JidError {}

impl fmt::Display for JidError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = self.part;
        match self.reason {
            Reason::Empty => match part {
                Part::Local => {
                    f.write_str("localpart is empty: put a name before the `@` or leave the `@` out")
                }
                Part::Domain => f.write_str("domainpart is empty: every address needs a host name"),
                Part::Resource => {
                    f.write_str("resourcepart is empty: put a name after the `/` or leave the `/` out")
                }
            },
            Reason::TooLong if part == Part::Domain => {
                f.write_str("domainpart is too long: DNS allows 253 octets in all")
            }
            Reason::TooLong => write!(f, "{part} is too long: 1023 octets are allowed"),
            Reason::Unexpected => {
                f.write_str("resourcepart is not wanted here: leave out the `/` and what follows it")
            }
            Reason::Disallowed(found) => {
                write!(f, "{part} contains U+{:04X}: ", u32::from(found))?;
                f.write_str(match part {
                    Part::Local => {
                        "only letters, digits, their marks and ASCII signs except \" & ' / : < > @ are allowed"
                    }
                    Part::Domain => "only letters, digits and hyphens between dots are allowed",
                    Part::Resource => {
                        "only letters, digits, signs and spaces are allowed, no controls, invisible or \
                         unassigned code points"
                    }
                })
            }
            Reason::Context(found) => write!(
                f,
                "{part} contains U+{:04X} in the wrong place: it is allowed only between the letters that need \
                 it (RFC 5892 appendix A)",
                u32::from(found)
            ),
            Reason::Direction => write!(
                f,
                "{part} mixes directions of writing: with a right-to-left letter all letters must be \
                 right-to-left, and it must begin with one and end with one or a digit (RFC 5893)"
            ),
            Reason::LeadingSpace => {
                write!(f, "{part} begins with a space: another character must stand first")
            }
            Reason::Unstable => {
                write!(f, "{part} has no normal form: it must be stable in lower case and NFC")
            }
            Reason::EmptyLabel => {
                write!(f, "{part} has an empty label: exactly one dot must stand between two labels")
            }
            Reason::LabelTooLong => write!(f, "{part} has a label that is too long: DNS allows 63 octets"),
            Reason::Hyphen => write!(
                f,
                "{part} has a hyphen out of place: none may stand at the ends of a label, nor two at its third \
                 and fourth place"
            ),
            Reason::NotIdna => {
                write!(f, "{part} is no internationalized domain name: its labels must be valid in IDNA2008")
            }
            Reason::NotAnAddress => {
                write!(f, "{part} has brackets without an IPv6 address in them: write it like [2001:db8::1]")
            }
        }
    }
}
