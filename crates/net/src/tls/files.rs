//! Certificates and keys from files, and what may be wrong with them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, TrustAnchor, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use webpki::EndEntityCert;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{PairFiles, end_point_binding, provider};

/// Nothing was loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
    /// Everything that is wrong. Never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for TlsError {}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, if it is one.
    pub file: Option<PathBuf>,
    /// What is wrong, in words.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}: {}", file.display(), self.what),
            None => f.write_str(&self.what),
        }
    }
}

impl Problem {
    fn new(file: &Path, what: impl Into<String>) -> Self {
        Self { file: Some(file.to_owned()), what: what.into() }
    }

    fn unread(file: &Path, error: &io::Error) -> Self {
        Self::new(file, format!("cannot be read: {error}"))
    }

    pub(super) fn unusable(file: &Path, error: &Error) -> Self {
        Self::new(file, format!("cannot be used: {error}"))
    }

    pub(super) fn no_pair(domain: &str) -> Self {
        Self { file: None, what: format!("{domain} has no certificate") }
    }

    pub(super) fn twice(name: &str) -> Self {
        Self { file: None, what: format!("{name} is the name of two hosts") }
    }

    pub(super) fn no_default(name: &str) -> Self {
        Self { file: None, what: format!("the default host {name} is not among the hosts") }
    }

    pub(super) fn library(error: &Error) -> Self {
        Self { file: None, what: format!("cannot use TLS: {error}") }
    }

    pub(super) fn tickets(error: &Error) -> Self {
        Self { file: None, what: format!("no key for session tickets: {error}") }
    }
}

/// Something that works, and probably not as it was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The file.
    pub file: PathBuf,
    /// What is odd, in words.
    pub what: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.file.display(), self.what)
    }
}

pub(super) struct Loaded {
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) end_point: Option<Bytes>,
    pub(super) not_after: i64,
}

/// All certificates of a PEM file, in its order. Never empty.
pub(super) fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let pem = std::fs::read(file).map_err(|error| Problem::unread(file, &error))?;
    let found = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Problem::new(file, format!("is no PEM file: {error}")))?;
    if found.is_empty() {
        return Err(Problem::new(file, "holds no certificate (no \"BEGIN CERTIFICATE\")"));
    }
    Ok(found)
}

pub(super) fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, Problem> {
    let pem = std::fs::read(file).map_err(|error| Problem::unread(file, &error))?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        let encrypted = pem.windows(9).any(|window| window == b"ENCRYPTED");
        let what = if encrypted {
            "holds an encrypted private key; it must be stored in clear, readable by the server alone"
        } else {
            "holds no private key (no \"BEGIN PRIVATE KEY\" or similar)"
        };
        Problem::new(file, what)
    })
}

/// The authorities of these files.
pub(super) fn anchors(files: &[PathBuf], problems: &mut Vec<Problem>) -> Vec<TrustAnchor<'static>> {
    let mut anchors = Vec::new();
    for file in files {
        match certificates(file) {
            Ok(found) => {
                for (index, one) in found.iter().enumerate() {
                    match webpki::anchor_from_trusted_cert(one) {
                        Ok(anchor) => anchors.push(anchor.to_owned()),
                        Err(error) => problems.push(Problem::new(
                            file,
                            format!("certificate {} cannot be an authority: {error}", index + 1),
                        )),
                    }
                }
            }
            Err(problem) => problems.push(problem),
        }
    }
    anchors
}

/// Loads one pair and checks that it fits together and serves `domain`; where other names are allowed, it is a warning if it does not.
pub(super) fn load_pair(
    files: &PairFiles,
    domain: &str,
    other_names: bool,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Warning>,
) -> Option<Loaded> {
    let (chain, key) = match (certificates(&files.chain), private_key(&files.key)) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => {
            problems.extend(chain.err());
            problems.extend(key.err());
            return None;
        }
    };
    match check_pair(files, &chain, key, domain, other_names, warnings) {
        Ok(loaded) => Some(loaded),
        Err(problem) => {
            problems.push(problem);
            None
        }
    }
}

