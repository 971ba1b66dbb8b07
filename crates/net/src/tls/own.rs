//! A certificate of one's own in memory, for peers that know it by its fingerprint (RFC 8122): what listens with it and what connects with it.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::RootCertStore;
use rustls::client::{ClientConfig, Resumption};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use super::connect::{ConnectError, Connector, Own, Roots};
use super::{
    HostTls, Hosts, Identity, PairFiles, TlsError, TlsHosts, TlsSettings, configure, end_point_binding,
    exporter, files, provider, verify, versions,
};

/// A certificate with its key, in memory only.
#[derive(Clone, Debug)]
pub struct OwnCertificate {
    certified: Arc<CertifiedKey>,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// It could not be made, because of a name mostly.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// The TLS library cannot use it.
    #[error("cannot use the certificate: {0}")]
    Tls(#[from] rustls::Error),
    /// A file cannot be used.
    #[error(transparent)]
    Files(#[from] TlsError),
}

/// Whom a connection with [`Connector::showing`] believes.
#[derive(Clone, Copy, Debug)]
pub enum Believe<'a> {
    /// Servers whose certificate these authorities vouch for, and which is for their name (RFC 9525).
    Roots(&'a Roots),
    /// Whoever is there: the caller judges [`nuncio_sansio::TlsFacts::peer_certificates`] before anything is sent.
    Anybody,
}

impl OwnCertificate {
    /// A new one, signed by itself, with a new key (ECDSA P-256). `name`, a DNS name or an address, is what it says; it proves nothing.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn self_signed(name: &str) -> Result<Self, OwnError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let certified = CertifiedKey::from_der(vec![certificate.der().clone()], key, &provider())?;
        Ok(Self { certified: Arc::new(certified) })
    }

    /// That of these files.
    ///
    /// # Errors
    /// They cannot be read or do not fit together.
    pub fn read(pair: &PairFiles) -> Result<Self, OwnError> {
        let (chain, key) = match (files::certificates(&pair.chain), files::private_key(&pair.key)) {
            (Ok(chain), Ok(key)) => (chain, key),
            (chain, key) => {
                let problems = chain.err().into_iter().chain(key.err()).collect();
                return Err(TlsError { problems }.into());
            }
        };
        Ok(Self { certified: Arc::new(CertifiedKey::from_der(chain, key, &provider())?) })
    }

    /// The certificate, DER.
    #[must_use]
    pub fn der(&self) -> Bytes {
        self.certified.end_entity_cert().map(|der| Bytes::copy_from_slice(der)).unwrap_or_default()
    }
}

impl Connector {
    /// Connects and shows this certificate to servers that ask for one. No session is resumed.
    ///
    /// # Errors
    /// Authorities that cannot be read, or none.
    pub fn showing(own: &OwnCertificate, believe: Believe<'_>) -> Result<Self, ConnectError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(&TlsSettings::default()))?;
        let builder = match believe {
            Believe::Roots(roots) => {
                let mut store = RootCertStore::empty();
                store.add_parsable_certificates(roots.certificates()?);
                if store.is_empty() {
                    return Err(ConnectError::NoRoots);
                }
                builder.with_root_certificates(store)
            }
            Believe::Anybody => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(verify::Unjudged::new(&provider()))),
        };
        let shown = Arc::new(Own(vec![Arc::clone(&own.certified)]));
        let mut config = builder.with_client_cert_resolver(shown);
        config.key_log = Arc::new(exporter::Hear);
        config.resumption = Resumption::disabled();
        // One protocol, which has no ALPN name.
        Ok(Self::of(config.clone(), config, false))
    }
}

impl TlsHosts {
    /// Shows this certificate to everybody and asks everybody for one; who has none, or any, gets in, and is for the protocol to judge. Not to be
    /// reloaded: there are no files.
    ///
    /// # Errors
    /// The TLS library cannot use it.
    pub fn showing(own: &OwnCertificate) -> Result<Self, OwnError> {
        let settings = TlsSettings::default();
        let (starttls, _) = configure(&settings, true, &own.certified)?;
        let identity = Identity {
            files: PairFiles::default(),
            certified: Arc::clone(&own.certified),
            end_point: own.certified.end_entity_cert().ok().and_then(|der| end_point_binding(der)),
            not_after: i64::MAX,
            direct: Arc::clone(&starttls),
            starttls,
        };
        let host = Arc::new(HostTls {
            domain: String::new(),
            request: true,
            identities: vec![Arc::new(identity)],
            connector: None,
        });
        let hosts = Hosts {
            by_name: HashMap::new(),
            all: vec![Arc::clone(&host)],
            default: Some(host),
            unknown: settings.unknown,
            client_roots: Vec::new().into(),
            tls13: false,
            nameless: None,
        };
        Ok(Self { current: ArcSwap::from_pointee(hosts), settings: Mutex::new(settings) })
    }
}
