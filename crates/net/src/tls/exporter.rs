//! Keying material exporters (RFC 8446 §7.5).
//!
//! The library's connections without buffers do not export. It tells the secret from which everything is derived to whoever
//! logs keys, in the middle of the handshake and on the same thread, so that is where it is picked up.

use std::cell::Cell;

use aws_lc_rs::digest::{self, SHA256, SHA384};
use aws_lc_rs::hkdf::{HKDF_SHA256, HKDF_SHA384, KeyType, Prk};
use rustls::KeyLog;
use zeroize::Zeroizing;

thread_local! {
    static HEARD: Cell<Option<Exporter>> = const { Cell::new(None) };
}

/// The exporter secret of one TLS 1.3 connection.
pub(crate) struct Exporter(Zeroizing<Vec<u8>>);

/// Hears exporter secrets and nothing else.
#[derive(Debug)]
pub(crate) struct Hear;

impl KeyLog for Hear {
    fn will_log(&self, label: &str) -> bool {
        label == "EXPORTER_SECRET"
    }

    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        if self.will_log(label) {
            HEARD.set(Some(Exporter(Zeroizing::new(secret.to_vec()))));
        }
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Exporter {
    /// Does a step of one connection's handshake; with the secret, if that step made it.
    pub(crate) fn during<T>(step: impl FnOnce() -> T) -> (T, Option<Self>) {
        // Whatever is left of another connection's step is not this one's.
        HEARD.set(None);
        let result = step();
        (result, HEARD.take())
    }

    /// 32 bytes for this label and an empty context.
    pub(crate) fn export(&self, label: &[u8]) -> Option<[u8; 32]> {
        let (kdf, hash) = match self.0.len() {
            32 => (HKDF_SHA256, &SHA256),
            48 => (HKDF_SHA384, &SHA384),
            _ => return None,
        };
        let empty = digest::digest(hash, b"");
        let mut derived = Zeroizing::new(vec![0; self.0.len()]);
        expand(&Prk::new_less_safe(kdf, &self.0), label, empty.as_ref(), &mut derived)?;
        let mut out = [0; 32];
        expand(&Prk::new_less_safe(kdf, &derived), b"exporter", empty.as_ref(), &mut out)?;
        Some(out)
    }
}

/// HKDF-Expand-Label (RFC 8446 §7.1).
fn expand(secret: &Prk, label: &[u8], context: &[u8], out: &mut [u8]) -> Option<()> {
    const PREFIX: &[u8] = b"tls13 ";
    let length = u16::try_from(out.len()).ok()?.to_be_bytes();
    let label_length = [u8::try_from(PREFIX.len() + label.len()).ok()?];
    let context_length = [u8::try_from(context.len()).ok()?];
    let info = [&length[..], &label_length, PREFIX, label, &context_length, context];
    secret.expand(&info, Length(out.len())).ok()?.fill(out).ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rcgen::{CertificateParams, KeyPair};
    use rustls::crypto::CryptoProvider;
    use rustls::crypto::aws_lc_rs::cipher_suite;
    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};

    use super::*;
    use crate::tls::provider;

    /// What the library itself exports where it does (RFC 8446 §7.5, RFC 9266), for both hash functions; and nothing of another
    /// connection.
    #[test]
    fn as_the_library_exports() {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["a.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        for suite in [cipher_suite::TLS13_AES_128_GCM_SHA256, cipher_suite::TLS13_AES_256_GCM_SHA384] {
            let only = CryptoProvider { cipher_suites: vec![suite], ..CryptoProvider::clone(&provider()) };
            let mut roots = RootCertStore::empty();
            roots.add(certificate.der().clone()).unwrap();
            let client = ClientConfig::builder_with_provider(Arc::new(only))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
            let private = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            let mut server = ServerConfig::builder_with_provider(provider())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(vec![certificate.der().clone()], private)
                .unwrap();
            server.key_log = Arc::new(Hear);
            let name = ServerName::try_from("a.example").unwrap();
            let mut client = ClientConnection::new(Arc::new(client), name).unwrap();
            let mut server = ServerConnection::new(Arc::new(server)).unwrap();
            let mut exporter = None;
            while server.is_handshaking() {
                let mut wire = Vec::new();
                client.write_tls(&mut wire).unwrap();
                let mut left = wire.as_slice();
                let (_, heard) = Exporter::during(|| {
                    while !left.is_empty() {
                        server.read_tls(&mut left).unwrap();
                        server.process_new_packets().unwrap();
                    }
                });
                exporter = heard.or(exporter);
                let mut wire = Vec::new();
                while server.wants_write() {
                    server.write_tls(&mut wire).unwrap();
                }
                let mut left = wire.as_slice();
                while !left.is_empty() {
                    client.read_tls(&mut left).unwrap();
                    client.process_new_packets().unwrap();
                }
            }
            let label = b"EXPORTER-Channel-Binding";
            let theirs = client.export_keying_material([0; 32], label, Some(b"")).unwrap();
            assert_eq!(exporter.unwrap().export(label), Some(theirs));
            assert!(Exporter::during(|| ()).1.is_none());
        }
    }
}
