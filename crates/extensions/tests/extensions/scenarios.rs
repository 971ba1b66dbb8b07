//! Scenarios as text, one file an XEP in `scenarios/`. A line is
//!
//! ```text
//! ## A title           a new server, whose accounts are juliet, nurse (administrator), romeo and tybalt
//! # a remark
//! @ on NAME            (before the first client) the extension is on; `off` likewise
//! @ config NAME JSON   (before the first client) its table
//! @ time SECONDS       the clock goes on
//! @ restart            another process with the same store; nobody is connected
//! @ friends            juliet and romeo see each other's presence: romeo's and juliet's rosters have each other as `both`
//! + juliet/a           binds a resource          ++ juliet/a   and is available; what comes of that is not looked at
//! - juliet/a           closes its stream         -- juliet/a   loses its connection
//! % juliet/a           enables stream management %% juliet/a H resumes after `--`, having handled H stanzas
//! juliet/a > XML       sends a stanza            juliet/a >> XML  an element that is no stanza
//! ? > XML              asks before login         ?juliet > XML    after login, before a resource is bound
//! juliet/a < PATTERN   has got this, in this order (`pattern.rs`); `? < PATTERN` the answer before login
//! juliet/a ! CONDITION its stream was closed with this error; `-` for none
//! ```
//! Lines that begin with a blank go on with the line before. After each act everything that all clients got must have been named.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use nuncio_extensions::ALL;
use nuncio_router::store::Store;
use nuncio_router::{Extension, Router, RouterConfig};

use crate::harness::{ACCOUNTS, ByHand, Client, add, bare, config, start};
use crate::pattern::{Names, fill, fits};

macro_rules! files {
    ($($name:literal),* $(,)?) => { &[$(($name, include_str!(concat!("scenarios/", $name, ".txt")))),*] };
}

pub(crate) const FILES: &[(&str, &str)] = files![
    "blocking",
    "caps",
    "carbons",
    "commands",
    "contact",
    "csi",
    "disco",
    "external_services",
    "last",
    "ping",
    "private",
    "register",
    "stanza_id",
    "time",
    "vcard",
    "version",
];

/// The scenarios of a file: title and lines.
pub(crate) fn scenarios(text: &str) -> Vec<(String, Vec<String>)> {
    let mut all: Vec<(String, Vec<String>)> = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            all.push((title.to_owned(), Vec::new()));
        } else if line.is_empty() || line.starts_with('#') {
        } else if let Some((_, lines)) = all.last_mut() {
            match (line.strip_prefix(' '), lines.last_mut()) {
                (Some(more), Some(last)) => last.push_str(more.trim_start()),
                _ => lines.push(line.to_owned()),
            }
        }
    }
    all
}

/// A scenario that is played.
pub(crate) struct Stage {
    config: RouterConfig,
    extensions: Vec<Extension>,
    clock: Arc<ByHand>,
    store: Store,
    router: Option<Arc<Router>>,
    clients: BTreeMap<String, Client>,
    /// Ids for resumption.
    previds: BTreeMap<String, String>,
    names: Names,
    /// What came and was not named yet.
    got: BTreeMap<String, Vec<String>>,
    /// Everything that came, in order.
    pub(crate) transcript: String,
}

impl Stage {
    pub(crate) fn new(extensions: &[Extension]) -> Self {
        Self {
            config: config(),
            extensions: extensions.to_vec(),
            clock: ByHand::new(),
            store: Store::memory(),
            router: None,
            clients: BTreeMap::new(),
            previds: BTreeMap::new(),
            names: Names::new(),
            got: BTreeMap::new(),
            transcript: String::new(),
        }
    }

    async fn router(&mut self) -> Arc<Router> {
        if let Some(router) = &self.router {
            return Arc::clone(router);
        }
        let clock = Arc::clone(&self.clock);
        let router = start(self.config.clone(), self.store.clone(), clock, &self.extensions).await;
        if router.accounts(None, 1).await.unwrap().is_empty() {
            add(&router, &ACCOUNTS).await;
        }
        self.router = Some(Arc::clone(&router));
        router
    }

    async fn drain(&mut self) {
        // A close of one may tell another something: until nobody gets anything.
        loop {
            let mut any = false;
            for (name, client) in &mut self.clients {
                for stanza in client.drain().await {
                    any = true;
                    writeln!(self.transcript, "{name} < {stanza}").unwrap();
                    self.got.entry(name.clone()).or_default().push(stanza);
                }
            }
            if !any {
                return;
            }
        }
    }

    fn client(&mut self, name: &str) -> &mut Client {
        self.clients.get_mut(name).unwrap_or_else(|| panic!("{name} is not there"))
    }

    async fn bind(&mut self, name: &str) {
        let router = self.router().await;
        let (account, resource) = name.split_once('/').unwrap();
        let mut client = Client::connect(&router);
        client.bind(&bare(account), resource).await;
        self.clients.insert(name.to_owned(), client);
    }

    /// Presence goes both ways.
    async fn friends(&mut self) {
        for (one, two) in [("juliet", "romeo"), ("romeo", "juliet")] {
            for (who, whom, kind) in [(one, two, "subscribe"), (two, one, "subscribed")] {
                let name = format!("{who}/friends");
                self.bind(&name).await;
                self.client(&name).send(&format!("<presence to='{whom}@localhost' type='{kind}'/>")).await;
                self.drain().await;
                self.clients.remove(&name).unwrap().leave().await;
            }
        }
        self.got.clear();
    }

