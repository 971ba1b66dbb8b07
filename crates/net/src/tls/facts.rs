//! What a finished handshake says, for either role.

use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};
use bytes::Bytes;
use nuncio_sansio::{ClientCertificate, TlsFacts, TlsVersion};
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use rustls::{CommonState, HandshakeKind, ProtocolVersion};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::der_parser::oid;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::signature_algorithm::SignatureAlgorithm;

use super::exporter::Exporter;
use super::{provider, shared};

/// What belongs to a role.
pub(crate) enum Side<'a> {
    /// The receiving one.
    Server {
        /// The server name of the ClientHello.
        name: Option<String>,
        /// The binding of the certificate that was shown.
        end_point: Option<&'a Bytes>,
        /// Who vouches for clients.
        client_roots: &'a [TrustAnchor<'a>],
    },
    /// The initiating one.
    Client,
}

/// Collects the facts of a finished handshake.
pub(crate) fn facts(conn: &CommonState, exporter: Option<&Exporter>, side: Side<'_>) -> TlsFacts {
    let version = match conn.protocol_version() {
        Some(ProtocolVersion::TLSv1_3) => TlsVersion::Tls13,
        _ => TlsVersion::Tls12,
    };
    // The exporter is unique on TLS 1.2 only together with the extended master secret (RFC 9266 §4), which the library does
    // not tell; and it tells the secret of TLS 1.3 only.
    let exporter = exporter.filter(|_| version == TlsVersion::Tls13);
    let exporter = exporter.and_then(|exporter| exporter.export(b"EXPORTER-Channel-Binding"));
    let peer = conn.peer_certificates().unwrap_or_default();
    let peer_certificates = shared(peer);
    let (server_name, server_end_point, client_certificate) = match side {
        Side::Server { name, end_point, client_roots } => {
            let judged = peer.split_first().map(|(leaf, above)| ClientCertificate {
                chain: peer_certificates.clone(),
                xmpp_addresses: xmpp_addresses(leaf),
                trusted: trusted(leaf, above, client_roots),
            });
            (name, end_point.cloned(), judged)
        }
        Side::Client => (None, peer.first().and_then(|leaf| end_point_binding(leaf)), None),
    };
    let suite = conn.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite()));
    TlsFacts {
        version,
        suite: suite.unwrap_or_default().replacen("TLS13_", "TLS_", 1),
        resumed: conn.handshake_kind() == Some(HandshakeKind::Resumed),
        server_name,
        exporter,
        server_end_point,
        client_certificate,
        peer_certificates,
    }
}

/// Whether a chain leads to one of these authorities, now. Either extended key usage does: public authorities no longer issue
/// certificates for clients, so people use what they have for servers.
fn trusted(leaf: &CertificateDer<'_>, above: &[CertificateDer<'_>], roots: &[TrustAnchor<'_>]) -> bool {
    let Ok(leaf) = EndEntityCert::try_from(leaf) else {
        return false;
    };
    let algorithms = provider().signature_verification_algorithms.all;
    [KeyUsage::client_auth(), KeyUsage::server_auth()].into_iter().any(|usage| {
        leaf.verify_for_usage(algorithms, roots, above, UnixTime::now(), usage, None, None).is_ok()
    })
}

/// The `id-on-xmppAddr` names of a certificate (RFC 6120 §13.7.1.4), as written in it.
#[must_use]
pub fn xmpp_addresses(certificate: &[u8]) -> Vec<String> {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let Ok(Some(names)) = parsed.subject_alternative_name() else {
        return Vec::new();
    };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::OtherName(kind, value) if *kind == oid!(1.3.6.1.5.5.7.8.5) => explicit_utf8(value),
        _ => None,
    };
    names.value.general_names.iter().filter_map(name).collect()
}

/// The string of `[0] EXPLICIT UTF8String`; the tag may already be gone.
fn explicit_utf8(value: &[u8]) -> Option<String> {
    const EXPLICIT: u8 = 0xa0;
    const UTF8_STRING: u8 = 0x0c;
    let inner = match value.first()? {
        &EXPLICIT => element(value, EXPLICIT)?,
        _ => value,
    };
    String::from_utf8(element(inner, UTF8_STRING)?.to_vec()).ok()
}

/// The contents of the one DER element of this tag that `der` consists of.
fn element(der: &[u8], tag: u8) -> Option<&[u8]> {
    let (&first, rest) = der.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, contents) = match length {
        0..=0x7f => (usize::from(length), rest),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    (first == tag && contents.len() == length).then_some(contents)
}

/// The `tls-server-end-point` binding of a server's certificate (RFC 5929 §4.1): its hash by the hash function of its
/// signature, SHA-256 in place of MD5 and SHA-1. None where the signature names no single hash function (Ed25519): there it is undefined.
#[must_use]
pub fn end_point_binding(certificate: &[u8]) -> Option<Bytes> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let signature = &parsed.signature_algorithm;
    let by_hash = |text: &str| match text {
        "1.3.14.3.2.26" | "1.2.840.113549.2.5" | "2.16.840.1.101.3.4.2.1" => Some(&SHA256),
        "2.16.840.1.101.3.4.2.2" => Some(&SHA384),
        "2.16.840.1.101.3.4.2.3" => Some(&SHA512),
        _ => None,
    };
    let algorithm = match signature.algorithm.to_id_string().as_str() {
        // MD5, SHA-1 and SHA-256 with RSA; SHA-1 and SHA-256 with ECDSA
        "1.2.840.113549.1.1.4" | "1.2.840.113549.1.1.5" | "1.2.840.113549.1.1.11" => &SHA256,
        "1.2.840.10045.4.1" | "1.2.840.10045.4.3.2" => &SHA256,
        "1.2.840.113549.1.1.12" | "1.2.840.10045.4.3.3" => &SHA384,
        "1.2.840.113549.1.1.13" | "1.2.840.10045.4.3.4" => &SHA512,
        // RSASSA-PSS names its hash function in its parameters.
        "1.2.840.113549.1.1.10" => match SignatureAlgorithm::try_from(signature).ok()? {
            SignatureAlgorithm::RSASSA_PSS(parameters) => {
                by_hash(&parameters.hash_algorithm_oid().to_id_string())?
            }
            _ => return None,
        },
        _ => return None,
    };
    Some(Bytes::copy_from_slice(digest::digest(algorithm, certificate).as_ref()))
}
