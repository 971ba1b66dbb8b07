//! Relays of our own: who logs in there, and where the credentials come from.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use jiff::Timestamp;
use nuncio_client::{ClientConfig, RequestError, Session};
use nuncio_endpoint::msrp::{Scheme, Uri};
use nuncio_endpoint::{Endpoint, RelayAccount, Renewal, Route};
use nuncio_xmpp::jid::Jid;
use nuncio_xmpp::ns;
use nuncio_xmpp::xml::{Builder, ElementRef};
use serde_json::json;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::cli::{Credentials, Login, Trust};
use super::{CLOSING, hints, printable, relay, wrong};
use crate::login;

/// The service type of MSRP relays (XEP-0215).
const MSRP: &str = "msrp";
/// New credentials are not asked for more often.
const LEAST: Duration = Duration::from_secs(10);

/// A relay and the credentials for it, as a server gives them (XEP-0215).
struct Service {
    host: String,
    port: Option<u16>,
    transport: String,
    username: String,
    password: Zeroizing<String>,
    /// Until when they are good.
    expires: Option<Timestamp>,
}

impl Service {
    /// What a server says of a service, if it is enough to log in there.
    fn read(service: ElementRef<'_>) -> Option<Self> {
        let attr = |name: &str| service.attr(name).map(|value| printable(&value));
        Some(Self {
            host: attr("host")?,
            port: attr("port").map(|port| port.parse()).transpose().ok()?,
            transport: attr("transport").unwrap_or_else(|| "tcp".to_owned()),
            username: service.attr("username")?.into_owned(),
            password: service.attr("password")?.into_owned().into(),
            expires: attr("expires").and_then(|expires| expires.parse().ok()),
        })
    }

    /// Its URI, as `--relay` takes it.
    fn uri(&self) -> String {
        let bare = self.host.contains(':') && !self.host.starts_with('[');
        let host = if bare { format!("[{}]", self.host) } else { self.host.clone() };
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("msrps://{host}{port};{}", self.transport)
    }

    /// Whether this is it, as far as the URI says.
    fn is(&self, relay: &Uri) -> bool {
        let host = relay.host().to_string();
        host.trim_matches(['[', ']']).eq_ignore_ascii_case(self.host.trim_matches(['[', ']']))
            && relay.port().is_none_or(|port| self.port == Some(port))
    }
}

/// Logs in by XMPP and asks for the relays, with credentials.
async fn fetch(config: ClientConfig) -> anyhow::Result<Vec<Service>> {
    let domain = config.account.domain().to_owned();
    let mut session = Box::pin(login::connect(config)).await?;
    let found = services(&mut session, &domain).await;
    drop(timeout(CLOSING, session.close()).await);
    let found = found?;
    if found.is_empty() {
        bail!("{domain} has no MSRP relay for this account (XEP-0215)");
    }
    Ok(found)
}

async fn services(session: &mut Session, domain: &str) -> anyhow::Result<Vec<Service>> {
    let server = Jid::new(domain)?;
    let told = |error: RequestError| match error {
        RequestError::Refused(error) => anyhow!("{domain} names no MSRP relay (XEP-0215): {error}"),
        error => {
            anyhow::Error::from(error).context(format!("{domain} was asked for its MSRP relay (XEP-0215)"))
        }
    };
    let wanted = Builder::new("services", ns::EXTDISCO).attr("type", MSRP);
    let answer = session.get(Some(&server), wanted).await.map_err(told)?;
    let all = answer.payload().into_iter().flat_map(|payload| payload.children());
    let is_msrp = |service: &ElementRef<'_>| {
        service.name() == "service" && service.attr("type").is_some_and(|kind| kind == MSRP)
    };
    let mut found = Vec::new();
    for service in all.filter(is_msrp) {
        if let Some(service) = Service::read(service) {
            found.push(service);
            continue;
        }
        // XEP-0215 §3.3: credentials that are not given with the service are asked for.
        let copy = Builder::new("service", ns::EXTDISCO)
            .attr("type", MSRP)
            .attr_opt("host", service.attr("host"))
            .attr_opt("port", service.attr("port"));
        let wanted = Builder::new("credentials", ns::EXTDISCO).child(copy);
        let answer = session.get(Some(&server), wanted).await.map_err(told)?;
        let given = answer.payload().into_iter().flat_map(|payload| payload.children());
        found.extend(given.filter(is_msrp).filter_map(Service::read));
    }
    Ok(found)
}

