//! Ends a connection whose peer attempts a TLS renegotiation.
//!
//! RFC 6120 §5.3.5: a party that does not support renegotiation and detects an attempt closes the TCP connection
//! immediately and sends no stream error. The TLS library answers a first attempt on TLS 1.2 with a warning alert and goes
//! on, so the record headers are watched before it sees them: they are in clear, and a record of type handshake that
//! arrives after the handshake has finished can only be such an attempt. On TLS 1.3 every protected record has another type
//! in clear, so nothing legitimate (key update, session ticket) is hit.

/// The content type of a handshake record (RFC 5246 §6.2.1).
const HANDSHAKE: u8 = 22;
/// The content type of a change-cipher-spec record.
const CHANGE_CIPHER_SPEC: u8 = 20;
/// Type, version, length (RFC 5246 §6.2.1).
const HEADER: usize = 5;

/// The peer attempted a renegotiation: a ClientHello, or a HelloRequest, after the handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the peer attempted a TLS renegotiation")]
pub struct Renegotiation;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Handshake records are expected.
    Handshake,
    /// TLS 1.2: the peer's next handshake record is its Finished.
    ExpectFinished,
    /// The peer has no handshake record left to send.
    Finished,
}

/// Watches the bytes that a peer sends, from the first one of the TLS handshake on. Sans-IO; one a connection.
#[derive(Clone, Debug)]
pub struct RenegotiationGuard {
    header: [u8; HEADER],
    have: usize,
    left: usize,
    phase: Phase,
    tls13: bool,
}

impl Default for RenegotiationGuard {
    fn default() -> Self {
        Self { header: [0; HEADER], have: 0, left: 0, phase: Phase::Handshake, tls13: false }
    }
}

impl RenegotiationGuard {
    /// A guard for a connection on which no byte of TLS has been received.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at received bytes, whatever way they are cut.
    ///
    /// # Errors
    /// [`Renegotiation`] if a record in them, or begun by them, is an attempt. None of these bytes may reach the TLS library,
    /// and nothing may be written.
    pub fn check(&mut self, mut bytes: &[u8]) -> Result<(), Renegotiation> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let skip = self.left.min(bytes.len());
                self.left -= skip;
                bytes = &bytes[skip..];
                continue;
            }
            if self.have == 0 {
                // The type is the first byte: an attempt is known before its record is complete.
                self.judge(bytes[0])?;
            }
            let take = (HEADER - self.have).min(bytes.len());
            self.header[self.have..self.have + take].copy_from_slice(&bytes[..take]);
            self.have += take;
            bytes = &bytes[take..];
            if self.have == HEADER {
                self.have = 0;
                self.left = usize::from(u16::from_be_bytes([self.header[3], self.header[4]]));
            }
        }
        Ok(())
    }

    /// Tells the guard that TLS 1.3 was agreed upon. There a change-cipher-spec means nothing (RFC 8446 §D.4).
    pub fn tls13(&mut self) {
        self.tls13 = true;
        if self.phase == Phase::ExpectFinished {
            self.phase = Phase::Handshake;
        }
    }

    /// Tells the guard that the TLS library has finished the handshake. For TLS 1.2 the guard knows by itself, from the
    /// records, which closes the gap between a Finished and what a peer sends right behind it.
    pub fn handshake_finished(&mut self) {
        self.phase = Phase::Finished;
    }

    fn judge(&mut self, kind: u8) -> Result<(), Renegotiation> {
        self.phase = match (kind, self.phase) {
            (HANDSHAKE, Phase::Finished) => return Err(Renegotiation),
            (HANDSHAKE, Phase::ExpectFinished) => Phase::Finished,
            (CHANGE_CIPHER_SPEC, Phase::Handshake) if !self.tls13 => Phase::ExpectFinished,
            (_, phase) => phase,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![kind, 3, 3];
        bytes.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
        // Contents that look like headers of handshake records must not matter.
        bytes.extend(std::iter::repeat_n(HANDSHAKE, length));
        bytes
    }

    fn flight(kinds: &[u8]) -> Vec<u8> {
        kinds.iter().flat_map(|kind| record(*kind, 7)).collect()
    }

    /// S2-04: every way to cut the same bytes gives the same verdict.
    fn verdict(bytes: &[u8]) -> Result<(), Renegotiation> {
        let whole = RenegotiationGuard::new().check(bytes);
        for at in 0..bytes.len() {
            let mut guard = RenegotiationGuard::new();
            let parts = guard.check(&bytes[..at]).and_then(|()| guard.check(&bytes[at..]));
            assert_eq!(parts, whole, "cut at {at}");
        }
        let mut guard = RenegotiationGuard::new();
        assert_eq!(bytes.iter().try_for_each(|byte| guard.check(&[*byte])), whole, "one by one");
        whole
    }

    #[test]
    fn s2_04_tls12_as_server() {
        // ClientHello, ClientKeyExchange, CCS, Finished, data, alert
        assert_eq!(verdict(&flight(&[22, 22, 20, 22, 23, 21, 23])), Ok(()));
        // a ClientHello after that, also right behind Finished
        assert_eq!(verdict(&flight(&[22, 22, 20, 22, 23, 22])), Err(Renegotiation));
        assert_eq!(verdict(&flight(&[22, 22, 20, 22, 22])), Err(Renegotiation));
    }

    #[test]
    fn s2_04_tls12_as_client() {
        // ServerHello .. ServerHelloDone, NewSessionTicket, CCS, Finished, then a HelloRequest
        assert_eq!(verdict(&flight(&[22, 22, 22, 22, 22, 20, 22, 23])), Ok(()));
        assert_eq!(verdict(&flight(&[22, 22, 22, 22, 22, 20, 22, 23, 22])), Err(Renegotiation));
    }

    #[test]
    fn s2_06_tls13_lives_on_after_its_handshake() {
        let mut guard = RenegotiationGuard::new();
        guard.check(&flight(&[22, 20])).unwrap();
        // a second ClientHello in two records, after a HelloRetryRequest
        guard.tls13();
        guard.check(&flight(&[22, 22, 23])).unwrap();
        guard.handshake_finished();
        // key updates and data have the type of data
        guard.check(&flight(&[23, 23, 23])).unwrap();
        assert_eq!(guard.check(&flight(&[22])), Err(Renegotiation));
    }

    #[test]
    fn an_attempt_is_known_by_its_first_byte() {
        let mut guard = RenegotiationGuard::new();
        guard.check(&flight(&[22, 20, 22])).unwrap();
        assert_eq!(guard.check(&[22]), Err(Renegotiation));
    }
}
