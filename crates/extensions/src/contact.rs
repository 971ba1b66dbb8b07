//! XEP-0157 Contact Addresses for XMPP Services: the operator's addresses in the server's disco#info.

use nuncio_router::disco::{About, Disco, Info};
use nuncio_router::{At, ConfigError, Cx, DomainConfig, Extension, Host, Xep};
use nuncio_xmpp::ns;
use nuncio_xmpp::payload::FieldType;

/// See the module.
pub const EXTENSION: Extension = Extension {
    name: "contact",
    xeps: &[Xep { number: 157, version: "1.1.1", title: "Contact Addresses for XMPP Services" }],
    needs: &["disco"],
    default_on: true,
    plug,
};

fn plug(host: &mut Host<'_>) -> Result<(), ConfigError> {
    let domains = host.router().domains.clone();
    host.disco(Contact(domains));
    Ok(())
}

struct Contact(Vec<DomainConfig>);

impl Disco for Contact {
    fn info(&self, _cx: &Cx<'_>, about: &About<'_>, out: &mut Info) {
        if about.place.at != At::Server || about.node.is_some() {
            return;
        }
        let Some(domain) = self.0.iter().find(|domain| domain.name == about.place.jid.domain()) else {
            return;
        };
        let contacts = &domain.contacts;
        for (field, addresses) in [
            ("abuse-addresses", &contacts.abuse),
            ("admin-addresses", &contacts.admin),
            ("feedback-addresses", &contacts.feedback),
            ("sales-addresses", &contacts.sales),
            ("security-addresses", &contacts.security),
            ("support-addresses", &contacts.support),
        ] {
            if !addresses.is_empty() {
                out.field(ns::SERVERINFO, field, Some(FieldType::ListMulti), addresses.iter().cloned());
            }
        }
    }
}
