//! How extensions are declared and registered. Two owners of anything are a start-up error.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::sync::Arc;

use hashbrown::HashMap;
use nuncio_store::{Blobs, Fault, Log, Look, Store, Table};
use nuncio_xmpp::stanza::{IqType, Stanza};
use nuncio_xmpp::xml::Builder;
use serde::de::DeserializeOwned;

use crate::commands::Command;
use crate::config::RouterConfig;
use crate::disco::Disco;
use crate::facts::Fact;
use crate::points::{
    AnyHandler, At, Copier, CopyAt, Cx, Greeter, Handler, Join as _, Judge, Listener, Load, Name, Pacer,
    Police, PoliceAt, Question, Stamp, StampAt, Standing, Verdict, Wants,
};
use crate::slots::{AccountSlot, Life, SessionSlot, Slots};

/// One extension, as the static list names it.
#[derive(Clone, Copy, Debug)]
pub struct Extension {
    /// Its name: also its table in the configuration, `extensions.NAME`.
    pub name: &'static str,
    /// What it implements, for disco, the DOAP file and the manual.
    pub xeps: &'static [Xep],
    /// Extensions that must be on too.
    pub needs: &'static [&'static str],
    /// Whether it is on unless configured otherwise (`extensions.NAME.enabled`).
    pub default_on: bool,
    /// Registers what it is.
    pub plug: fn(&mut Host<'_>) -> Result<(), ConfigError>,
}

/// A XEP and the version implemented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Xep {
    /// Its number.
    pub number: u16,
    /// The version.
    pub version: &'static str,
    /// Its title.
    pub title: &'static str,
}

/// Why the server cannot start with these extensions and this configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Two extensions own the same thing.
    #[error("extensions {one} and {two} both own {what}; switch one of them off")]
    Conflict {
        /// The first.
        one: &'static str,
        /// The second.
        two: &'static str,
        /// What they own.
        what: String,
    },
    /// Something that an extension needs is off.
    #[error("extension {name} needs {needs}; switch {needs} on or {name} off")]
    Needs {
        /// The extension.
        name: &'static str,
        /// What it needs.
        needs: &'static str,
    },
    /// The extension's table is not as it should be.
    #[error("extensions.{name}: {why}")]
    Invalid {
        /// The extension.
        name: &'static str,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// The configuration names an extension that does not exist.
    #[error("there is no extension {name}; known are {known}")]
    Unknown {
        /// The name.
        name: String,
        /// The names that exist.
        known: String,
    },
}

type Key = (At, bool, &'static str, &'static str);
type Shapes = BTreeMap<&'static str, &'static str>;