    async fn directive(&mut self, words: &str) {
        let (word, rest) = words.split_once(' ').unwrap_or((words, ""));
        match word {
            "on" | "off" => {
                self.config.enabled.insert(rest.to_owned(), word == "on");
            }
            "config" => {
                let (name, table) = rest.split_once(' ').unwrap();
                self.config.extensions.insert(name.to_owned(), serde_json::from_str(table).unwrap());
            }
            "time" => {
                let by = Duration::from_secs(rest.parse().unwrap());
                self.clock.advance(by);
                tokio::time::advance(by).await;
            }
            "restart" => {
                self.clients.clear();
                self.router = None;
            }
            "friends" => self.friends().await,
            _ => panic!("no directive {word}"),
        }
    }

    /// Plays a line that is an act; false if it says what must have come.
    async fn act(&mut self, line: &str) -> bool {
        let (first, rest) = line.split_once(' ').unwrap();
        let (second, xml) = rest.split_once(' ').unwrap_or((rest, ""));
        match (first, second) {
            ("@", _) => self.directive(rest).await,
            ("+", name) => self.bind(name).await,
            ("++", name) => {
                self.bind(name).await;
                self.client(name).send("<presence/>").await;
                self.drain().await;
                self.got.clear();
            }
            ("-", name) => self.clients.remove(name).unwrap().leave().await,
            ("--", name) => self.clients.remove(name).unwrap().lose().await,
            ("%", name) => {
                let id = self.client(name).enable().await;
                self.previds.insert(name.to_owned(), id);
            }
            ("%%", name) => {
                let router = self.router().await;
                let account = bare(name.split_once('/').unwrap().0);
                let previd = self.previds.get(name).unwrap().clone();
                let mut client = Client::connect(&router);
                client.resume(&account, &previd, xml.parse().unwrap()).await;
                self.clients.insert(name.to_owned(), client);
            }
            (who, ">") if who.starts_with('?') => {
                let router = self.router().await;
                let account = who.strip_prefix('?').filter(|who| !who.is_empty()).map(bare);
                let xml = fill(xml, &self.names);
                let reply = Client::connect(&router).unbound(account.as_ref(), &xml).await;
                writeln!(self.transcript, "{who} < {reply:?}").unwrap();
                self.got.entry(who.to_owned()).or_default().extend(reply);
            }
            (name, ">") => {
                let xml = fill(xml, &self.names);
                self.client(name).send(&xml).await;
            }
            (name, ">>") => self.client(name).nonza(xml).await,
            _ => return false,
        }
        true
    }

    /// What a client gets when it sends something.
    pub(crate) async fn ask(&mut self, name: &str, xml: &str) -> Vec<String> {
        self.client(name).send(xml).await;
        self.drain().await;
        self.got.remove(name).unwrap_or_default()
    }

    /// Plays a scenario.
    pub(crate) async fn play(&mut self, what: &str, lines: &[String]) {
        for line in lines {
            let (first, rest) = line.split_once(' ').unwrap();
            let is_expectation = rest.starts_with("< ") || rest.starts_with("! ");
            if !is_expectation {
                self.settled(what, line);
                assert!(self.act(line).await, "{what}: what does this mean: {line}");
                self.drain().await;
                continue;
            }
            let (sign, pattern) = rest.split_once(' ').unwrap();
            if sign == "!" {
                let closed = self.client(first).closed.take();
                let expected = if pattern == "-" { "" } else { pattern };
                assert_eq!(closed.as_deref(), Some(expected), "{what}: {line}");
                self.clients.remove(first);
                continue;
            }
            let got = self.got.entry(first.to_owned()).or_default();
            assert!(!got.is_empty(), "{what}: nothing came for: {line}");
            let stanza = got.remove(0);
            let pattern = fill(pattern, &self.names);
            assert!(
                fits(&pattern, &stanza, &mut self.names),
                "{what}: expected\n  {first} < {pattern}\nbut got\n  {stanza}\nand then\n  {got:#?}"
            );
        }
        self.settled(what, "the end");
    }

    fn settled(&mut self, what: &str, before: &str) {
        self.got.retain(|_, got| !got.is_empty());
        assert!(self.got.is_empty(), "{what}: before \"{before}\" came too much: {:#?}", self.got);
        for (name, client) in &self.clients {
            assert!(
                client.closed.is_none(),
                "{what}: before \"{before}\" {name} was closed: {:?}",
                client.closed
            );
        }
    }
}

/// Plays all scenarios of all files with these extensions; returns the transcripts.
pub(crate) async fn play_all(extensions: &[Extension]) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (file, text) in FILES {
        let scenarios = scenarios(text);
        assert!(!scenarios.is_empty(), "{file} has no scenario");
        for (title, lines) in scenarios {
            let what = format!("{file}: {title}");
            let mut stage = Stage::new(extensions);
            stage.play(&what, &lines).await;
            all.push((what, stage.transcript));
        }
    }
    all
}

macro_rules! tests {
    ($($name:ident),* $(,)?) => {
        $(#[tokio::test(start_paused = true)]
        async fn $name() {
            let name = stringify!($name);
            let (_, text) = FILES.iter().find(|(file, _)| *file == name).unwrap();
            for (title, lines) in scenarios(text) {
                println!("{name}: {title}");
                Stage::new(ALL).play(&format!("{name}: {title}"), &lines).await;
            }
        })*

        #[test]
        fn every_file_is_played() {
            let played = [$(stringify!($name)),*];
            let files: Vec<_> = FILES.iter().map(|(file, _)| *file).collect();
            assert_eq!(files, played);
        }
    };
}

tests![
    blocking,
    caps,
    carbons,
    commands,
    contact,
    csi,
    disco,
    external_services,
    last,
    ping,
    private,
    register,
    stanza_id,
    time,
    vcard,
    version,
];
