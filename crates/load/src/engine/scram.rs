//! SASL as a client does it, with what is costly remembered.
//!
//! The keys of an account are derived once (4096 rounds and more) and kept, as real clients keep them (RFC 5802 §5.1), so that a login
//! storm measures the server and not the generator.

use std::collections::HashMap;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

/// The mechanism to log in with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Mechanism {
    /// SCRAM-SHA-1 (RFC 5802): the one that every server has.
    #[default]
    #[serde(rename = "SCRAM-SHA-1")]
    ScramSha1,
    /// SCRAM-SHA-256 (RFC 7677).
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// SCRAM-SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
    /// PLAIN (RFC 4616).
    #[serde(rename = "PLAIN")]
    Plain,
}

struct Hash {
    digest: &'static digest::Algorithm,
    hmac: hmac::Algorithm,
    derive: pbkdf2::Algorithm,
}

impl Mechanism {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ScramSha1 => "SCRAM-SHA-1",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::Plain => "PLAIN",
        }
    }

    fn hash(self) -> Option<Hash> {
        let (digest, hmac, derive) = match self {
            Self::ScramSha1 => (
                &digest::SHA1_FOR_LEGACY_USE_ONLY,
                hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
                pbkdf2::PBKDF2_HMAC_SHA1,
            ),
            Self::ScramSha256 => (&digest::SHA256, hmac::HMAC_SHA256, pbkdf2::PBKDF2_HMAC_SHA256),
            Self::ScramSha512 => (&digest::SHA512, hmac::HMAC_SHA512, pbkdf2::PBKDF2_HMAC_SHA512),
            Self::Plain => return None,
        };
        Some(Hash { digest, hmac, derive })
    }
}

/// What is derived from a password.
#[derive(Clone)]
struct Keys {
    salt: Vec<u8>,
    rounds: u32,
    client: Vec<u8>,
    stored: Vec<u8>,
    server: Vec<u8>,
}

/// The keys of accounts that have logged in before.
#[derive(Default)]
pub(crate) struct KeyRing {
    known: HashMap<u32, Keys>,
}

/// One exchange.
pub(crate) struct Exchange {
    mechanism: Mechanism,
    account: u32,
    password: String,
    first: String,
    nonce: String,
    expected: Option<String>,
}

/// The most rounds that are computed; a server that asks for more is refused.
const MOST_ROUNDS: u32 = 1_000_000;

impl Exchange {
    /// Begins an exchange; gives it and the initial response, in base64.
    pub(crate) fn start(
        mechanism: Mechanism,
        account: u32,
        name: &str,
        password: &str,
    ) -> Result<(Self, String), String> {
        let mut random = [0; 18];
        getrandom::fill(&mut random).map_err(|error| format!("no randomness: {error}"))?;
        Ok(Self::with_nonce(mechanism, account, name, password, STANDARD.encode(random)))
    }

    fn with_nonce(
        mechanism: Mechanism,
        account: u32,
        name: &str,
        password: &str,
        nonce: String,
    ) -> (Self, String) {
        let first = format!("n={name},r={nonce}");
        let initial = match mechanism {
            Mechanism::Plain => format!("\0{name}\0{password}"),
            _ => format!("n,,{first}"),
        };
        let exchange =
            Self { mechanism, account, password: password.to_owned(), first, nonce, expected: None };
        (exchange, STANDARD.encode(initial))
    }

    /// Answers a challenge; both in base64.
    pub(crate) fn challenge(&mut self, challenge: &[u8], ring: &mut KeyRing) -> Result<String, String> {
        let wrong = |what: &str| format!("login: the challenge {what}");
        let message = STANDARD.decode(challenge).map_err(|_| wrong("is no base64"))?;
        let message = String::from_utf8(message).map_err(|_| wrong("is no text"))?;
        let hash = self.mechanism.hash().filter(|_| self.expected.is_none());
        let hash = hash.ok_or_else(|| wrong("is out of turn"))?;
        let field = |name: &str| message.split(',').find_map(|field| field.strip_prefix(name));
        let (Some(nonce), Some(salt), Some(rounds)) = (field("r="), field("s="), field("i=")) else {
            return Err(wrong("lacks a field"));
        };
        if !nonce.starts_with(&self.nonce) {
            return Err(wrong("has another nonce"));
        }
        let rounds = rounds.parse().ok().filter(|rounds| (1..=MOST_ROUNDS).contains(rounds));
        let rounds = rounds.ok_or_else(|| wrong("asks for too many rounds"))?;
        let salt = STANDARD.decode(salt).map_err(|_| wrong("has a broken salt"))?;
        let keys = match ring.known.get(&self.account) {
            Some(keys) if keys.salt == salt && keys.rounds == rounds => keys.clone(),
            _ => {
                let keys = derive(&hash, &self.password, salt, rounds);
                ring.known.insert(self.account, keys.clone());
                keys
            }
        };
        let bare = format!("c=biws,r={nonce}");
        let signed = format!("{},{message},{bare}", self.first);
        let signature = mac(hash.hmac, &keys.stored, signed.as_bytes());
        let proof: Vec<u8> = keys.client.iter().zip(&signature).map(|(key, sign)| key ^ sign).collect();
        self.expected =
            Some(format!("v={}", STANDARD.encode(mac(hash.hmac, &keys.server, signed.as_bytes()))));
        Ok(STANDARD.encode(format!("{bare},p={}", STANDARD.encode(proof))))
    }

