//! What would mend it: for every code of a cause, what who has to do.

/// What to change when this is the cause. `they` are the operators of the other domain.
#[must_use]
pub fn advice(code: &str) -> &'static str {
    match code {
        // --- finding and reaching them ---
        "not-a-domain" => "write the domain as in user@example.org, without anything before or after it",
        "no-such-domain" => {
            "check the spelling; if it is right, they have to publish an address or an SRV record _xmpp-server._tcp"
        }
        "no-such-service" => {
            "nothing, unless they change their SRV record, whose target `.` says that they talk to no other server"
        }
        "no-address" | "address-absent" | "no-endpoint" => {
            "they have to let their SRV records name a host that has an address, or give that host one"
        }
        "srv-failed" | "address-failed" | "tlsa-failed" => {
            "look whether your name server answers at all (federation.dns.servers); if it does, theirs have to answer"
        }
        "srv-bogus" | "address-bogus" | "tlsa-bogus" => {
            "they have to sign their zone anew, or mend the DS record above it; if nobody else sees this, your DNS answers are being changed on the way"
        }
        "srv-indeterminate" | "address-indeterminate" | "tlsa-indeterminate" => {
            "look whether the trust anchors are right (federation.dns.trust_anchors) and the name servers pass on DNSSEC"
        }
        "srv-insecure" | "address-insecure" | "tlsa-insecure" => {
            "they have to sign their zone, or prove themselves another way"
        }
        "dns-stale" => "look whether the clock is right",
        "dns-not-validated" => {
            "name a server that passes DNSSEC on (federation.dns.servers), or set federation.dns.validate to \"off\" or \"trust-ad\""
        }
        "federation-off" => "set federation.enabled = true, and serve a domain that others can find",
        "unreachable" => {
            "look whether a firewall on the way closes the port; else they have to let their server listen where DNS says it does"
        }
        "slow" | "silent" | "closed-by-peer" | "stream-lost" | "truncated" => {
            "try again later; if it stays, their log says why"
        }
        "host-unknown" | "host-gone" => {
            "they have to name, in their SRV records, the server that serves this domain, or let that server serve it"
        }
        "not-authorized" | "policy-violation" => {
            "they do not let this domain in: ask them why, not by this way"
        }
        "remote-connection-failed" => {
            "they cannot reach you to call back: this server must be found by DNS and reached from outside"
        }
        "resource-constraint" | "system-shutdown" | "undefined-condition" => {
            "try again later; if it stays, their log says why"
        }
        "protocol" | "stream-error" | "redirected" => "ask them: their log says more than they told us",
        "closed-here" | "unused" | "refused-here" => "look into this server's log",
        "no-connector" => "give this domain a certificate (domain[].certificate)",
        // --- TLS and certificates ---
        "no-tls" => {
            "they have to offer STARTTLS; if they say that they do, somebody on the way removes it; to talk without TLS, set federation.tls = \"optional\" and a policy that allows it"
        }
        "tls-failed" => {
            "compare the TLS versions and suites of both: TLS 1.2 with ECDHE and AEAD is the least here"
        }
        "no-certificate" => "they have to give their server a certificate, and let it present it",
        "self-signed"
        | "unknown-issuer"
        | "issuer-not-authority"
        | "issuer-expired"
        | "issuer-not-yet-valid"
        | "path-too-long"
        | "path-too-costly"
        | "chain-invalid"
        | "chain-too-long"
        | "bad-signature"
        | "unsupported-signature"
        | "critical-extension" => {
            "they have to present a certificate of a public authority with all intermediate certificates, or publish theirs by DANE or POSH; you can trust their authority (federation.authorities) or pin the certificate (federation.peer[].pins)"
        }
        "no-trust-anchors" => {
            "name authorities to trust (federation.authorities), or install the operating system's (package ca-certificates)"
        }
        "certificate-expired" => "they have to renew their certificate",
        "certificate-not-yet-valid" => {
            "look whether your clock is right; else they have to wait until it is valid"
        }
        "certificate-malformed" | "authority-as-server" | "wrong-purpose" => {
            "they have to get a certificate for a server (extKeyUsage serverAuth)"
        }
        "name-mismatch" | "name-constrained" => {
            "they have to get a certificate for their domain itself (not only for its host), or delegate by signed SRV records (DNSSEC) or POSH"
        }
        "name-only-in-subject" | "bad-wildcard" => {
            "they have to get a certificate that holds their domain as a subjectAltName, in full or with `*` as its first label"
        }
        "revoked" => "they have to replace the certificate; until then somebody else may have its key",
        "revocation-unknown" | "revocation-list-expired" | "revocation-list-unusable" => {
            "fetch the issuer's newest revocation list (federation.revocation_lists)"
        }
        "pin-mismatch" => {
            "ask them, not by this way, whether they have changed their certificate; then change federation.peer[].pins"
        }
        "not-pinned" => "pin their certificate (federation.peer[].pins)",
        // --- DANE ---
        "endpoint-not-delegated" | "not-delegated" => "they have to name the host in signed SRV records",
        "tlsa-mismatch" | "tlsa-name-mismatch" | "tlsa-chain-invalid" => {
            "they have to publish TLSA records for the certificate that they use (`nuncio tlsa` prints them) and remove old ones; if theirs are right, somebody stands between"
        }
        "tlsa-requires-tls" => {
            "they have to offer STARTTLS, as their TLSA records promise; if they do, somebody on the way removes it"
        }
        "tlsa-absent" | "tlsa-not-asked" | "tlsa-unusable" | "dane-ignored" => {
            "they can publish TLSA records (`nuncio tlsa` prints them)"
        }
        // --- POSH ---
        "posh-mismatch" | "posh-certificate" | "posh-stale" | "posh-expires-zero" => {
            "they have to publish a POSH document for the certificate that they use (`nuncio posh` prints it), before the old one expires"
        }
        "posh-private-address" => {
            "they have to serve the POSH document from a public address (federation.posh.allow_networks lets others in)"
        }
        code if code.starts_with("posh-") => {
            "they have to serve a valid POSH document over HTTPS at /.well-known/posh/xmpp-server.json (`nuncio posh` prints it), or to prove themselves another way"
        }
        // --- dialback ---
        "dialback-below-dane" | "dialback-other-certificate" | "dialback-unsolicited" => {
            "they have to prove themselves by a certificate: dialback is not enough here"
        }
        code if code.starts_with("dialback-") => {
            "their server has to answer dialback for this domain (XEP-0220), and yours has to be found by DNS and reached from outside"
        }
        "not-authenticated" => {
            "give this domain a certificate that they trust, or let them call back: this server must be reached by what DNS says"
        }
        "not-multiplexed" => "nothing: a connection of its own is used",
        // --- policy ---
        "peer-denied" => "remove the domain from federation.deny",
        "peer-not-allowed" => "add the domain to federation.allow",
        "policy-unmet" => {
            "they have to prove more, or you demand less of them (federation.require, federation.peer[].require)"
        }
        _ => "look into the logs of both servers",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every reason that `dna` can give has an advice of its own.
    #[test]
    fn nobody_is_left_without_advice() {
        let nothing = advice("no such code");
        let without: Vec<_> = nuncio_dna::Reason::TEXTS
            .iter()
            .map(|(code, _)| *code)
            .filter(|code| advice(code) == nothing)
            .collect();
        assert_eq!(without, [""; 0]);
    }
}
