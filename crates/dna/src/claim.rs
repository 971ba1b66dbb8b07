//! What a stream says of itself, and what therefore has to be proven.

use std::fmt;

use crate::Domain;

/// "The other end of this stream speaks for the domain `remote`, to our domain `local`."
///
/// A claim is made for each (local, remote) pair of domains, also when several pairs share a connection (RFC 7712 §4.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    /// Our domain: who is addressed, or who asks.
    pub local: Domain,
    /// The domain that the other end claims to be. From the stream header or from `<db:result/>`, never from TLS SNI
    /// (RFC 7712 §5.1).
    pub remote: Domain,
    /// Who opened the connection.
    pub direction: Direction,
    /// Which service the stream is of.
    pub service: Service,
}

/// Who opened the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The other end did; it may have presented a client certificate.
    In,
    /// We did, to a host to which DNS (or the operator) led us.
    Out,
}

impl Direction {
    /// `in` or `out`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A service that DNS SRV delegates. It decides which names in a certificate count and where POSH documents lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// XMPP between servers (RFC 6120 §3.2, RFC 7712 §4).
    XmppServer,
    /// XMPP of clients: the server is proven to its client (RFC 7712 §3).
    XmppClient,
    /// MSRP relays over TLS (RFC 4976 §8).
    Msrps,
    /// SIP over TLS (RFC 3263 §4.1).
    Sips,
}

impl Service {
    /// The label of SRV-IDs in certificates, with STARTTLS as by direct TLS (RFC 4985 §2, RFC 6120 §13.7.1.2.1), with its underscore.
    #[must_use]
    pub const fn srv_label(self) -> &'static str {
        match self {
            Self::XmppServer => "_xmpp-server",
            Self::XmppClient => "_xmpp-client",
            Self::Msrps => "_msrps",
            Self::Sips => "_sips",
        }
    }

    /// The names that hold a domain's SRV records for this service: with STARTTLS, and by direct TLS where that has a name of its own
    /// (RFC 2782, XEP-0368).
    #[must_use]
    pub fn srv_owners(self, domain: &Domain) -> Vec<String> {
        let direct = match self {
            Self::XmppServer => Some("_xmpps-server"),
            Self::XmppClient => Some("_xmpps-client"),
            Self::Msrps | Self::Sips => None,
        };
        let labels = std::iter::once(self.srv_label()).chain(direct);
        labels.map(|label| format!("{label}._tcp.{domain}")).collect()
    }

    /// The service name in POSH's well-known paths (RFC 7711 §9.2); none where none is registered.
    #[must_use]
    pub const fn posh_name(self) -> Option<&'static str> {
        match self {
            Self::XmppServer => Some("xmpp-server"),
            Self::XmppClient => Some("xmpp-client"),
            Self::Msrps | Self::Sips => None,
        }
    }

    /// Whether an XmppAddr in a certificate names a domain of this service (RFC 6120 §13.7.1.4).
    #[must_use]
    pub const fn is_xmpp(self) -> bool {
        matches!(self, Self::XmppServer | Self::XmppClient)
    }
}
