//! TLS: whose certificate is shown to whom, and what a handshake found out.
//!
//! A host has a configuration of its own for each kind of listener, with a ticket key of its own: a ticket of one host never
//! resumes on another (S0-02), and [`TlsHosts::reset_tickets`] makes every older session useless (S0-28). TLS 1.3, and TLS
//! 1.2 with ephemeral key exchange and AEAD only (S0-35); no early data; no renegotiation ([`crate::guard`]).

pub mod bare;
mod connect;
mod exporter;
mod facts;
mod files;
mod own;
mod verify;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, TrustAnchor};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, ServerConfig};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

pub use connect::{ConnectError, Connector, Roots};
pub(crate) use exporter::Exporter;
pub(crate) use facts::{Side, facts};
pub use facts::{end_point_binding, xmpp_addresses};
pub use files::{Problem, TlsError, Warning};
pub use own::{Believe, OwnCertificate, OwnError};

/// The ALPN name of an XMPP client connection over direct TLS (XEP-0368).
pub const ALPN_CLIENT: &[u8] = b"xmpp-client";

/// The ALPN name of an XMPP connection between servers over direct TLS (XEP-0368).
pub const ALPN_SERVER: &[u8] = b"xmpp-server";

/// The cryptography that every TLS configuration of the process uses.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider())))
}

/// Which certificates to show to whom.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    /// The hosts. One with several domains is listed once for each, or has aliases.
    pub hosts: Vec<HostFiles>,
    /// The domain of the host that is shown to a peer who names none.
    pub default: Option<String>,
    /// What a peer gets who names a host that is not here.
    pub unknown: UnknownName,
    /// PEM files of authorities that vouch for clients. Without any, no client certificate is trusted.
    pub client_roots: Vec<PathBuf>,
    /// Whether TLS 1.2 is refused too.
    pub only_tls13: bool,
    /// Who connects.
    pub peers: Peers,
}

/// Who connects to the hosts of one [`TlsHosts`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Peers {
    /// Clients: ALPN `xmpp-client`; every certificate of a host must be for its domain.
    #[default]
    Clients,
    /// Other servers, and we connect to them ([`TlsHosts::connector`]): ALPN `xmpp-server`; every peer is asked for a certificate, whatever
    /// [`HostFiles::request_client_certificate`] says, and none must have one. A host's certificate need not be for its domain, since DANE and POSH can name
    /// that of a hoster (RFC 7711 §4, RFC 7673 §6); then there is a warning.
    Servers,
    /// Clients and relays of a protocol without an ALPN name, MSRP: like servers, but [`TlsSettings::client_roots`] vouch for those who are clients.
    Relays,
}

impl Peers {
    /// What is spoken by direct TLS.
    const fn alpn(self) -> Option<&'static [u8]> {
        match self {
            Self::Clients => Some(ALPN_CLIENT),
            Self::Servers => Some(ALPN_SERVER),
            Self::Relays => None,
        }
    }

    /// Whether there may be somebody among them who proves a host's name.
    const fn hosts(self) -> bool {
        matches!(self, Self::Servers | Self::Relays)
    }
}

/// What a peer gets who names an unknown host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownName {
    /// The certificate of the default host; the protocol then says that it does not serve the domain.
    #[default]
    Default,
    /// A TLS alert.
    Refuse,
}

/// One host's domain, certificates and keys.
#[derive(Clone, Debug, Default)]
pub struct HostFiles {
    /// The domain, as A-labels. Every certificate must be for it, unless `other_names`.
    pub domain: String,
    /// Whether certificates for other names are taken, with a warning: for tenants, who are proven by DANE, POSH or signed delegation (RFC 7712 §6).
    /// Between servers they always are.
    pub other_names: bool,
    /// Other spellings and domains under which this host is found, such as the U-labels of the domain. Not checked against
    /// the certificate.
    pub aliases: Vec<String>,
    /// At least one pair. Of several (ECDSA and RSA, say), the first that the client can verify is shown.
    pub pairs: Vec<PairFiles>,
    /// Whether clients are asked for a certificate (SASL EXTERNAL). Some programs then bother their users.
    pub request_client_certificate: bool,
}