/// `nuncio msrp credentials`.
pub(super) async fn print(given: Credentials) -> anyhow::Result<bool> {
    let account = login::account(&given.jid)?;
    let (password, _) = login::password(&given.secret)?;
    let config = login::config(account, &password, &given.ca, &given.access)?;
    let found = match timeout(Duration::from_secs(given.timeout), fetch(config)).await {
        Ok(found) => found?,
        Err(_) => bail!("no answer of the server within {} s (--timeout)", given.timeout),
    };
    if given.json {
        let row = |service: &Service| {
            json!({
                "relay": service.uri(), "host": service.host, "port": service.port, "transport": service.transport,
                "username": service.username, "password": *service.password,
                "expires": service.expires.map(|expires| expires.to_string()),
            })
        };
        let rows: Vec<_> = found.iter().map(row).collect();
        say!("{}", serde_json::to_string_pretty(&json!({"services": rows}))?)?;
        return Ok(true);
    }
    for (number, service) in found.iter().enumerate() {
        let port = service.port.map_or_else(|| "-".to_owned(), |port| port.to_string());
        let expires = service.expires.map_or_else(|| "-".to_owned(), |expires| expires.to_string());
        say!(
            "{}relay      {}\nhost       {}\nport       {port}\ntransport  {}\nusername   {}\npassword   {}\nexpires    {expires}",
            if number > 0 { "\n" } else { "" },
            service.uri(),
            service.host,
            service.transport,
            printable(&service.username),
            printable(&service.password),
        )?;
    }
    Ok(true)
}

/// Who logs in.
enum Who {
    User(String, Zeroizing<String>),
    /// Whoever the server of this account says, with credentials that it gives.
    Account(Box<ClientConfig>),
}

/// Relays, and who logs in there.
pub(super) struct Relays {
    /// As they were named; none: the one that the account's server names.
    named: Vec<Uri>,
    who: Who,
    expires: Option<u32>,
    md5: bool,
}

impl Relays {
    /// As the options say; and what followed the password on standard input. None if there is to be no relay.
    pub(super) fn new(login: &Login, trust: &Trust) -> anyhow::Result<(Option<Arc<Self>>, Option<String>)> {
        if login.account.is_none()
            && let Some(option) = login.access.used()
        {
            return Err(wrong(format!("{option}: it is for the login by XMPP: --account is missing")));
        }
        if login.relay.is_empty() && login.account.is_none() {
            let secret = &login.secret;
            let unused = [
                (login.user.is_some(), "--user"),
                (login.expires.is_some(), "--expires"),
                (login.no_md5, "--no-md5"),
                (secret.password_file.is_some(), "--password-file"),
                (secret.password_stdin, "--password-stdin"),
            ];
            return match unused.into_iter().find(|(used, _)| *used) {
                Some((_, option)) => Err(wrong(format!(
                    "{option}: there is nowhere to log in: --relay or --account is missing"
                ))),
                None => Ok((None, None)),
            };
        }
        let named = |text: &String| {
            let relay = relay(text)?;
            if relay.scheme() != Scheme::Msrps {
                return Err(wrong(format!("{text}: credentials are sent over TLS only: msrps is wanted")));
            }
            Ok(relay)
        };
        let named = login.relay.iter().map(named).collect::<anyhow::Result<_>>()?;
        let account = login.account.as_deref().map(login::account).transpose()?;
        if account.is_none() && login.user.is_none() {
            return Err(wrong(
                "a relay wants a login: --user, or --account of an XMPP server that gives credentials for it",
            ));
        }
        let (password, rest) = login::password(&login.secret)?;
        let who = match (account, &login.user) {
            (Some(account), _) => {
                Who::Account(Box::new(login::config(account, &password, &trust.ca, &login.access)?))
            }
            (None, user) => Who::User(user.clone().unwrap_or_default(), password),
        };
        let relays = Self { named, who, expires: login.expires, md5: !login.no_md5 };
        Ok((Some(Arc::new(relays)), rest))
    }

