//! A certificate authority of one's own, for a first start without any configuration.
//!
//! It lives in one folder: `ca.pem` (to be trusted by clients), `ca-key.pem`, `host.pem`, `host-key.pem`. Keys are readable by
//! their owner alone. Whoever has a real certificate needs none of it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::tls::provider;

const DAY: Duration = Duration::from_secs(86_400);
/// How long the authority is valid.
const AUTHORITY: Duration = DAY.saturating_mul(3650);
/// How long a host's certificate is valid; longer ones are refused by some systems.
const HOST: Duration = DAY.saturating_mul(365);
/// A certificate that is valid for less than this is renewed.
const RENEW: Duration = DAY.saturating_mul(30);

/// The files of a local authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalCa {
    /// The authority's certificate, for clients to trust.
    pub authority: PathBuf,
    /// The host's certificate.
    pub chain: PathBuf,
    /// The host's key.
    pub key: PathBuf,
    /// Whether the authority was made just now, so that clients must be told to trust it.
    pub new_authority: bool,
    /// Whether the host's certificate was made just now.
    pub new_certificate: bool,
}

/// Why there is no local authority.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file or folder cannot be read or written.
    #[error("{}: {source}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is there and is not what it should be. It is not overwritten.
    #[error("{}: {what}; repair it or move it away", file.display())]
    Unusable {
        /// Which.
        file: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A certificate could not be made, because of a name mostly.
    #[error("cannot make a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// Finds or makes, in `folder`, an authority and a certificate by it for these domains (A-labels), `localhost`, 127.0.0.1 and
/// ::1. What is there is used as it is, unless the certificate is valid for less than 30 days, or is for other names, or by
/// another authority; then it is made anew, with a new key.
///
/// # Errors
/// See [`CaError`]. Files of an authority that are there but unusable are never replaced: people may trust it.
pub fn local(folder: &Path, domains: &[String]) -> Result<LocalCa, CaError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    local_at(folder, domains, now)
}

/// Like [`local`], but writes nothing: none where there is no certificate yet that is good now.
///
/// # Errors
/// A file is there and cannot be read.
pub fn find(folder: &Path, domains: &[String]) -> Result<Option<LocalCa>, CaError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let files = Files::of(folder);
    let all = (read(&files.authority)?, read(&files.chain)?, read(&files.key)?);
    let (Some(authority), Some(chain), Some(key)) = all else { return Ok(None) };
    let good = CertificateDer::from_pem_slice(authority.as_bytes())
        .is_ok_and(|authority| still_good(&chain, &key, &authority, &names(domains), now, Duration::ZERO));
    Ok(good.then(|| files.made(false, false)))
}

/// Where the files are.
struct Files {
    authority: PathBuf,
    authority_key: PathBuf,
    chain: PathBuf,
    key: PathBuf,
}

impl Files {
    fn of(folder: &Path) -> Self {
        Self {
            authority: folder.join("ca.pem"),
            authority_key: folder.join("ca-key.pem"),
            chain: folder.join("host.pem"),
            key: folder.join("host-key.pem"),
        }
    }

    fn made(self, new_authority: bool, new_certificate: bool) -> LocalCa {
        LocalCa {
            authority: self.authority,
            chain: self.chain,
            key: self.key,
            new_authority,
            new_certificate,
        }
    }
}

/// The names that a host's certificate has to have.
fn names(domains: &[String]) -> Vec<String> {
    let mut names: Vec<String> = domains.to_vec();
    names.push("localhost".to_owned());
    names.sort();
    names.dedup();
    names
}

