//! Whom to ask, and how long to wait.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use super::validate;

/// Where systems keep the addresses of their name servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The port of name servers.
const PORT: u16 = 53;

/// No more servers than these are taken from `resolv.conf`; the C library has the same bound.
const MOST_SERVERS: usize = 3;

/// The keys of the root, 2017 and 2024 (<https://data.iana.org/root-anchors/root-anchors.xml>).
const ROOT: &str = "\
. IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D
. IN DS 38696 8 2 683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16
";

/// Who checks the signatures of DNSSEC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Validation {
    /// Nobody: every answer is [`super::Security::Indeterminate`].
    #[default]
    Off,
    /// The name server, if it is on a loopback address: an answer of which it says that it has validated it (the AD bit, RFC 6840 §5.7) is
    /// [`super::Security::Secure`], any other [`super::Security::Insecure`]; for one that is bogus it answers SERVFAIL. Of any other server the bit says nothing,
    /// since whoever is on the way can set it: its answers are [`super::Security::Indeterminate`].
    TrustAd,
    /// This program, up to these anchors (RFC 4035 §5). The name servers must be recursive and pass signatures on; they need not validate. Zones that are signed with
    /// RSA, ECDSA or Ed25519 are checked; one that is signed with something else only, such as Ed448, counts as not signed (RFC 4035 §5.2).
    Local(Anchors),
}

/// The keys that validation ends at.
#[derive(Clone, PartialEq, Eq)]
pub struct Anchors(pub(super) Arc<str>);

/// The text holds no trust anchors.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no trust anchors: {0}")]
pub struct BadAnchors(pub(super) String);

impl Anchors {
    /// Those of the root of DNS.
    #[must_use]
    pub fn root() -> Self {
        Self(ROOT.into())
    }

    /// Reads DS or DNSKEY records, in the form of a zone file: absolute names, a class or none, one record a line.
    ///
    /// # Errors
    /// Something cannot be read, or there is nothing, or another type of record.
    pub fn parse(text: &str) -> Result<Self, BadAnchors> {
        validate::anchored(text)?;
        Ok(Self(text.into()))
    }
}

impl fmt::Debug for Anchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.lines()).finish()
    }
}

/// Settings of a [`super::Resolver`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsConfig {
    /// Recursive name servers, asked in this order.
    pub servers: Vec<SocketAddr>,
    /// Who checks signatures.
    pub validation: Validation,
    /// How long one server may take for one answer.
    pub timeout: Duration,
    /// How often all servers are asked.
    pub attempts: u32,
    /// How long a whole lookup may take, aliases included.
    pub patience: Duration,
    /// Answers that are remembered.
    pub cache: usize,
    /// No answer is remembered for longer, whatever its TTL.
    pub longest: Duration,
    /// Questions that may be open at once; more wait.
    pub open: usize,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            servers: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, PORT))],
            validation: Validation::Off,
            timeout: Duration::from_secs(5),
            attempts: 2,
            patience: Duration::from_secs(15),
            cache: 4096,
            longest: Duration::from_secs(24 * 60 * 60),
            open: 256,
        }
    }
}

impl DnsConfig {
    /// The settings of this system, from `/etc/resolv.conf`. Without that file a server on this machine is asked.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn system() -> io::Result<Self> {
        match std::fs::read(RESOLV_CONF) {
            Ok(text) => Ok(Self::from_resolv_conf(&String::from_utf8_lossy(&text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// The settings in a text of the form of `resolv.conf`: `nameserver` and, of `options`, `timeout`, `attempts` and `trust-ad`.
    /// What is not understood is ignored, as the C library does. Search lists do not matter here: every name is absolute.
    #[must_use]
    pub fn from_resolv_conf(text: &str) -> Self {
        let mut config = Self::default();
        let mut servers = Vec::new();
        for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => servers.extend(words.next().and_then(server)),
                Some("options") => words.for_each(|option| config.option(option)),
                _ => {}
            }
        }
        servers.truncate(MOST_SERVERS);
        if !servers.is_empty() {
            config.servers = servers;
        }
        config
    }

    fn option(&mut self, option: &str) {
        let number = |text: &str| text.parse::<u32>().ok();
        match option.split_once(':') {
            None if option == "trust-ad" => self.validation = Validation::TrustAd,
            Some(("timeout", seconds)) => {
                if let Some(seconds) = number(seconds) {
                    self.timeout = Duration::from_secs(u64::from(seconds.clamp(1, 30)));
                }
            }
            Some(("attempts", times)) => {
                if let Some(times) = number(times) {
                    self.attempts = times.clamp(1, 5);
                }
            }
            _ => {}
        }
    }
}

/// An address as `resolv.conf` has it, perhaps with a zone in digits.
fn server(text: &str) -> Option<SocketAddr> {
    if let Some((address, zone)) = text.split_once('%') {
        return Some(SocketAddrV6::new(address.parse().ok()?, PORT, 0, zone.parse().ok()?).into());
    }
    let address: IpAddr = text.parse().ok()?;
    Some(SocketAddr::new(address, PORT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_is_read_as_the_c_library_does() {
        let text = "# made by hand\n; and again\ndomain example.org\nnameserver 192.0.2.1\nnameserver nonsense\n\
                    nameserver\t2001:db8::1  # not this\nnameserver fe80::1%2\nnameserver 192.0.2.4\n\
                    options ndots:2 timeout:3 attempts:9 trust-ad edns0\nsearch example.org\n";
        let config = DnsConfig::from_resolv_conf(text);
        let wanted: Vec<SocketAddr> = vec![
            "192.0.2.1:53".parse().unwrap(),
            "[2001:db8::1]:53".parse().unwrap(),
            "[fe80::1%2]:53".parse().unwrap(),
        ];
        assert_eq!(config.servers, wanted);
        assert_eq!((config.timeout, config.attempts), (Duration::from_secs(3), 5));
        assert_eq!(config.validation, Validation::TrustAd);
        assert_eq!(
            DnsConfig::from_resolv_conf("options timeout:0 attempts:x\n").timeout,
            Duration::from_secs(1)
        );
        assert_eq!(DnsConfig::from_resolv_conf("").servers, DnsConfig::default().servers);
    }
    /// RFC 4034 §5.3, §2.2.
    #[test]
    fn anchors_are_keys_or_digests_of_keys() {
        assert!(Anchors::parse(ROOT).is_ok());
        let key = "test. 3600 IN DNSKEY 257 3 13 mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==";
        assert!(Anchors::parse(key).is_ok());
        for bad in [
            "",
            "; nothing",
            "nonsense",
            "test. 60 IN A 192.0.2.1",
            ". IN DS 1 8 2 zz",
            "test. IN DS 20326 8 2",
        ] {
            assert!(Anchors::parse(bad).is_err(), "{bad}");
        }
    }
}