    /// The accounts at the relays, and until when they are good.
    async fn accounts(&self) -> anyhow::Result<(Vec<RelayAccount>, Option<Timestamp>)> {
        let account = |relay: Uri, username: &str, password: &Zeroizing<String>| RelayAccount {
            relay,
            username: username.to_owned(),
            password: password.clone(),
            expires: self.expires,
            md5: self.md5,
        };
        let config = match &self.who {
            Who::User(username, password) => {
                let all = self.named.iter().map(|relay| account(relay.clone(), username, password));
                return Ok((all.collect(), None));
            }
            Who::Account(config) => config,
        };
        let mut found = fetch((**config).clone()).await?;
        found.retain(|service| service.transport.eq_ignore_ascii_case("tcp"));
        let domain = config.account.domain();
        let Some(first) = found.first() else {
            bail!("{domain} names no MSRP relay that is spoken to by TCP")
        };
        if self.named.is_empty() {
            let uri =
                relay(&first.uri()).with_context(|| format!("{domain} names a relay that cannot be used"))?;
            return Ok((vec![account(uri, &first.username, &first.password)], first.expires));
        }
        let mut all = Vec::new();
        let mut until = None;
        for relay in &self.named {
            // A relay may go by other names than its server says.
            let service = found.iter().find(|service| service.is(relay)).unwrap_or(first);
            until = until.into_iter().chain(service.expires).min();
            all.push(account(relay.clone(), &service.username, &service.password));
        }
        Ok((all, until))
    }

    /// Logs in. Credentials that end are fetched anew in time, as long as the second value is kept.
    pub(super) async fn route(self: &Arc<Self>, endpoint: &Endpoint) -> anyhow::Result<(Route, Renewing)> {
        let (accounts, until) = self.accounts().await?;
        let route = Box::pin(endpoint.route(&accounts)).await.map_err(hints::relay)?;
        let renew = |until| tokio::spawn(Arc::clone(self).renew(route.renewal(), until)).abort_handle();
        let renewing = until.map(renew);
        Ok((route, Renewing(renewing)))
    }

    /// What a relay says that has closed the connection, which in MSRP it does without a word: it is asked once more.
    pub(super) async fn said(&self, endpoint: &Endpoint) -> String {
        let again = async {
            let (accounts, _) = self.accounts().await?;
            Box::pin(endpoint.route(&accounts)).await.map_err(hints::relay)
        };
        match timeout(CLOSING, Box::pin(again)).await {
            Ok(Ok(_)) => "asked again, it takes the login".to_owned(),
            Ok(Err(error)) => format!("asked again: {}", crate::out::whole(&error)),
            Err(_) => "asked again, it does not answer".to_owned(),
        }
    }

    /// Fetches new credentials when half of the time is over.
    async fn renew(self: Arc<Self>, renewal: Renewal, mut until: Timestamp) {
        let mut told = false;
        loop {
            let left = Duration::try_from(until.duration_since(Timestamp::now())).unwrap_or_default();
            sleep((left / 2).max(LEAST)).await;
            match self.again(&renewal).await {
                Ok(Some(next)) => (until, told) = (next, false),
                Ok(None) => return,
                // The relay ends what is not renewed, and that is told.
                Err(_) if told => {}
                Err(error) => {
                    told = true;
                    complain!(
                        "nuncio: the credentials for the relay are not renewed yet: {}",
                        crate::out::whole(&error)
                    );
                }
            }
        }
    }

    async fn again(&self, renewal: &Renewal) -> anyhow::Result<Option<Timestamp>> {
        let (accounts, until) = self.accounts().await?;
        renewal.renew(&accounts).await?;
        Ok(until)
    }
}

/// Renews credentials until it is dropped.
pub(super) struct Renewing(Option<AbortHandle>);

impl Drop for Renewing {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// XEP-0215 §3.1: hosts are names or addresses, and a port may be missing.
    #[test]
    fn relays_as_servers_name_them() {
        let service = |host: &str, port| Service {
            host: host.to_owned(),
            port,
            transport: "tcp".to_owned(),
            username: String::new(),
            password: Zeroizing::default(),
            expires: None,
        };
        for (host, port, uri) in [
            ("relay.example", Some(2855), "msrps://relay.example:2855;tcp"),
            ("relay.example", None, "msrps://relay.example;tcp"),
            ("2001:db8::1", Some(2855), "msrps://[2001:db8::1]:2855;tcp"),
        ] {
            let service = service(host, port);
            assert_eq!(service.uri(), uri);
            let relay = relay(uri).unwrap();
            assert!(service.is(&relay) && relay.to_string() == uri);
            assert!(!service.is(&Uri::parse("msrps://other.example:2855;tcp").unwrap()));
        }
        let here = service("Relay.example", Some(2855));
        assert!(here.is(&relay("relay.example").unwrap()));
        assert!(!here.is(&relay("relay.example:2856").unwrap()));
    }
}
