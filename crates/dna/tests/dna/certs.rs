//! Certificates, made for each test.

use std::time::Duration;

use nuncio_dna::{CertificateDer, Time, Trust};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    NameConstraints, PublicKeyData as _, RevokedCertParams, SerialNumber, date_time_ymd,
};

pub(crate) type Der = CertificateDer<'static>;

/// 2026-06-01T00:00:00Z.
pub(crate) const NOW: Time = Time::from_secs(1_780_272_000);

/// The end of what [`leaf`] makes: 2027-01-01T00:00:00Z.
pub(crate) const END: Time = Time::from_secs(1_798_761_600);

pub(crate) fn later(secs: u64) -> Time {
    NOW.after(Duration::from_secs(secs))
}

/// An authority.
pub(crate) struct Ca {
    pub(crate) der: Der,
    issuer: Issuer<'static, KeyPair>,
}

/// How an authority differs from the usual one, valid from 2020 to 2040.
#[derive(Clone, Copy, Default)]
pub(crate) struct CaSpec {
    pub(crate) length: Option<u8>,
    pub(crate) permitted: &'static [&'static str],
    pub(crate) excluded: &'static [&'static str],
    pub(crate) expired: bool,
    pub(crate) no_authority: bool,
}

impl Ca {
    pub(crate) fn root(name: &str) -> Self {
        Self::make(name, CaSpec::default(), None)
    }

    pub(crate) fn root_with(name: &str, spec: CaSpec) -> Self {
        Self::make(name, spec, None)
    }

    pub(crate) fn sub(&self, name: &str) -> Self {
        Self::make(name, CaSpec::default(), Some(self))
    }

    pub(crate) fn sub_with(&self, name: &str, spec: CaSpec) -> Self {
        Self::make(name, spec, Some(self))
    }

    fn make(name: &str, spec: CaSpec, above: Option<&Self>) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(if spec.expired { 2025 } else { 2040 }, 1, 1);
        params.is_ca = match (spec.no_authority, spec.length) {
            (true, _) => IsCa::ExplicitNoCa,
            (false, None) => IsCa::Ca(BasicConstraints::Unconstrained),
            (false, Some(length)) => IsCa::Ca(BasicConstraints::Constrained(length)),
        };
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        if !spec.permitted.is_empty() || !spec.excluded.is_empty() {
            let trees = |names: &[&str]| {
                names.iter().map(|name| GeneralSubtree::DnsName((*name).to_owned())).collect()
            };
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: trees(spec.permitted),
                excluded_subtrees: trees(spec.excluded),
            });
        }
        let der = match above {
            None => params.self_signed(&key),
            Some(above) => params.signed_by(&key, &above.issuer),
        };
        Self { der: der.unwrap().der().clone(), issuer: Issuer::new(params, key) }
    }

    /// A certificate under this authority.
    pub(crate) fn issue(&self, leaf: &Leaf<'_>) -> Der {
        leaf.params().signed_by(&leaf.key(), &self.issuer).unwrap().der().clone()
    }

    /// Its revocation list with these serial numbers, good until the beginning of that year.
    pub(crate) fn revokes(&self, serials: &[u64], until: i32) -> Vec<u8> {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2025, 1, 2),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2025, 1, 3),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.issuer).unwrap().der().to_vec()
    }

    pub(crate) fn spki(&self) -> Vec<u8> {
        self.issuer.key().subject_public_key_info()
    }
}

/// A server's certificate: what differs from one for `dns` from 2026 to 2027 with serverAuth only.
#[derive(Clone, Copy)]
pub(crate) struct Leaf<'a> {
    pub(crate) dns: &'a [&'a str],
    pub(crate) srv: &'a [&'a str],
    pub(crate) xmpp: &'a [&'a str],
    pub(crate) common: &'a str,
    pub(crate) purposes: &'a [ExtendedKeyUsagePurpose],
    pub(crate) years: (i32, i32),
    pub(crate) serial: u64,
    pub(crate) authority: bool,
    pub(crate) critical: bool,
    pub(crate) key: Option<&'a KeyPair>,
}

impl Default for Leaf<'_> {
    fn default() -> Self {
        Self {
            dns: &[],
            srv: &[],
            xmpp: &[],
            common: "a server",
            purposes: &[ExtendedKeyUsagePurpose::ServerAuth],
            years: (2026, 2027),
            serial: 7,
            authority: false,
            critical: false,
            key: None,
        }
    }
}

pub(crate) fn leaf<'a>(dns: &'a [&'a str]) -> Leaf<'a> {
    Leaf { dns, ..Leaf::default() }
}

/// The longest names here need one octet of length.
fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = vec![tag];
    match u8::try_from(content.len()) {
        Ok(length @ 0..=0x7f) => der.push(length),
        Ok(length) => der.extend([0x81, length]),
        Err(_) => der.extend([&[0x82][..], &u16::try_from(content.len()).unwrap().to_be_bytes()].concat()),
    }
    der.extend_from_slice(content);
    der
}

/// subjectAltName by hand: rcgen writes no IA5String into an otherName.
pub(crate) fn alternatives(dns: &[&str], srv: &[&str], xmpp: &[&str]) -> Vec<u8> {
    let other = |kind: u8, tag: u8, text: &str| {
        let oid = tlv(0x06, &[0x2b, 6, 1, 5, 5, 7, 8, kind]);
        tlv(0xa0, &[oid, tlv(0xa0, &tlv(tag, text.as_bytes()))].concat())
    };
    let names: Vec<u8> = dns
        .iter()
        .flat_map(|name| tlv(0x82, name.as_bytes()))
        .chain(srv.iter().flat_map(|name| other(7, 0x16, name)))
        .chain(xmpp.iter().flat_map(|name| other(5, 0x0c, name)))
        .collect();
    tlv(0x30, &names)
}

impl Leaf<'_> {
    fn key(&self) -> KeyPair {
        match self.key {
            Some(key) => KeyPair::from_der_and_sign_algo(
                &key.serialize_der().try_into().unwrap(),
                &rcgen::PKCS_ECDSA_P256_SHA256,
            )
            .unwrap(),
            None => KeyPair::generate().unwrap(),
        }
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if !self.common.is_empty() {
            params.distinguished_name.push(DnType::CommonName, self.common);
        }
        params.not_before = date_time_ymd(self.years.0, 1, 1);
        params.not_after = date_time_ymd(self.years.1, 1, 1);
        params.serial_number = Some(SerialNumber::from(self.serial));
        params.extended_key_usages = self.purposes.to_vec();
        if self.authority {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        if !(self.dns.is_empty() && self.srv.is_empty() && self.xmpp.is_empty()) {
            let der = alternatives(self.dns, self.srv, self.xmpp);
            params.custom_extensions.push(CustomExtension::from_oid_content(&[2, 5, 29, 17], der));
        }
        if self.critical {
            let mut unknown = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99_999, 1], vec![5, 0]);
            unknown.set_criticality(true);
            params.custom_extensions.push(unknown);
        }
        params
    }

    pub(crate) fn self_signed(&self) -> Der {
        self.params().self_signed(&self.key()).unwrap().der().clone()
    }
}

pub(crate) fn trust(authorities: &[&Ca]) -> Trust {
    let mut trust = Trust::new();
    for authority in authorities {
        trust.add_anchor(&authority.der).unwrap();
    }
    trust
}
