//! The initiating role: whom to believe, and what to show.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::{ClientConfig, ResolvesClientCert, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, SignatureScheme, SupportedProtocolVersion};

use super::bare::Bare;
use super::exporter::Hear;
use super::{ALPN_CLIENT, Kind, PairFiles, files, provider, verify};

/// Which authorities a client believes.
#[derive(Clone, Debug)]
pub enum Roots {
    /// Those that the operating system believes; the variables `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
    System,
    /// All certificates of these PEM files.
    Files(Vec<PathBuf>),
    /// These certificates, DER.
    Der(Vec<Vec<u8>>),
}

impl Roots {
    /// The certificates. Those of the operating system that cannot be read are left out, since nobody here can mend them.
    pub fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, super::TlsError> {
        let paths = match self {
            Self::Der(all) => return Ok(all.iter().cloned().map(CertificateDer::from).collect()),
            Self::System => {
                let found = rustls_native_certs::load_native_certs();
                for error in found.errors {
                    tracing::warn!(%error, "an authority of the operating system cannot be read");
                }
                return Ok(found.certs);
            }
            Self::Files(paths) => paths,
        };
        let (mut found, mut problems) = (Vec::new(), Vec::new());
        for path in paths {
            match files::certificates(path) {
                Ok(certificates) => found.extend(certificates),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(found) } else { Err(super::TlsError { problems }) }
    }
}

/// Why there is no connector, or no connection through it.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A file cannot be used.
    #[error(transparent)]
    Files(#[from] super::TlsError),
    /// No authority is believed, hence no server could be.
    #[error("there is no authority to believe")]
    NoRoots,
    /// The server's name is neither a DNS name nor an address.
    #[error("{0:?} is neither a DNS name nor an address")]
    Name(String),
    /// The TLS library refused.
    #[error("cannot use TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Makes TLS connections to servers. Checks the chain and the name of each (RFC 6125, RFC 9525) and remembers sessions to resume; but for one of
/// [`TlsHosts::connector`](super::TlsHosts::connector), which does neither, and [`Connector::unjudging_client`], which only remembers.
#[derive(Debug)]
pub struct Connector {
    starttls: ArcSwap<ClientConfig>,
    direct: ArcSwap<ClientConfig>,
    resumes: bool,
}

/// The certificates of one of our domains: the first is shown that the server can verify.
#[derive(Debug)]
pub(super) struct Own(pub(super) Vec<Arc<CertifiedKey>>);

impl ResolvesClientCert for Own {
    // Whom the server says it trusts does not matter: DANE and POSH need no authority.
    fn resolve(&self, _hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.iter().find(|one| one.key.choose_scheme(schemes).is_some()).cloned()
    }

    fn has_certs(&self) -> bool {
        !self.0.is_empty()
    }
}

impl Connector {
    /// A connector that believes `roots` and shows the certificate of `own`, if given, to servers that ask for one.
    ///
    /// # Errors
    /// Files that cannot be read or do not fit together, or no root at all.
    pub fn new(roots: &Roots, own: Option<&PairFiles>) -> Result<Self, ConnectError> {
        Self::with(roots, own, &provider())
    }

    pub(crate) fn with(
        roots: &Roots,
        own: Option<&PairFiles>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, ConnectError> {
        let (certificates, mut problems) = match roots.certificates() {
            Ok(certificates) => (certificates, Vec::new()),
            Err(error) => (Vec::new(), error.problems),
        };
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(certificates);
        let mut shown = None;
        if let Some(pair) = own {
            match (files::certificates(&pair.chain), files::private_key(&pair.key)) {
                (Ok(chain), Ok(key)) => shown = Some((chain, key)),
                (chain, key) => problems.extend(chain.err().into_iter().chain(key.err())),
            }
        }
        if !problems.is_empty() {
            return Err(super::TlsError { problems }.into());
        }
        if store.is_empty() {
            return Err(ConnectError::NoRoots);
        }
        let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store);
        let mut starttls = match shown {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
            None => builder.with_no_client_auth(),
        };
        starttls.key_log = Arc::new(Hear);
        let mut direct = starttls.clone();
        direct.alpn_protocols = vec![ALPN_CLIENT.to_vec()];
        direct.resumption = Resumption::default();
        Ok(Self::of(starttls, direct, true))
    }

    /// A client's connector that judges nobody: whoever uses it has to judge [`nuncio_sansio::TlsFacts::peer_certificates`] before anything secret is sent, also on
    /// a resumed connection, where they are those of the first. That the server holds their key is checked. Shows the certificate of `own`, if given, to servers that
    /// ask for one.
    ///
    /// # Errors
    /// Files that cannot be read or do not fit together.
    pub fn unjudging_client(own: Option<&PairFiles>) -> Result<Self, ConnectError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verify::Unjudged::new(&provider())));
        let mut starttls = match own {
            Some(pair) => match (files::certificates(&pair.chain), files::private_key(&pair.key)) {
                (Ok(chain), Ok(key)) => builder.with_client_auth_cert(chain, key)?,
                (chain, key) => {
                    let problems = chain.err().into_iter().chain(key.err()).collect();
                    return Err(super::TlsError { problems }.into());
                }
            },
            None => builder.with_no_client_auth(),
        };
        starttls.key_log = Arc::new(Hear);
        let mut direct = starttls.clone();
        direct.alpn_protocols = vec![ALPN_CLIENT.to_vec()];
        direct.resumption = Resumption::default();
        Ok(Self::of(starttls, direct, true))
    }

    /// A connector that shows one of these certificates and judges nobody.
    pub(crate) fn unjudging(
        own: Vec<Arc<CertifiedKey>>,
        versions: &[&'static SupportedProtocolVersion],
        alpn: Option<&[u8]>,
    ) -> Result<Self, rustls::Error> {
        let mut starttls = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verify::Unjudged::new(&provider())))
            .with_client_cert_resolver(Arc::new(Own(own)));
        starttls.key_log = Arc::new(Hear);
        starttls.resumption = Resumption::disabled();
        let mut direct = starttls.clone();
        direct.alpn_protocols = alpn.into_iter().map(<[u8]>::to_vec).collect();
        Ok(Self::of(starttls, direct, false))
    }

    pub(super) fn of(starttls: ClientConfig, direct: ClientConfig, resumes: bool) -> Self {
        Self { starttls: ArcSwap::from_pointee(starttls), direct: ArcSwap::from_pointee(direct), resumes }
    }

    /// Forgets all sessions: after a stream error `reset`, none may be resumed (S0-28; RFC 6120 §4.9.3.16).
    pub fn forget_sessions(&self) {
        if !self.resumes {
            return;
        }
        for config in [&self.starttls, &self.direct] {
            let mut fresh = ClientConfig::clone(&config.load());
            fresh.resumption = Resumption::default();
            config.store(Arc::new(fresh));
        }
    }

    /// The beginning of a connection to the server of this name: a domain as A-labels, or an address.
    pub(crate) fn connection(&self, kind: Kind, server_name: &str) -> Result<Bare, ConnectError> {
        let name = ServerName::try_from(server_name.to_owned())
            .map_err(|_| ConnectError::Name(server_name.to_owned()))?;
        let config = match kind {
            Kind::StartTls => &self.starttls,
            Kind::Direct => &self.direct,
        };
        Ok(Bare::client(config.load_full(), name)?)
    }
}