/// A certificate chain and its key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PairFiles {
    /// PEM: the certificate first, then the authorities above it.
    pub chain: PathBuf,
    /// PEM: the key, in PKCS#8, PKCS#1 or SEC1 form, not encrypted. May be the same file.
    pub key: PathBuf,
}

/// Where TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// After STARTTLS. No ALPN.
    StartTls,
    /// Before the first byte (XEP-0368). ALPN `xmpp-client` or `xmpp-server`, if the initiating side offers any.
    Direct,
}

/// A certificate of a host as it is used now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// The host's domain.
    pub domain: String,
    /// The file it is from.
    pub chain: PathBuf,
    /// When it expires, in seconds since 1970.
    pub not_after: i64,
    /// The host's own certificate, DER.
    pub der: CertificateDer<'static>,
}

/// A certificate with its key, ready to be shown.
#[derive(Debug)]
pub(crate) struct Identity {
    files: PairFiles,
    certified: Arc<CertifiedKey>,
    end_point: Option<Bytes>,
    not_after: i64,
    starttls: Arc<ServerConfig>,
    direct: Arc<ServerConfig>,
}

impl Identity {
    /// The `tls-server-end-point` binding of the certificate (RFC 5929 §4).
    pub(crate) fn end_point(&self) -> Option<&Bytes> {
        self.end_point.as_ref()
    }
}

#[derive(Debug)]
struct HostTls {
    domain: String,
    request: bool,
    identities: Vec<Arc<Identity>>,
    /// Shows the host's certificates where other servers are connected to.
    connector: Option<Arc<Connector>>,
}

#[derive(Debug)]
struct Hosts {
    by_name: HashMap<String, Arc<HostTls>>,
    all: Vec<Arc<HostTls>>,
    default: Option<Arc<HostTls>>,
    unknown: UnknownName,
    client_roots: Arc<[TrustAnchor<'static>]>,
    tls13: bool,
    /// Connects to other servers and shows nothing.
    nameless: Option<Arc<Connector>>,
}

/// What was chosen for one handshake.
pub(crate) struct Picked {
    pub(crate) config: Arc<ServerConfig>,
    pub(crate) identity: Arc<Identity>,
    pub(crate) client_roots: Arc<[TrustAnchor<'static>]>,
}

/// The hosts of a server, exchangeable while it runs.
#[derive(Debug)]
pub struct TlsHosts {
    current: ArcSwap<Hosts>,
    settings: Mutex<TlsSettings>,
}

/// Hosts that were read and are not in place yet: [`TlsHosts::prepare`].
#[must_use]
#[derive(Debug)]
pub struct Replacement<'a> {
    current: &'a ArcSwap<Hosts>,
    own: MutexGuard<'a, TlsSettings>,
    hosts: Hosts,
    settings: TlsSettings,
    warnings: Vec<Warning>,
}

impl Replacement<'_> {
    /// Puts them in place. Gives what the operator should know of them.
    pub fn commit(mut self) -> Vec<Warning> {
        self.current.store(Arc::new(self.hosts));
        *self.own = self.settings;
        self.warnings
    }
}

impl TlsHosts {
    /// Loads everything.
    ///
    /// # Errors
    /// Every problem of every file, each with the file and what is wrong with it.
    pub fn load(settings: TlsSettings) -> Result<(Self, Vec<Warning>), TlsError> {
        let (hosts, warnings) = build(&settings, None)?;
        Ok((Self { current: ArcSwap::from_pointee(hosts), settings: Mutex::new(settings) }, warnings))
    }

    /// Reads the same files again. Handshakes from now on show what is in them now; connections that stand are not touched.
    /// Sessions of a host whose certificate changed cannot be resumed: their channel binding would be to the old one.
    ///
    /// # Errors
    /// As for [`TlsHosts::load`]; then everything stays as it was.
    pub fn reload(&self) -> Result<Vec<Warning>, TlsError> {
        let own = self.settings.lock();
        let settings = own.clone();
        Ok(self.prepare_in(own, settings)?.commit())
    }