/// Everything that is registered. Frozen once the server runs.
#[derive(Default)]
pub struct Points {
    police: [Vec<(Wants, Arc<dyn Police>)>; 3],
    stamps: [Vec<(Wants, Arc<dyn Stamp>)>; 4],
    copiers: [Vec<(Wants, Arc<dyn Copier>)>; 2],
    pub(crate) pacers: Vec<Arc<dyn Pacer>>,
    handlers: HashMap<Key, (&'static str, Arc<dyn AnyHandler>)>,
    listeners: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
    judges: HashMap<TypeId, Box<dyn Any + Send + Sync>>,
    pub(crate) disco: Vec<Arc<dyn Disco>>,
    pub(crate) greeters: Vec<Arc<dyn Greeter>>,
    opens: Vec<(Name, &'static str, Arc<dyn Greeter>)>,
    pub(crate) commands: BTreeMap<&'static str, (&'static str, Command)>,
    /// What a silent client is asked.
    probe: Option<(&'static str, Builder)>,
    pub(crate) loaders: Vec<Arc<dyn AnyLoad>>,
    pub(crate) stream_slots: Vec<usize>,
    pub(crate) features: BTreeSet<(At, String)>,
    pub(crate) xeps: Vec<(&'static str, Xep)>,
    owners: Vec<(StampAt, Name, &'static str)>,
    shapes: Shapes,
    account_slots: usize,
    session_slots: usize,
}

/// A loaded value and the slot that it belongs into.
pub(crate) type Loaded = (usize, Box<dyn Any + Send + Sync>);

/// [`Load`] without its type.
pub(crate) trait AnyLoad: Send + Sync {
    fn load(&self, look: &Look<'_>) -> Result<Loaded, Fault>;
}

struct Loader<T, L>(AccountSlot<T>, L);

impl<T: Send + Sync + 'static, L: Load<T>> AnyLoad for Loader<T, L> {
    fn load(&self, look: &Look<'_>) -> Result<Loaded, Fault> {
        Ok((self.0.0, Box::new(self.1.load(look)?)))
    }
}

impl Points {
    /// Plugs the extensions that are on, in the order of the list.
    ///
    /// # Errors
    /// Two owners of one thing, a need that is off, an invalid table, an unknown name in the configuration.
    pub(crate) fn build(
        core: &[Extension],
        extensions: &[Extension],
        config: &RouterConfig,
        store: &Store,
    ) -> Result<Self, ConfigError> {
        for name in config.enabled.keys().chain(config.extensions.keys()) {
            if !extensions.iter().any(|extension| extension.name == name) {
                let known: Vec<_> = extensions.iter().map(|extension| extension.name).collect();
                return Err(ConfigError::Unknown { name: name.clone(), known: known.join(", ") });
            }
        }
        let on = |extension: &Extension| {
            config.enabled.get(extension.name).copied().unwrap_or(extension.default_on)
        };
        let active: Vec<&Extension> =
            core.iter().chain(extensions.iter().filter(|extension| on(extension))).collect();
        let mut points = Self::default();
        for (place, extension) in active.iter().enumerate() {
            if active[..place].iter().any(|other| other.name == extension.name) {
                let name = extension.name;
                return Err(ConfigError::Conflict { one: name, two: name, what: "the name".to_owned() });
            }
            if let Some(needs) =
                extension.needs.iter().copied().find(|needs| !active.iter().any(|other| other.name == *needs))
            {
                return Err(ConfigError::Needs { name: extension.name, needs });
            }
            points.xeps.extend(extension.xeps.iter().map(|xep| (extension.name, *xep)));
            let mut host = Host { name: extension.name, points: &mut points, config, store };
            (extension.plug)(&mut host)?;
        }
        Ok(points)
    }

    /// The joined verdict of all police at a gate.
    pub(crate) fn police(&self, gate: PoliceAt, at: &Standing<'_>, stanza: &Stanza) -> Verdict {
        let mut verdict = Verdict::Pass;
        for (wants, police) in &self.police[gate as usize] {
            if wants.takes(stanza) {
                match police.judge(at, stanza) {
                    Verdict::Pass => {}
                    other => verdict = verdict.join(other),
                }
            }
        }
        verdict
    }

    /// All stamps at a gate. Every stamp sees the stanza as it came to the gate; then all is stripped, then all is added.
    pub(crate) fn stamp(&self, gate: StampAt, at: &Standing<'_>, stanza: &mut Stanza) {
        let mut edit = crate::points::Edit::default();
        for (wants, stamp) in &self.stamps[gate as usize] {
            if wants.takes(stanza) {
                stamp.stamp(at, stanza, &mut edit);
            }
        }
        edit.apply(stanza);
    }

    /// Whether any stamp at a gate wants this stanza: most pass Delivering without one.
    pub(crate) fn has_stamps(&self, gate: StampAt, stanza: &Stanza) -> bool {
        self.stamps[gate as usize].iter().any(|(wants, _)| wants.takes(stanza))
    }

    pub(crate) fn copiers(&self, gate: CopyAt, stanza: &Stanza) -> impl Iterator<Item = &Arc<dyn Copier>> {
        self.copiers[gate as usize].iter().filter(|(wants, _)| wants.takes(stanza)).map(|(_, copier)| copier)
    }

    pub(crate) fn handler(&self, at: At, set: bool, name: &str, ns: &str) -> Option<&Arc<dyn AnyHandler>> {
        // The key holds `&'static str`; looking up by a borrowed one needs the equivalent form.
        self.handlers
            .get(&Wanted(at, set, name, ns))
            .or_else(|| self.handlers.get(&Wanted(at, set, "*", ns)))
            .map(|(_, handler)| handler)
    }

    pub(crate) fn listeners<F: Fact>(&self) -> &[Arc<dyn Listener<F>>] {
        self.listeners
            .get(&TypeId::of::<F>())
            .and_then(|any| any.downcast_ref::<Vec<Arc<dyn Listener<F>>>>())
            .map_or(&[], Vec::as_slice)
    }

    /// The joined answer of all judges.
    pub(crate) fn judge<Q: Question>(&self, cx: &Cx<'_>, about: &Q::About<'_>) -> Q::Answer {
        let judges = self
            .judges
            .get(&TypeId::of::<Q>())
            .and_then(|any| any.downcast_ref::<Vec<Arc<dyn Judge<Q>>>>())
            .map_or(&[] as &[_], Vec::as_slice);
        judges.iter().fold(Q::Answer::neutral(), |answer, judge| answer.join(judge.judge(cx, about)))
    }

    pub(crate) fn open(&self, name: &str, ns: &str) -> Option<&Arc<dyn Greeter>> {
        self.opens.iter().find(|(key, ..)| key.name == name && key.ns == ns).map(|(.., greeter)| greeter)
    }

    /// The XEPs of the extensions that are on, with the extension's name.
    pub fn xeps(&self) -> &[(&'static str, Xep)] {
        &self.xeps
    }

    /// The elements (name, namespace) of a bound stream that greeters take and that are no stanzas.
    pub fn nonzas(&self) -> Vec<(String, String)> {
        self.opens.iter().map(|(name, ..)| (name.name.to_owned(), name.ns.to_owned())).collect()
    }

    /// What a silent client is asked, if anything.
    pub(crate) fn probe(&self) -> Option<&Builder> {
        self.probe.as_ref().map(|(_, payload)| payload)
    }

    /// The commands, by name.
    pub fn commands(&self) -> impl Iterator<Item = &Command> {
        self.commands.values().map(|(_, command)| command)
    }
}

#[derive(PartialEq, Eq, Hash)]
struct Wanted<'a>(At, bool, &'a str, &'a str);

impl hashbrown::Equivalent<Key> for Wanted<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        (self.0, self.1, self.2, self.3) == *key
    }
}

/// What an extension registers with.
pub struct Host<'a> {
    name: &'static str,
    points: &'a mut Points,
    config: &'a RouterConfig,
    store: &'a Store,
}

impl Host<'_> {
    /// The extension's own configuration, `extensions.NAME`; the defaults of `T` where nothing is written.
    ///
    /// # Errors
    /// The table does not fit `T`.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        let table = self.config.extensions.get(self.name).cloned();
        let table = table.unwrap_or_else(|| serde_json::Value::Object(serde_json::Map::new()));
        serde_json::from_value(table).map_err(|why| self.invalid(&why))
    }

