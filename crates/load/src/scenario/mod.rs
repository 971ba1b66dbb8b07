//! What is done to a server: a file for each kind of scenario, and a line in the list below.

mod bench;
mod mark;

mod chat;
mod churn;
mod dead;
mod idle;
mod login;
mod msrp;
mod offline;
mod pairs;
mod presence;
mod resume;
mod roster;

use std::time::Duration;

use serde::Deserialize;

pub(crate) use self::bench::Bench;
pub use self::chat::Chat;
pub use self::churn::Churn;
pub use self::dead::Dead;
pub use self::idle::Idle;
pub use self::login::Login;
pub use self::msrp::Msrp;
pub use self::offline::Offline;
pub use self::pairs::Pairs;
pub use self::presence::Presence;
pub use self::resume::Resume;
pub use self::roster::Roster;
pub use crate::engine::scram::Mechanism;

/// What every kind of scenario can do.
trait Kind {
    /// Whether its numbers are within bounds.
    ///
    /// # Errors
    /// Which is not, and what would be right.
    fn check(&self) -> Result<(), String>;

    /// Runs it; what is measured goes into the bench's report.
    ///
    /// # Errors
    /// Why it ended before its time.
    fn run(&self, bench: &mut Bench<'_>) -> Result<(), String>;
}

/// The list: `file::Type`. The kind in TOML is the file's name, and `scenarios/NAME.toml` has the usual numbers, which every file of this kind
/// may leave out.
macro_rules! kinds {
    ($($module:ident::$kind:ident,)*) => {
        /// A scenario.
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub enum Scenario {
            $(
                #[doc = concat!("See [`", stringify!($kind), "`].")]
                $kind($kind),
            )*
        }

        impl Scenario {
            /// The names of the embedded scenarios, which are the kinds.
            pub const NAMES: &'static [&'static str] = &[$(stringify!($module),)*];

            /// The text of an embedded scenario.
            #[must_use]
            pub fn text(name: &str) -> Option<&'static str> {
                match name {
                    $(stringify!($module) => {
                        Some(include_str!(concat!("../../scenarios/", stringify!($module), ".toml")))
                    })*
                    _ => None,
                }
            }

            fn from_table(kind: &str, table: toml::Table) -> Result<Self, ScenarioError> {
                match kind {
                    $(stringify!($module) => Ok(Self::$kind($kind::deserialize(table)?)),)*
                    _ => Err(ScenarioError(format!(
                        "no kind of scenario is called {kind}; there are {}",
                        Self::NAMES.join(", ")
                    ))),
                }
            }

            /// The kind, as in TOML.
            #[must_use]
            pub const fn kind(&self) -> &'static str {
                match self {
                    $(Self::$kind(_) => stringify!($module),)*
                }
            }

            fn inner(&self) -> &dyn Kind {
                match self {
                    $(Self::$kind(inner) => inner,)*
                }
            }
        }
    };
}

kinds! {
    chat::Chat,
    login::Login,
    idle::Idle,
    presence::Presence,
    roster::Roster,
    offline::Offline,
    resume::Resume,
    churn::Churn,
    pairs::Pairs,
    dead::Dead,
    msrp::Msrp,
}

/// Why a text is no scenario.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ScenarioError(String);

impl From<toml::de::Error> for ScenarioError {
    fn from(error: toml::de::Error) -> Self {
        Self(error.message().to_owned())
    }
}

impl Scenario {
    /// An embedded scenario, with some of its values replaced: `("pairs", "20")`.
    ///
    /// # Errors
    /// There is none of that name, or a value does not fit; the text says which.
    pub fn named(name: &str, replaced: &[(&str, &str)]) -> Result<Self, ScenarioError> {
        let mut table = toml::Table::new();
        table.insert("kind".to_owned(), name.into());
        for (key, text) in replaced {
            table.insert((*key).to_owned(), value(text));
        }
        Self::complete(table)
    }