    /// Like [`TlsHosts::reload`], with other settings.
    ///
    /// # Errors
    /// As for [`TlsHosts::load`]; then everything stays as it was, settings included.
    pub fn replace(&self, settings: TlsSettings) -> Result<Vec<Warning>, TlsError> {
        Ok(self.prepare(settings)?.commit())
    }

    /// Reads what [`TlsHosts::replace`] puts in place, for whoever replaces several things or none. Until it is committed or dropped nobody
    /// else can exchange anything here.
    ///
    /// # Errors
    /// As for [`TlsHosts::load`].
    pub fn prepare(&self, settings: TlsSettings) -> Result<Replacement<'_>, TlsError> {
        self.prepare_in(self.settings.lock(), settings)
    }

    // Whoever holds the lock of the settings keeps others from exchanging anything, ticket keys included.
    fn prepare_in<'a>(
        &'a self,
        own: MutexGuard<'a, TlsSettings>,
        settings: TlsSettings,
    ) -> Result<Replacement<'a>, TlsError> {
        let (hosts, warnings) = build(&settings, Some(&self.current.load()))?;
        Ok(Replacement { current: &self.current, own, hosts, settings, warnings })
    }

    /// Forgets all ticket keys: no session that began before can be resumed (S0-28; RFC 6120 §4.9.3.16).
    ///
    /// # Errors
    /// The TLS library has no randomness; then the old keys stay.
    pub fn reset_tickets(&self) -> Result<(), TlsError> {
        self.reset(None)
    }

    /// Like [`TlsHosts::reset_tickets`], for the host of one domain.
    ///
    /// # Errors
    /// As for [`TlsHosts::reset_tickets`].
    pub fn reset_tickets_of(&self, domain: &str) -> Result<(), TlsError> {
        self.reset(Some(&normal(domain)))
    }

    fn reset(&self, only: Option<&str>) -> Result<(), TlsError> {
        let _exchanging = self.settings.lock();
        let old = self.current.load();
        let mut all = Vec::with_capacity(old.all.len());
        for host in &old.all {
            if only.is_some_and(|only| only != host.domain) {
                all.push(Arc::clone(host));
                continue;
            }
            let identities = host.identities.iter().map(|identity| {
                Ok(Arc::new(Identity {
                    files: identity.files.clone(),
                    certified: Arc::clone(&identity.certified),
                    end_point: identity.end_point.clone(),
                    not_after: identity.not_after,
                    starttls: with_new_ticketer(&identity.starttls)?,
                    direct: with_new_ticketer(&identity.direct)?,
                }))
            });
            all.push(Arc::new(HostTls {
                domain: host.domain.clone(),
                request: host.request,
                identities: identities.collect::<Result<_, TlsError>>()?,
                connector: host.connector.clone(),
            }));
        }
        let renewed = |host: &Arc<HostTls>| {
            let at = old.all.iter().position(|other| Arc::ptr_eq(other, host));
            at.and_then(|at| all.get(at)).map_or_else(|| Arc::clone(host), Arc::clone)
        };
        let hosts = Hosts {
            by_name: old.by_name.iter().map(|(name, host)| (name.clone(), renewed(host))).collect(),
            default: old.default.as_ref().map(renewed),
            unknown: old.unknown,
            client_roots: Arc::clone(&old.client_roots),
            tls13: old.tls13,
            nameless: old.nameless.clone(),
            all: all.clone(),
        };
        self.current.store(Arc::new(hosts));
        Ok(())
    }

    /// Every certificate in use, for the operator.
    #[must_use]
    pub fn certificates(&self) -> Vec<CertificateInfo> {
        let hosts = self.current.load();
        let of = |host: &Arc<HostTls>| {
            let info = |identity: &Arc<Identity>| CertificateInfo {
                domain: host.domain.clone(),
                chain: identity.files.chain.clone(),
                not_after: identity.not_after,
                der: identity
                    .certified
                    .end_entity_cert()
                    .map_or_else(|_| Vec::new().into(), |der| der.clone().into_owned()),
            };
            host.identities.iter().map(info).collect::<Vec<_>>()
        };
        hosts.all.iter().flat_map(of).collect()
    }

    /// Whether there is a certificate for this domain, not counting the default host.
    #[must_use]
    pub fn has(&self, domain: &str) -> bool {
        self.current.load().by_name.contains_key(&normal(domain))
    }

    /// What connects to other servers in the name of one of our domains: it shows that domain's certificate to whoever asks for one, or nothing if there is no
    /// host of that domain. It judges nobody: what the peer presents is in the facts of the handshake. No session is ever resumed, so that each connection
    /// proves the possession of both keys (S0-28). None where these hosts are for [`Peers::Clients`].
    #[must_use]
    pub fn connector(&self, domain: &str) -> Option<Arc<Connector>> {
        let hosts = self.current.load();
        let host = hosts.by_name.get(&normal(domain));
        host.and_then(|host| host.connector.clone()).or_else(|| hosts.nameless.clone())
    }

    /// Chooses by what the stream was addressed to, then by the server name of the ClientHello, then the default host.
    pub(crate) fn pick(&self, kind: Kind, domain: Option<&str>, hello: &ClientHello<'_>) -> Option<Picked> {
        let hosts = self.current.load();
        let names = [domain, hello.server_name()];
        let known = names.into_iter().flatten().find_map(|name| hosts.by_name.get(&normal(name)));
        let named = names.iter().any(Option::is_some);
        let host = match known {
            Some(host) => host,
            None if named && hosts.unknown == UnknownName::Refuse => return None,
            None => hosts.default.as_ref()?,
        };
        let verifiable = |identity: &&Arc<Identity>| {
            identity.certified.key.choose_scheme(hello.signature_schemes()).is_some()
        };
        let identity = host.identities.iter().find(verifiable).or_else(|| host.identities.first())?;
        let config = match kind {
            Kind::StartTls => &identity.starttls,
            Kind::Direct => &identity.direct,
        };
        Some(Picked {
            config: Arc::clone(config),
            identity: Arc::clone(identity),
            client_roots: Arc::clone(&hosts.client_roots),
        })
    }
}