    /// The router's configuration: domains, administrators, limits.
    pub const fn router(&self) -> &RouterConfig {
        self.config
    }

    /// An error about the extension's configuration.
    pub fn invalid(&self, why: &dyn std::fmt::Display) -> ConfigError {
        ConfigError::Invalid { name: self.name, why: why.to_string() }
    }

    /// A disco feature of the served domains.
    pub fn feature(&mut self, ns: &str) {
        self.feature_at(At::Server, ns);
    }

    /// A disco feature of places of this kind.
    pub fn feature_at(&mut self, at: At, ns: &str) {
        self.points.features.insert((at, ns.to_owned()));
    }

    /// Police at a gate.
    pub fn police(&mut self, gate: PoliceAt, police: Arc<dyn Police>) {
        self.points.police[gate as usize].push((police.wants(), police));
    }

    /// A stamp at a gate.
    ///
    /// # Errors
    /// Another extension owns one of its elements there.
    pub fn stamp(&mut self, gate: StampAt, stamp: Arc<dyn Stamp>) -> Result<(), ConfigError> {
        for name in stamp.owns() {
            let taken = self.points.owners.iter().find(|(at, other, _)| {
                let same = other.name == name.name || other.name == "*" || name.name == "*";
                *at == gate && other.ns == name.ns && same
            });
            if let Some((_, _, owner)) = taken {
                return Err(self.conflict(owner, format!("<{} xmlns='{}'/> at {gate:?}", name.name, name.ns)));
            }
            self.points.owners.push((gate, *name, self.name));
        }
        self.points.stamps[gate as usize].push((stamp.wants(), stamp));
        Ok(())
    }

