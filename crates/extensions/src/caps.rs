//! XEP-0115 Entity Capabilities, the server's own: a hash of its disco#info in the stream features (§6.3), and the node it names.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use nuncio_router::disco::{About, Disco, Info};
use nuncio_router::points::Greeter;
use nuncio_router::stream::c2s::Moment;
use nuncio_router::{At, ConfigError, Cx, Extension, Host, Place, Xep};
use nuncio_xmpp::jid::Jid;
use nuncio_xmpp::ns;
use nuncio_xmpp::payload::{Caps, caps};
use nuncio_xmpp::xml::Builder;
use parking_lot::Mutex;
use sha1::{Digest as _, Sha1};

/// See the module.
pub const EXTENSION: Extension = Extension {
    name: "caps",
    xeps: &[Xep { number: 115, version: "1.6.0", title: "Entity Capabilities" }],
    needs: &["disco"],
    default_on: true,
    plug,
};

const NODE: &str = "urn:nuncio:server";

fn plug(host: &mut Host<'_>) -> Result<(), ConfigError> {
    host.feature(ns::CAPS);
    host.disco(ByHash);
    host.greeter(Offer::default())
}

fn info_of(cx: &Cx<'_>, domain: &str) -> Option<Info> {
    let jid = Jid::new(domain).ok()?;
    let place = Place { at: At::Server, jid: jid.clone() };
    Some(cx.router.disco_info(&About { place: &place, asker: &jid, node: None }))
}

/// The verification string of §5.1, hashed. None if our own information is ill-formed, which then goes without a hash.
fn hash(info: &Info) -> Option<String> {
    let text = caps::verification_string(&info.payload(None));
    let text =
        text.inspect_err(|why| tracing::error!(%why, "the server's own information has no hash")).ok()?;
    Some(STANDARD.encode(Sha1::digest(text.as_bytes())))
}

/// How long a hash is offered before it is made anew, in seconds: every login is offered one.
const FRESH: i64 = 10;

/// The hashes of the domains, and when they were made.
#[derive(Default)]
struct Offer(Mutex<HashMap<String, (Timestamp, Option<String>)>>);

impl Offer {
    fn ver(&self, cx: &Cx<'_>, domain: &str) -> Option<String> {
        let fresh = |made: Timestamp| (0..FRESH).contains(&(cx.now.as_second() - made.as_second()));
        if let Some((made, ver)) = self.0.lock().get(domain)
            && fresh(*made)
        {
            return ver.clone();
        }
        let ver = info_of(cx, domain).and_then(|info| hash(&info));
        self.0.lock().insert(domain.to_owned(), (cx.now, ver.clone()));
        ver
    }
}

impl Greeter for Offer {
    fn offer(&self, cx: &Cx<'_>, at: &Moment) -> Option<Builder> {
        let who = at.authenticated.as_ref()?;
        let ver = self.ver(cx, who.account().domain())?;
        Some(Caps { hash: "sha-1".to_owned(), node: NODE.to_owned(), ver }.builder())
    }
}

/// Answers for the node `NODE#ver` (§6.2) as for no node, as long as the hash is the present one.
struct ByHash;

impl Disco for ByHash {
    fn info(&self, cx: &Cx<'_>, about: &About<'_>, out: &mut Info) {
        let Some(ver) = about.node.and_then(|node| node.strip_prefix(NODE)?.strip_prefix('#')) else {
            return;
        };
        if about.place.at == At::Server
            && let Some(own) = info_of(cx, about.place.jid.domain())
            && hash(&own).is_some_and(|own| own == ver)
        {
            *out = own;
        }
    }
}