/// A configuration that has no certificate: whoever gets it is told so by an alert.
pub(crate) fn refusing() -> Result<Arc<ServerConfig>, rustls::Error> {
    #[derive(Debug)]
    struct Nobody;
    impl ResolvesServerCert for Nobody {
        fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
            None
        }
    }
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Nobody));
    Ok(Arc::new(config))
}

/// The form in which names are looked up.
fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_lowercase()
}

fn build(settings: &TlsSettings, old: Option<&Hosts>) -> Result<(Hosts, Vec<Warning>), TlsError> {
    let mut problems = Vec::new();
    let mut warnings = Vec::new();
    let mut by_name = HashMap::new();
    let mut all = Vec::new();
    let servers = settings.peers.hosts();
    let client_roots: Arc<[_]> = files::anchors(&settings.client_roots, &mut problems).into();
    for host in &settings.hosts {
        let domain = normal(&host.domain);
        let before = old.and_then(|old| old.all.iter().find(|before| before.domain == domain));
        let request = servers || host.request_client_certificate;
        let other_names = servers || host.other_names;
        let mut identities = Vec::new();
        for pair in &host.pairs {
            let loaded = files::load_pair(pair, &domain, other_names, &mut problems, &mut warnings);
            let Some(loaded) = loaded else {
                continue;
            };
            let same = before
                .filter(|_| old.is_some_and(|old| old.tls13 == settings.only_tls13))
                .filter(|before| before.request == request && before.connector.is_some() == servers)
                .and_then(|before| {
                    before.identities.iter().find(|known| known.certified.cert == loaded.certified.cert)
                })
                // The key is the certificate's, and its session tickets may live on.
                .map(|known| (Arc::clone(&known.starttls), Arc::clone(&known.direct)));
            let configs = same.map_or_else(|| configure(settings, request, &loaded.certified), Ok);
            match configs {
                Ok((starttls, direct)) => identities.push(Arc::new(Identity {
                    files: pair.clone(),
                    certified: loaded.certified,
                    end_point: loaded.end_point,
                    not_after: loaded.not_after,
                    starttls,
                    direct,
                })),
                Err(error) => problems.push(Problem::unusable(&pair.chain, &error)),
            }
        }
        if host.pairs.is_empty() {
            problems.push(Problem::no_pair(&domain));
        }
        let keys =
            identities.iter().map(|identity: &Arc<Identity>| Arc::clone(&identity.certified)).collect();
        let connector = connector(servers, settings, keys, &mut problems);
        let tls = Arc::new(HostTls { domain: domain.clone(), request, identities, connector });
        for name in std::iter::once(&host.domain).chain(&host.aliases) {
            if by_name.insert(normal(name), Arc::clone(&tls)).is_some() {
                problems.push(Problem::twice(name));
            }
        }
        all.push(tls);
    }
    let default = settings.default.as_ref().and_then(|name| {
        let found = by_name.get(&normal(name)).cloned();
        if found.is_none() {
            problems.push(Problem::no_default(name));
        }
        found
    });
    let nameless = connector(servers, settings, Vec::new(), &mut problems);
    if !problems.is_empty() {
        return Err(TlsError { problems });
    }
    let (unknown, tls13) = (settings.unknown, settings.only_tls13);
    Ok((Hosts { by_name, all, default, unknown, client_roots, tls13, nameless }, warnings))
}