    /// A copier at a gate.
    pub fn copier(&mut self, gate: CopyAt, copier: Arc<dyn Copier>) {
        self.points.copiers[gate as usize].push((copier.wants(), copier));
    }

    /// A pacer.
    pub fn pacer(&mut self, pacer: Arc<dyn Pacer>) {
        self.points.pacers.push(pacer);
    }

    /// The handler of a payload. `kind` is get or set; a name of `*` takes every element of the namespace that no other handler names.
    ///
    /// # Errors
    /// Another extension handles it.
    pub fn handler(
        &mut self,
        at: At,
        kind: IqType,
        name: &'static str,
        ns: &'static str,
        handler: impl Handler,
    ) -> Result<(), ConfigError> {
        let set = match kind {
            IqType::Set => true,
            IqType::Get => false,
            IqType::Result | IqType::Error => return Err(self.invalid(&"handlers answer get and set only")),
        };
        let key = (at, set, name, ns);
        if let Some((owner, _)) = self.points.handlers.get(&key) {
            return Err(
                self.conflict(owner, format!("iq {} <{name} xmlns='{ns}'/> at {at:?}", kind.as_str()))
            );
        }
        self.points.handlers.insert(key, (self.name, Arc::new(handler)));
        Ok(())
    }

    /// Hears facts.
    pub fn listen<F: Fact>(&mut self, listener: impl Listener<F>) {
        let listener: Arc<dyn Listener<F>> = Arc::new(listener);
        let any = self.points.listeners.entry(TypeId::of::<F>());
        let any = any.or_insert_with(|| Box::new(Vec::<Arc<dyn Listener<F>>>::new()));
        if let Some(all) = any.downcast_mut::<Vec<Arc<dyn Listener<F>>>>() {
            all.push(listener);
        }
    }

    /// Judges a question.
    pub fn judge<Q: Question>(&mut self, judge: impl Judge<Q>) {
        let judge: Arc<dyn Judge<Q>> = Arc::new(judge);
        let any = self.points.judges.entry(TypeId::of::<Q>());
        let any = any.or_insert_with(|| Box::new(Vec::<Arc<dyn Judge<Q>>>::new()));
        if let Some(all) = any.downcast_mut::<Vec<Arc<dyn Judge<Q>>>>() {
            all.push(judge);
        }
    }

    /// Contributes to disco.
    pub fn disco(&mut self, disco: impl Disco) {
        self.points.disco.push(Arc::new(disco));
    }

    /// Greets.
    ///
    /// # Errors
    /// Another extension takes one of its elements.
    pub fn greeter(&mut self, greeter: impl Greeter) -> Result<(), ConfigError> {
        let greeter: Arc<dyn Greeter> = Arc::new(greeter);
        for name in greeter.takes() {
            if let Some((_, owner, _)) = self.points.opens.iter().find(|(other, ..)| other == name) {
                return Err(
                    self.conflict(owner, format!("<{} xmlns='{}'/> on the stream", name.name, name.ns))
                );
            }
            self.points.opens.push((*name, self.name, Arc::clone(&greeter)));
        }
        self.points.greeters.push(greeter);
        Ok(())
    }