    /// Judges `<success/>`: the server must know the keys as well.
    pub(crate) fn success(&self, additional: &[u8]) -> Result<(), String> {
        let proven = match &self.expected {
            None => self.mechanism == Mechanism::Plain,
            Some(expected) => STANDARD.decode(additional).is_ok_and(|message| message == expected.as_bytes()),
        };
        if proven { Ok(()) } else { Err("login: the server does not know the password".to_owned()) }
    }
}

fn mac(algorithm: hmac::Algorithm, key: &[u8], data: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(algorithm, key), data).as_ref().to_vec()
}

fn derive(hash: &Hash, password: &str, salt: Vec<u8>, rounds: u32) -> Keys {
    let mut salted = vec![0; hash.digest.output_len()];
    let count = std::num::NonZeroU32::new(rounds).unwrap_or(std::num::NonZeroU32::MIN);
    pbkdf2::derive(hash.derive, count, &salt, password.as_bytes(), &mut salted);
    let client = mac(hash.hmac, &salted, b"Client Key");
    let stored = digest::digest(hash.digest, &client).as_ref().to_vec();
    let server = mac(hash.hmac, &salted, b"Server Key");
    Keys { salt, rounds, client, stored, server }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Vector {
        mechanism: Mechanism,
        nonce: &'static str,
        challenge: &'static str,
        response: &'static str,
        last: &'static str,
    }

    /// The examples of RFC 5802 §5 and RFC 7677 §3.
    const VECTORS: [Vector; 2] = [
        Vector {
            mechanism: Mechanism::ScramSha1,
            nonce: "fyko+d2lbbFgONRv9qkxdawL",
            challenge: "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            response: "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            last: "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        },
        Vector {
            mechanism: Mechanism::ScramSha256,
            nonce: "rOprNGfwEbeRWgbNEkqO",
            challenge: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            response: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            last: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        },
    ];

    #[test]
    fn the_rfcs_examples_come_out_twice_the_second_time_from_the_ring() {
        let mut ring = KeyRing::default();
        for (account, vector) in (0..).zip(&VECTORS) {
            for _ in 0..2 {
                let (mut exchange, initial) = Exchange::with_nonce(
                    vector.mechanism,
                    account,
                    "user",
                    "pencil",
                    vector.nonce.to_owned(),
                );
                assert_eq!(
                    STANDARD.decode(initial).unwrap(),
                    format!("n,,n=user,r={}", vector.nonce).as_bytes()
                );
                let response =
                    exchange.challenge(STANDARD.encode(vector.challenge).as_bytes(), &mut ring).unwrap();
                assert_eq!(STANDARD.decode(response).unwrap(), vector.response.as_bytes());
                exchange.success(STANDARD.encode(vector.last).as_bytes()).unwrap();
                assert!(exchange.success(STANDARD.encode("v=AAAA").as_bytes()).is_err());
                assert!(exchange.success(b"").is_err());
            }
        }
        assert_eq!(ring.known.len(), VECTORS.len());
    }

    #[test]
    fn a_challenge_that_is_none_is_refused() {
        let mut ring = KeyRing::default();
        let rounds = format!("r=abcd,s=AAAA,i={}", MOST_ROUNDS + 1);
        for challenge in
            ["", "r=abcd", "r=xyz,s=AAAA,i=4096", "r=abcd,s=!,i=4096", "r=abcd,s=AAAA,i=0", &rounds]
        {
            let (mut exchange, _) =
                Exchange::with_nonce(Mechanism::ScramSha1, 0, "user", "pencil", "abc".to_owned());
            assert!(
                exchange.challenge(STANDARD.encode(challenge).as_bytes(), &mut ring).is_err(),
                "{challenge}"
            );
        }
        let (mut exchange, _) = Exchange::with_nonce(Mechanism::Plain, 0, "user", "pencil", "abc".to_owned());
        assert!(exchange.challenge(b"====", &mut ring).is_err());
        exchange.success(b"").unwrap();
    }
}
