//! How the checker logs in at a relay, rightly and wrongly.

use nuncio_msrp::Uri;
use nuncio_msrp::digest::{Challenge, Credentials, Info, Secret};
use nuncio_net::OsEntropy;
use nuncio_sansio::Entropy as _;

use super::conversation::Frame;
use super::random;
use super::world::{Login, Stop, Who, World, fail, session};

/// What was sent for a login.
pub(super) struct Sent {
    credentials: Credentials,
    secret: Secret,
    header: String,
}

impl World {
    pub(super) async fn auth(&mut self, who: Who, login: Login) -> Result<(), Stop> {
        let Some((user, password)) = self.subject.login.clone().or_else(|| match login {
            Login::Bare | Login::Wrong => Some(("nobody".to_owned(), OsEntropy.token().into())),
            _ => None,
        }) else {
            return Err(self.no_login());
        };
        let expires = match login {
            Login::For(seconds) => format!("Expires: {seconds}|"),
            _ => String::new(),
        };
        if login == Login::Again {
            let header = self.login.as_ref().map(|sent| sent.header.clone()).unwrap_or_default();
            return self.authorize(who, &header, "").await;
        }
        self.authorize(who, "", &expires).await?;
        if login == Login::Bare || self.last.as_ref().and_then(Frame::status) != Some(401) {
            return Ok(());
        }
        let challenge = self.last.as_ref().and_then(|frame| {
            frame
                .head
                .all_fields("WWW-Authenticate")
                .filter_map(Challenge::parse)
                .max_by_key(|challenge| challenge.algorithm)
        });
        let Some(mut challenge) = challenge else {
            return Err(fail("the 401 has no Digest challenge with qop \"auth\"".to_owned()));
        };
        if login == Login::Invented {
            challenge.nonce = OsEntropy.token();
        }
        let password =
            if login == Login::Wrong { OsEntropy.token() } else { String::from(password.as_str()) };
        let relay = self.names.get("relay").cloned().unwrap_or_default();
        let (credentials, secret) = challenge.answer(&user, &password, &relay, 1, &OsEntropy);
        let header = format!("Authorization: {credentials}|");
        self.login = Some(Sent { credentials, secret, header: header.clone() });
        self.authorize(who, &header, &expires).await?;
        if let Some(way) = self.last.as_ref().and_then(|frame| frame.head.field("Use-Path")) {
            self.names.insert("way".to_owned(), way.to_owned());
        }
        if self.last.as_ref().and_then(Frame::status) == Some(200) {
            let proven = self.proven();
            self.names.insert("proven".to_owned(), proven.to_string());
        }
        Ok(())
    }

    /// Whether the last answer shows that the relay knows the password as well.
    fn proven(&self) -> bool {
        let info = self.last.as_ref().and_then(|frame| Info::parse(frame.head.field("Authentication-Info")?));
        let relay = self.names.get("relay").map(String::as_str).unwrap_or_default();
        match (info, &self.login) {
            (Some(info), Some(sent)) => info.verify(&sent.credentials, &sent.secret, relay),
            _ => false,
        }
    }

    /// One AUTH; its response, or the end, is what came last.
    async fn authorize(&mut self, who: Who, header: &str, expires: &str) -> Result<(), Stop> {
        self.names.remove("tauth");
        // Quoted strings have neither bars nor braces here, but passwords of others could.
        let head = self.fill("MSRP {tauth} AUTH|To-Path: {relay}|From-Path: {owner}|");
        let tail = self.fill(&format!("{expires}-------{{tauth}}$|"));
        let header = header.replace('|', "\r\n");
        let bytes = [head.as_slice(), header.as_bytes(), &tail].concat();
        let how = if header.is_empty() { "AUTH" } else { "AUTH with credentials" };
        self.note(who, '>', how);
        if let Some(to) = self.connections.get(&who) {
            to.write(bytes);
        }
        let tid = self.names.get("tauth").cloned().unwrap_or_default();
        let response = |frame: &Frame| frame.status().is_some() && frame.head.id.as_str() == tid;
        self.want(who, self.until(), "a response to AUTH", response).await
    }

    pub(super) async fn unguessable(&mut self, least: f64) -> Result<(), Stop> {
        let mut all = Vec::new();
        for _ in 0..8 {
            self.connections.remove(&Who::A);
            self.open(Who::A, true).await?;
            self.names.insert("owner".to_owned(), session("msrps://client.invalid:2855;tcp"));
            self.auth(Who::A, Login::Right).await?;
            let way = self.names.get("way").cloned().unwrap_or_default();
            let last = way.split(' ').next_back().and_then(|uri| Uri::parse(uri).ok());
            let Some(id) = last.as_ref().and_then(Uri::session_id) else {
                return Err(fail("there is no session id in the Use-Path".to_owned()));
            };
            all.push(id.to_owned());
        }
        let bits = random::bits(&all);
        self.lines.push(format!("A< 8 URIs with at most {bits:.0} random bits each, as {:?}", all.first()));
        if bits < least {
            return Err(fail(format!(
                "{least} random bits are demanded; 8 URIs differ in at most {bits:.0} bits that are not counters"
            )));
        }
        Ok(())
    }
}