    /// Reads a scenario: TOML with a `kind`, and whatever shall differ from the embedded one of that kind.
    ///
    /// # Errors
    /// It is not TOML, of no known kind, or a value is out of its bounds; the text says which.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        // The whole error, with the place in the file.
        Self::complete(text.parse().map_err(|error: toml::de::Error| ScenarioError(error.to_string()))?)
    }

    fn complete(replaced: toml::Table) -> Result<Self, ScenarioError> {
        let kind = replaced.get("kind").and_then(toml::Value::as_str).unwrap_or_default().to_owned();
        let mut table: toml::Table = Self::text(&kind).unwrap_or_default().parse()?;
        table.extend(replaced);
        table.remove("kind");
        let scenario = Self::from_table(&kind, table)?;
        scenario.check()?;
        Ok(scenario)
    }

    /// Whether all values are within their bounds.
    ///
    /// # Errors
    /// Which is not, and what would be right.
    pub fn check(&self) -> Result<(), ScenarioError> {
        self.inner().check().map_err(ScenarioError)
    }

    pub(crate) fn run(&self, bench: &mut Bench<'_>) -> Result<(), String> {
        self.inner().run(bench)
    }
}

/// A value as it is typed on the command line.
fn value(text: &str) -> toml::Value {
    if let Ok(number) = text.parse::<i64>() {
        number.into()
    } else if let Ok(number) = text.parse::<f64>() {
        number.into()
    } else if let Ok(yes) = text.parse::<bool>() {
        yes.into()
    } else {
        text.into()
    }
}

/// A length of time in seconds, whole or not.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Seconds(pub f64);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        f64::deserialize(from).map(Self)
    }
}

impl Seconds {
    /// The same as a duration; nothing for what is none.
    fn duration(self) -> Duration {
        Duration::try_from_secs_f64(self.0).unwrap_or_default()
    }
}

/// Says that a value is out of its bounds.
fn within<T: PartialOrd + Copy + std::fmt::Display>(
    name: &str,
    value: T,
    least: T,
    most: T,
) -> Result<(), String> {
    if value >= least && value <= most {
        Ok(())
    } else {
        Err(format!("{name} is {value}; it must be from {least} to {most}"))
    }
}

/// Says that a text is no part of a domain's name.
fn plain(name: &str, value: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-.".contains(&byte);
    if !value.is_empty() && value.bytes().all(fits) {
        Ok(())
    } else {
        Err(format!("{name} is {value:?}; it must be from ASCII letters, digits, '-' and '.'"))
    }
}

/// The most connections of one scenario.
const MOST_CONNECTIONS: u32 = 1_000_000;
/// The longest measured time, in seconds.
const LONGEST: f64 = 24.0 * 3600.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_scenario_is_one_and_names_its_kind_and_its_values() {
        for name in Scenario::NAMES {
            let text = Scenario::text(name).unwrap();
            let scenario = Scenario::parse(text).unwrap();
            assert_eq!(scenario.kind(), *name);
            assert_eq!(Scenario::named(name, &[]).unwrap(), scenario);
            let mut lines = text.lines();
            assert!(lines.next().is_some_and(|line| line.starts_with("# ")), "{name} says what it is");
            for value in text.lines().filter(|line| line.contains('=') && !line.starts_with("kind")) {
                let before = text.lines().take_while(|line| *line != value).last().unwrap_or_default();
                assert!(before.starts_with("# "), "{name}: {value} has no comment");
            }
        }
    }

    #[test]
    fn values_are_replaced_and_their_bounds_are_named() {
        let chat =
            Scenario::named("chat", &[("pairs", "3"), ("seconds", "0.5"), ("managed", "true")]).unwrap();
        let Scenario::Chat(chat) = chat else { panic!("{chat:?}") };
        assert_eq!((chat.pairs, chat.seconds, chat.managed, chat.window), (3, Seconds(0.5), true, 10));
        for (name, key, value) in [
            ("chat", "pairs", "0"),
            ("chat", "bystanders", "999999"),
            ("chat", "seconds", "-1"),
            ("chat", "seconds", "nan"),
            ("chat", "body", "70000"),
            ("login", "logins", "1000001"),
            ("idle", "rest", "1e6"),
            ("presence", "contacts", "0"),
            ("roster", "entries", "100001"),
            ("offline", "messages", "0"),
            ("resume", "rounds", "10001"),
            ("churn", "minutes", "2000"),
            ("pairs", "window", "0"),
            ("pairs", "domain", "a'b"),
            ("dead", "domain", ""),
            ("dead", "stanzas", "0"),
            ("msrp", "bytes", "5"),
            ("msrp", "files", "0"),
        ] {
            let why = Scenario::named(name, &[(key, value)]).unwrap_err().to_string();
            assert!(why.contains(key) && why.contains("must be from"), "{name} {key}={value}: {why}");
        }
    }
}