fn check_pair(
    files: &PairFiles,
    chain: &[CertificateDer<'static>],
    key: PrivateKeyDer<'static>,
    domain: &str,
    other_names: bool,
    warnings: &mut Vec<Warning>,
) -> Result<Loaded, Problem> {
    let file = &files.chain;
    let unparsable = || Problem::new(file, "its first certificate is no X.509 certificate");
    let leaf = chain.first().ok_or_else(unparsable)?;
    let (_, parsed) = X509Certificate::from_der(leaf).map_err(|_| unparsable())?;
    let not_after = parsed.validity().not_after.timestamp();
    let not_before = parsed.validity().not_before.timestamp();
    let mut warn = |file: &Path, what: String| warnings.push(Warning { file: file.to_owned(), what });

    let named = EndEntityCert::try_from(leaf)
        .map_err(|error| Problem::new(file, format!("its first certificate cannot be used: {error}")))?;
    match ServerName::try_from(domain) {
        Ok(name) if named.verify_is_valid_for_subject_name(&name).is_err() => {
            if other_names {
                let what = format!(
                    "is not for {domain}: other servers believe it by DANE or POSH only; {}",
                    names(&parsed)
                );
                warn(file, what);
            } else {
                return Err(Problem::new(file, format!("is not for {domain}; {}", names(&parsed))));
            }
        }
        Ok(_) => {}
        Err(_) => warn(file, format!("{domain} is no DNS name, so it cannot be said whether this is for it")),
    }

    let signing = provider()
        .key_provider
        .load_private_key(key)
        .map_err(|error| Problem::new(&files.key, format!("holds a key that cannot be used: {error}")))?;
    let certified = CertifiedKey::new(chain.to_owned(), signing);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(Error::InconsistentKeys(_)) => {
            let what = format!("holds a key that does not match the certificate in {}", file.display());
            return Err(Problem::new(&files.key, what));
        }
        Err(error) => return Err(Problem::unusable(file, &error)),
    }

    let now = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
    if not_after < now {
        warn(
            file,
            format!("the certificate expired on {}; clients will refuse it", parsed.validity().not_after),
        );
    } else if not_before > now {
        warn(file, format!("the certificate is not valid before {}", parsed.validity().not_before));
    }
    for (index, pair) in chain.windows(2).enumerate() {
        if let [lower, upper] = pair
            && let (Ok((_, lower)), Ok((_, upper))) =
                (X509Certificate::from_der(lower), X509Certificate::from_der(upper))
            && lower.issuer().as_raw() != upper.subject().as_raw()
        {
            let number = index + 2;
            warn(
                file,
                format!("certificate {number} did not issue the one before it; clients may refuse the chain"),
            );
        }
    }
    if let Some(mode) = readable_by_others(&files.key) {
        warn(&files.key, format!("others can read the key (mode {mode:03o}); 600 is enough"));
    }
    Ok(Loaded { end_point: end_point_binding(leaf), certified: Arc::new(certified), not_after })
}

fn names(parsed: &X509Certificate<'_>) -> String {
    use x509_parser::extensions::GeneralName;
    let Ok(Some(names)) = parsed.subject_alternative_name() else {
        return "it has no subject alternative name at all".to_owned();
    };
    let dns = names.value.general_names.iter().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    });
    let dns = dns.collect::<Vec<_>>().join(", ");
    if dns.is_empty() { "it has no DNS name".to_owned() } else { format!("its DNS names are: {dns}") }
}

#[cfg(unix)]
fn readable_by_others(file: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    let mode = std::fs::metadata(file).ok()?.mode() & 0o777;
    // A group of its own for keys is usual practice.
    (mode & 0o007 != 0).then_some(mode)
}

#[cfg(not(unix))]
fn readable_by_others(_: &Path) -> Option<u32> {
    None
}