/// What connects to other servers and shows one of these certificates.
fn connector(
    servers: bool,
    settings: &TlsSettings,
    keys: Vec<Arc<CertifiedKey>>,
    problems: &mut Vec<Problem>,
) -> Option<Arc<Connector>> {
    let made = servers.then(|| Connector::unjudging(keys, versions(settings), settings.peers.alpn()))?;
    made.map(Arc::new).map_err(|error| problems.push(Problem::library(&error))).ok()
}

fn versions(settings: &TlsSettings) -> &'static [&'static rustls::SupportedProtocolVersion] {
    static BOTH: [&rustls::SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
    if settings.only_tls13 { BOTH.get(..1).unwrap_or_default() } else { &BOTH }
}

type Configs = (Arc<ServerConfig>, Arc<ServerConfig>);

fn configure(
    settings: &TlsSettings,
    request: bool,
    certified: &Arc<CertifiedKey>,
) -> Result<Configs, rustls::Error> {
    let one = |alpn: Option<&[u8]>| {
        let builder =
            ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions(settings))?;
        let builder = if request {
            builder.with_client_cert_verifier(Arc::new(verify::Unjudged::new(&provider())))
        } else {
            builder.with_no_client_auth()
        };
        let resolver = Arc::new(SingleCertAndKey::from(Arc::clone(certified)));
        let mut config = builder.with_cert_resolver(resolver);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        // A client has one connection, and gets a fresh one with each.
        config.send_tls13_tickets = 1;
        config.alpn_protocols = alpn.into_iter().map(<[u8]>::to_vec).collect();
        config.max_early_data_size = 0;
        config.key_log = Arc::new(exporter::Hear);
        Ok::<_, rustls::Error>(Arc::new(config))
    };
    Ok((one(None)?, one(settings.peers.alpn())?))
}

fn with_new_ticketer(config: &Arc<ServerConfig>) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = ServerConfig::clone(config);
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()
        .map_err(|error| TlsError { problems: vec![Problem::tickets(&error)] })?;
    Ok(Arc::new(config))
}

/// Certificates as the protocols carry them.
fn shared(chain: &[CertificateDer<'_>]) -> Vec<Bytes> {
    chain.iter().map(|one| Bytes::copy_from_slice(one)).collect()
}