fn local_at(folder: &Path, domains: &[String], now: Duration) -> Result<LocalCa, CaError> {
    fs::create_dir_all(folder).map_err(|source| CaError::File { file: folder.to_owned(), source })?;
    let files = Files::of(folder);

    let (key, certificate, new_authority) = match (read(&files.authority_key)?, read(&files.authority)?) {
        (None, None) => {
            let key = KeyPair::generate()?;
            let certificate = make_authority(&key, now)?;
            write(&files.authority_key, &key.serialize_pem(), 0o600)?;
            write(&files.authority, &certificate.pem(), 0o644)?;
            (key, certificate.der().clone(), true)
        }
        (Some(key), Some(certificate)) => {
            let unusable =
                |file: &Path, what: &str| CaError::Unusable { file: file.to_owned(), what: what.to_owned() };
            let key = KeyPair::from_pem(&key)
                .map_err(|_| unusable(&files.authority_key, "holds no usable private key"))?;
            let certificate = CertificateDer::from_pem_slice(certificate.as_bytes())
                .map_err(|_| unusable(&files.authority, "holds no certificate"))?;
            let (_, parsed) = X509Certificate::from_der(&certificate)
                .map_err(|_| unusable(&files.authority, "holds no certificate"))?;
            if parsed.public_key().raw != key.subject_public_key_info() {
                return Err(unusable(&files.authority, "does not belong to the key in ca-key.pem"));
            }
            if left(&parsed, now) < RENEW {
                // Same name and key: whoever trusts the key by its certificate must be given the new one.
                let renewed = make_authority(&key, now)?;
                write(&files.authority, &renewed.pem(), 0o644)?;
                (key, renewed.der().clone(), true)
            } else {
                drop(parsed);
                (key, certificate, false)
            }
        }
        (None, Some(_)) => {
            return Err(CaError::Unusable {
                file: files.authority_key,
                what: "is missing, but ca.pem is there".into(),
            });
        }
        (Some(_), None) => {
            return Err(CaError::Unusable {
                file: files.authority,
                what: "is missing, but ca-key.pem is there".into(),
            });
        }
    };

    let names = names(domains);
    let usable = match (read(&files.chain)?, read(&files.key)?) {
        (Some(chain), Some(key)) => still_good(&chain, &key, &certificate, &names, now, RENEW),
        _ => false,
    };
    if !usable {
        let host = KeyPair::generate()?;
        let made = make_host(&host, &key, domains.first().map_or("localhost", String::as_str), &names, now)?;
        // The key first: whoever reads in between finds a pair that does not match, which is an error and not a leak.
        write(&files.key, &host.serialize_pem(), 0o600)?;
        write(&files.chain, &made.pem(), 0o644)?;
    }
    Ok(files.made(new_authority, !usable))
}

fn left(parsed: &X509Certificate<'_>, now: Duration) -> Duration {
    let until = u64::try_from(parsed.validity().not_after.timestamp()).unwrap_or_default();
    Duration::from_secs(until).saturating_sub(now)
}

fn still_good(
    chain: &str,
    key: &str,
    authority: &CertificateDer<'_>,
    names: &[String],
    now: Duration,
    least: Duration,
) -> bool {
    let (Ok(der), Ok(key)) = (CertificateDer::from_pem_slice(chain.as_bytes()), KeyPair::from_pem(key))
    else {
        return false;
    };
    let (Ok((_, parsed)), Ok(leaf), Ok(anchor)) = (
        X509Certificate::from_der(&der),
        EndEntityCert::try_from(&der),
        webpki::anchor_from_trusted_cert(authority),
    ) else {
        return false;
    };
    let named = |name: &String| {
        ServerName::try_from(name.as_str())
            .is_ok_and(|name| leaf.verify_is_valid_for_subject_name(&name).is_ok())
    };
    let algorithms = provider().signature_verification_algorithms.all;
    let time = UnixTime::since_unix_epoch(now);
    parsed.public_key().raw == key.subject_public_key_info()
        && left(&parsed, now) >= least
        && names.iter().all(named)
        && leaf
            .verify_for_usage(algorithms, &[anchor], &[], time, KeyUsage::server_auth(), None, None)
            .is_ok()
}

/// The parameters of the authority; its name tells authorities of different installations apart.
fn authority(key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    let print = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, key.public_key_raw());
    let print: String = print.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("Nuncio local authority {print}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn valid(params: &mut CertificateParams, now: Duration, lifetime: Duration) {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    // Clocks differ a little.
    params.not_before = epoch + now.saturating_sub(DAY);
    params.not_after = epoch + now.saturating_add(lifetime);
}

