//! Checks that no two listeners want the same address.

use std::net::{IpAddr, SocketAddr};

use super::Config;
use super::source::{At, Source};
use crate::serve;

/// One address that will be listened on.
struct Place {
    key: &'static str,
    index: usize,
    address: SocketAddr,
    /// It stands in the file, and is no default.
    written: bool,
}

/// Says which addresses stand twice, or are one another's.
pub(super) fn check(config: &Config, source: &mut Source) {
    let all = places(config);
    for (index, place) in all.iter().enumerate() {
        let Some(other) = all.iter().take(index).find(|other| clash(other, place)) else { continue };
        // Of a default and what is written, the latter is what somebody has to change.
        let (wrong, first) = if place.written || !other.written { (place, other) } else { (other, place) };
        let (address, theirs) = (wrong.address, first.address);
        let whose = match (wrong.key == first.key, address == theirs) {
            (true, true) => "stands twice".to_owned(),
            (true, false) => format!("is one with `{theirs}`, which stands there as well"),
            (false, true) if first.written => format!("is that of `{}` as well", first.key),
            (false, true) => format!("is that of `{}` as well, by default", first.key),
            (false, false) => format!("is one with `{theirs}` of `{}`", first.key),
        };
        let remedy = if wrong.key == first.key {
            "keep one of the two"
        } else {
            "take another port for one of the two"
        };
        source.say(&At::key(wrong.key).nth(wrong.index), format!("`{address}` {whose}"), remedy);
    }
}

fn places(config: &Config) -> Vec<Place> {
    let (listen, local) = (&config.listen, config.is_local());
    let (federated, relaying) = (crate::federation::is_on(config), crate::msrp::is_on(config));
    let mut all = Vec::new();
    for (on, key, configured, port) in [
        (true, "listen.c2s", listen.c2s.as_ref(), 5222),
        (true, "listen.c2s_tls", listen.c2s_tls.as_ref(), 5223),
        (federated, "listen.s2s", listen.s2s.as_ref(), 5269),
        (federated, "listen.s2s_tls", listen.s2s_tls.as_ref(), 5270),
        (relaying, "listen.msrp", listen.msrp.as_ref(), 2855),
        (relaying, "listen.msrp_websocket", Some(&listen.msrp_websocket), 0),
    ] {
        let (addresses, implied) = serve::addresses(configured, port, local);
        let place = |(index, address)| Place { key, index, address, written: !implied };
        all.extend(addresses.into_iter().enumerate().filter(|_| on).map(place));
    }
    let http = listen.http.as_deref().unwrap_or(&[nuncio_net::http::DEFAULT_ADDRESS]);
    let place = |(index, address): (usize, &SocketAddr)| Place {
        key: "listen.http",
        index,
        address: *address,
        written: listen.http.is_some(),
    };
    all.extend(http.iter().enumerate().map(place));
    all
}

/// Whether two sockets cannot listen on both. A port 0 is a different one each time.
fn clash(one: &Place, other: &Place) -> bool {
    let (a, b) = (one.address, other.address);
    let all = |ip: IpAddr| ip.is_unspecified();
    a.port() == b.port()
        && a.port() != 0
        && a.is_ipv4() == b.is_ipv4()
        && (a.ip() == b.ip() || all(a.ip()) || all(b.ip()))
}
