//! What TLS found out. TLS only collects; judging is up to the protocol and the server.

use bytes::Bytes;

/// The facts of one finished TLS handshake.
#[derive(Clone, Debug)]
pub struct TlsFacts {
    /// The protocol version.
    pub version: TlsVersion,
    /// The cipher suite, by its IANA name, for the log.
    pub suite: String,
    /// Whether the session was resumed.
    pub resumed: bool,
    /// The server name of the ClientHello, lower-case A-labels, if there was one.
    pub server_name: Option<String>,
    /// `tls-exporter` channel binding (RFC 9266): 32 bytes. Only on TLS 1.3, where it is unique without further conditions.
    pub exporter: Option<[u8; 32]>,
    /// `tls-server-end-point` channel binding (RFC 5929 §4) of the server's certificate; none where it is undefined.
    pub server_end_point: Option<Bytes>,
    /// The peer's certificate, if it sent one; possession of its key is proven.
    pub client_certificate: Option<ClientCertificate>,
    /// What the peer presented, in either direction: its own certificate first (DER), then what it sent along, in its order. Possession of the first one's key
    /// is proven by the handshake, or by the one that a resumed session began with. Names, dates, purposes and trust are for whoever knows the claim
    /// (RFC 7712). Empty when it presented none.
    pub peer_certificates: Vec<Bytes>,
}

/// The TLS version of a connection. Older ones are not implemented (RFC 8996).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// A peer's certificate as far as a protocol needs it.
#[derive(Clone, Debug)]
pub struct ClientCertificate {
    /// The chain, leaf first, DER.
    pub chain: Vec<Bytes>,
    /// `id-on-xmppAddr` names of the leaf (RFC 6120 §13.7.1.4), as written in it.
    pub xmpp_addresses: Vec<String>,
    /// Whether the chain leads to an authority that the operator trusts for clients, and is in its time of validity.
    pub trusted: bool,
}