fn make_authority(key: &KeyPair, now: Duration) -> Result<rcgen::Certificate, CaError> {
    let mut params = authority(key);
    valid(&mut params, now, AUTHORITY);
    Ok(params.self_signed(key)?)
}

fn make_host(
    key: &KeyPair,
    authority_key: &KeyPair,
    common_name: &str,
    names: &[String],
    now: Duration,
) -> Result<rcgen::Certificate, CaError> {
    let mut params = CertificateParams::new(names.to_vec())?;
    for address in [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
        params.subject_alt_names.push(SanType::IpAddress(address));
    }
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    valid(&mut params, now, HOST);
    let authority = authority(authority_key);
    Ok(params.signed_by(key, &Issuer::from_params(&authority, authority_key))?)
}

fn read(file: &Path) -> Result<Option<String>, CaError> {
    match fs::read(file) {
        // What is no text is no PEM either, which is noticed next.
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CaError::File { file: file.to_owned(), source }),
    }
}

/// Writes a whole file or none of it.
fn write(file: &Path, text: &str, mode: u32) -> Result<(), CaError> {
    let temporary = file.with_extension("new");
    let failed = |source| CaError::File { file: file.to_owned(), source };
    // One left over from a crash may have another mode.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut handle = options.open(&temporary).map_err(failed)?;
    handle.write_all(text.as_bytes()).and_then(|()| handle.sync_all()).map_err(failed)?;
    fs::rename(&temporary, file).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
    }

    #[test]
    fn a_second_start_finds_everything_again() {
        let folder = tempfile::tempdir().unwrap();
        let domains = ["chat.example".to_owned()];
        let first = local_at(folder.path(), &domains, now()).unwrap();
        assert!(first.new_authority && first.new_certificate);
        let chain = fs::read(&first.chain).unwrap();
        let second = local_at(folder.path(), &domains, now()).unwrap();
        assert!(!second.new_authority && !second.new_certificate);
        assert_eq!(chain, fs::read(&second.chain).unwrap());
    }

    #[cfg(unix)]
    #[test]
    fn keys_are_for_their_owner_alone() {
        use std::os::unix::fs::MetadataExt;
        let folder = tempfile::tempdir().unwrap();
        let made = local_at(folder.path(), &[], now()).unwrap();
        for key in [made.key, folder.path().join("ca-key.pem")] {
            assert_eq!(fs::metadata(&key).unwrap().mode() & 0o777, 0o600, "{}", key.display());
        }
    }

    #[test]
    fn the_certificate_is_renewed_in_its_last_month_and_for_other_names() {
        let folder = tempfile::tempdir().unwrap();
        let start = now();
        let one = ["one.example".to_owned()];
        local_at(folder.path(), &one, start).unwrap();
        assert!(!local_at(folder.path(), &one, start + HOST - RENEW - DAY).unwrap().new_certificate);
        let late = local_at(folder.path(), &one, start + HOST - RENEW + DAY).unwrap();
        assert!(late.new_certificate && !late.new_authority);
        let two = ["one.example".to_owned(), "two.example".to_owned()];
        assert!(local_at(folder.path(), &two, start + HOST).unwrap().new_certificate);
        assert!(!local_at(folder.path(), &two, start + HOST).unwrap().new_certificate);
    }

    #[test]
    fn an_authority_that_is_broken_is_named_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        local_at(folder.path(), &[], now()).unwrap();
        let file = folder.path().join("ca.pem");
        fs::write(&file, "nonsense").unwrap();
        let error = local_at(folder.path(), &[], now()).unwrap_err();
        assert!(error.to_string().contains("ca.pem: holds no certificate"), "{error}");
        assert_eq!(fs::read(&file).unwrap(), b"nonsense");
        fs::remove_file(&file).unwrap();
        assert!(local_at(folder.path(), &[], now()).unwrap_err().to_string().contains("is missing"));
    }
}
