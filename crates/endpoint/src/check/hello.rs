//! A TLS `ClientHello` of old, for servers that should refuse it (RFC 8996).

use nuncio_net::OsEntropy;
use nuncio_sansio::Entropy as _;

/// A version of TLS that nobody should speak any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Old {
    /// TLS 1.0.
    Tls10,
    /// TLS 1.1.
    Tls11,
}

impl Old {
    const fn minor(self) -> u8 {
        match self {
            Self::Tls10 => 1,
            Self::Tls11 => 2,
        }
    }
}

/// A `ClientHello` (RFC 2246 §7.4.1.2, RFC 4346) that offers nothing newer, and suites that every server of its time had.
pub(super) fn client_hello(version: Old, name: Option<&str>) -> Vec<u8> {
    const SUITES: [u16; 8] = [0xc014, 0xc013, 0xc00a, 0xc009, 0x0035, 0x002f, 0x000a, 0x00ff];
    let mut body = vec![3, version.minor()];
    let mut random = [0; 32];
    OsEntropy.fill(&mut random);
    body.extend_from_slice(&random);
    body.push(0);
    let suites: Vec<u8> = SUITES.iter().flat_map(|suite| suite.to_be_bytes()).collect();
    block16(&mut body, &suites);
    body.extend_from_slice(&[1, 0]);
    let mut extensions = Vec::new();
    if let Some(name) = name {
        let mut entry = vec![0];
        block16(&mut entry, name.as_bytes());
        let mut list = Vec::new();
        block16(&mut list, &entry);
        extensions.extend_from_slice(&[0, 0]);
        block16(&mut extensions, &list);
    }
    // Curves P-256, P-384, P-521; points uncompressed.
    extensions.extend_from_slice(&[0, 10, 0, 8, 0, 6, 0, 23, 0, 24, 0, 25, 0, 11, 0, 2, 1, 0]);
    block16(&mut body, &extensions);
    let length = u32::try_from(body.len()).unwrap_or_default().to_be_bytes();
    let mut handshake = vec![1];
    handshake.extend_from_slice(length.get(1..).unwrap_or_default());
    handshake.extend_from_slice(&body);
    let mut record = vec![22, 3, 1];
    block16(&mut record, &handshake);
    record
}

/// Bytes with their length in two bytes before them.
fn block16(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or_default();
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}

/// What a server said to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// An alert, or the end: refused.
    Refused,
    /// Something that is no TLS.
    Other,
    /// A `ServerHello` with the old version.
    Agreed,
}

/// Reads the first bytes of the answer; none while there are too few.
pub(super) fn answer(bytes: &[u8]) -> Option<Said> {
    match bytes {
        // A handshake record, and in it a ServerHello.
        [22, 3, _, _, _, 2, ..] => Some(Said::Agreed),
        [22, ..] if bytes.len() < 6 => None,
        [] | [21] => None,
        [21, 3, ..] => Some(Said::Refused),
        _ => Some(Said::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_fit() {
        for name in [None, Some("relay.example")] {
            let hello = client_hello(Old::Tls11, name);
            assert_eq!(&hello[..3], [22, 3, 1]);
            assert_eq!(usize::from(u16::from_be_bytes([hello[3], hello[4]])), hello.len() - 5);
            assert_eq!((hello[5], hello[9], hello[10]), (1, 3, 2));
            let inner = usize::from(hello[7]) * 256 + usize::from(hello[8]);
            assert_eq!(inner, hello.len() - 9);
        }
        assert_eq!(answer(&[21, 3, 1, 0, 2, 2, 70]), Some(Said::Refused));
        assert_eq!(answer(&[22, 3, 2, 0, 80, 2]), Some(Said::Agreed));
        assert_eq!(answer(&[22, 3]), None);
        assert_eq!(answer(&[21]), None);
        assert_eq!(answer(b"HTTP/1.1 400 Bad Request"), Some(Said::Other));
    }
}