    /// What a client that has long been silent is asked, to find out whether it is still there: the payload of a `get` that every client
    /// answers, if only with an error.
    ///
    /// # Errors
    /// Another extension has one.
    pub fn probe(&mut self, payload: Builder) -> Result<(), ConfigError> {
        if let Some((owner, _)) = self.points.probe {
            return Err(self.conflict(owner, "the question to silent clients".to_owned()));
        }
        self.points.probe = Some((self.name, payload));
        Ok(())
    }

    /// Offers a command to operators, administrators or users.
    ///
    /// # Errors
    /// Another extension has one of this name.
    pub fn command(&mut self, command: Command) -> Result<(), ConfigError> {
        if let Some((owner, _)) = self.points.commands.get(command.name) {
            return Err(self.conflict(owner, format!("the command {}", command.name)));
        }
        self.points.commands.insert(command.name, (self.name, command));
        Ok(())
    }

    /// A slot at each account in memory. What is not written to the store as well is lost when the account is idle.
    pub fn account_slot<T: Default + Send + Sync + 'static>(&mut self) -> AccountSlot<T> {
        self.points.account_slots += 1;
        AccountSlot(self.points.account_slots - 1, PhantomData)
    }

    /// A slot at each account, filled from the store before anything happens there.
    pub fn loaded_slot<T: Default + Send + Sync + 'static>(&mut self, load: impl Load<T>) -> AccountSlot<T> {
        let slot = self.account_slot();
        self.points.loaders.push(Arc::new(Loader(slot, load)));
        slot
    }

    /// A slot at each session.
    pub fn session_slot<T: Default + Send + Sync + 'static>(&mut self, life: Life) -> SessionSlot<T> {
        let index = self.points.session_slots;
        self.points.session_slots += 1;
        if life == Life::Stream {
            self.points.stream_slots.push(index);
        }
        SessionSlot(index, PhantomData)
    }

    /// A table of the store.
    ///
    /// # Errors
    /// Another extension has a shape of this name.
    pub fn table(&mut self, name: &'static str) -> Result<Table, ConfigError> {
        self.shape(name)?;
        Ok(self.store.table(name))
    }

    /// A log of the store.
    ///
    /// # Errors
    /// Another extension has a shape of this name.
    pub fn log(&mut self, name: &'static str) -> Result<Log, ConfigError> {
        self.shape(name)?;
        Ok(self.store.log(name))
    }

    /// Blobs of the store.
    ///
    /// # Errors
    /// Another extension has a shape of this name.
    pub fn blobs(&mut self, name: &'static str) -> Result<Blobs, ConfigError> {
        self.shape(name)?;
        Ok(self.store.blobs(name))
    }

    /// The store, for batches over several shapes.
    pub const fn store(&self) -> &Store {
        self.store
    }

    fn shape(&mut self, name: &'static str) -> Result<(), ConfigError> {
        if let Some(owner) = self.points.shapes.get(name) {
            return Err(self.conflict(owner, format!("the shape {name} of the store")));
        }
        self.points.shapes.insert(name, self.name);
        Ok(())
    }

    const fn conflict(&self, owner: &'static str, what: String) -> ConfigError {
        ConfigError::Conflict { one: owner, two: self.name, what }
    }
}

impl Slots {
    /// The value of an account's slot, if it was ever written.
    pub fn of_account<T: 'static>(&self, slot: AccountSlot<T>) -> Option<&T> {
        self.get(slot.0)
    }

    /// The value of an account's slot, to change.
    pub fn of_account_mut<T: Default + Send + Sync + 'static>(&mut self, slot: AccountSlot<T>) -> &mut T {
        self.get_mut(slot.0)
    }

    /// The value of a session's slot, if it was ever written.
    pub fn of_session<T: 'static>(&self, slot: SessionSlot<T>) -> Option<&T> {
        self.get(slot.0)
    }

    /// The value of a session's slot, to change.
    pub fn of_session_mut<T: Default + Send + Sync + 'static>(&mut self, slot: SessionSlot<T>) -> &mut T {
        self.get_mut(slot.0)
    }
}
