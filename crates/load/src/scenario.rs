//! What is done to a server.

use serde::Deserialize;

/// A scenario, as its TOML file says it (`kind = "chat"` and so on).
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
#[non_exhaustive]
pub enum Scenario {
    /// Pairs of accounts that write to each other.
    Chat {
        /// How many pairs.
        pairs: u32,
    },
}

/// Why a text is no scenario.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ScenarioError(pub(crate) String);

impl Scenario {
    /// One of the embedded scenarios.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let _ = name;
        None
    }

    /// Reads a scenario.
    ///
    /// # Errors
    /// It is not TOML, not of a known kind, or a number is out of its bounds; the text says which.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        toml::from_str(text).map_err(|error| ScenarioError(error.to_string()))
    }
}
