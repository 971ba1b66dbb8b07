//! The text of a configuration, where things stand in it, and how mistakes are told: file, line, key, and what would be right.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

/// The configuration cannot be used.
#[derive(Debug)]
pub(crate) struct ConfigError {
    /// The file; none where there is none, and the defaults do not do.
    pub(crate) file: Option<PathBuf>,
    /// What is wrong in it; never empty.
    pub(crate) problems: Vec<Problem>,
}

/// One mistake.
#[derive(Debug)]
pub(crate) struct Problem {
    /// Line and column, from 1; none if it stands nowhere.
    pub(crate) at: Option<(usize, usize)>,
    /// The key, as a path, if one is concerned.
    pub(crate) key: Option<String>,
    /// What is wrong.
    pub(crate) what: String,
    /// What would be right.
    pub(crate) remedy: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            match &self.file {
                Some(file) => write!(out, "{}", file.display())?,
                None => write!(out, "the configuration")?,
            }
            if let Some((line, column)) = problem.at {
                write!(out, ":{line}:{column}")?;
            }
            write!(out, ": ")?;
            if let Some(key) = &problem.key {
                write!(out, "{key}: ")?;
            }
            write!(out, "{}", problem.what)?;
            if !problem.remedy.is_empty() {
                write!(out, "\n  help: {}", problem.remedy)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// Where a value stands: keys, and places in lists.
#[derive(Clone, Debug)]
pub(crate) struct At(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Key(String),
    Nth(usize),
}

impl At {
    /// A path of keys of our own, which hold no dots.
    pub(crate) fn key(path: &str) -> Self {
        Self(path.split('.').map(|key| Part::Key(key.to_owned())).collect())
    }

    /// A key below it, whatever it holds.
    pub(crate) fn below(mut self, key: &str) -> Self {
        self.0.push(Part::Key(key.to_owned()));
        self
    }

    /// The place in a list below it.
    pub(crate) fn nth(mut self, index: usize) -> Self {
        self.0.push(Part::Nth(index));
        self
    }
}

/// As it stands in the manual: without the places in lists.
impl fmt::Display for At {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.iter().enumerate() {
            match part {
                Part::Key(key) => {
                    if index > 0 {
                        out.write_str(".")?;
                    }
                    let bare = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
                    if bare { out.write_str(key)? } else { write!(out, "{key:?}")? }
                }
                // That a value in a list is meant shows by its line; only tables in lists are written so.
                Part::Nth(_) if index + 1 < self.0.len() => out.write_str("[]")?,
                Part::Nth(_) => {}
            }
        }
        Ok(())
    }
}

/// The text that a configuration was read from.
#[derive(Debug, Default)]
pub(crate) struct Source {
    pub(super) file: Option<PathBuf>,
    pub(super) text: String,
    pub(super) problems: Vec<Problem>,
}

impl Source {
    pub(super) fn new(file: &Path, text: String) -> Self {
        Self { file: Some(file.to_owned()), text, problems: Vec::new() }
    }

    /// Notes a mistake in a value.
    pub(crate) fn say(&mut self, at: &At, what: impl Into<String>, remedy: impl Into<String>) {
        let offset = DeTable::parse(&self.text).ok().and_then(|tree| find(tree.get_ref(), &at.0));
        let at_line = offset.map(|offset| position(&self.text, offset));
        let key = Some(at.to_string());
        self.problems.push(Problem { at: at_line, key, what: what.into(), remedy: remedy.into() });
    }

    /// Whether nothing is wrong.
    ///
    /// # Errors
    /// All that is, in the order of the lines.
    pub(crate) fn verdict(&mut self) -> Result<(), ConfigError> {
        let mut problems = std::mem::take(&mut self.problems);
        if problems.is_empty() {
            return Ok(());
        }
        problems.sort_by_key(|problem| problem.at);
        Err(ConfigError { file: self.file.clone(), problems })
    }
}

pub(super) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    (line, column)
}

/// Where the value begins; of what is not there, where the innermost table or list begins that should hold it.
fn find(tree: &DeTable<'_>, path: &[Part]) -> Option<usize> {
    let (Part::Key(key), mut rest) = path.split_first()? else { return None };
    let (name, mut value) = tree.iter().find(|(name, _)| name.get_ref().as_ref() == key)?;
    // A table has no text of its own where dotted keys make it.
    let mut start = if value.get_ref().is_table() { name.span().start } else { value.span().start };
    while let Some((Part::Nth(index), after)) = rest.split_first() {
        let Some(item) = value.get_ref().as_array().and_then(|items| items.get(*index)) else { break };
        (start, value, rest) = (item.span().start, item, after);
    }
    Some(value.get_ref().as_table().and_then(|inner| find(inner, rest)).unwrap_or(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The line and column of what is named, and how it is written.
    #[test]
    fn values_are_found_where_they_stand() {
        let text = "a = 1\n[f]\nlist = [\"x\",\n  \"y\"]\nhosts.\"them.example\" = [\"z\"]\n[[f.peer]]\n[[f.peer]]\npins = [\n\"p\"]\n";
        for (at, line, shown) in [
            (At::key("a"), Some(1), "a"),
            (At::key("f.list").nth(1), Some(4), "f.list"),
            (At::key("f.hosts").below("them.example").nth(0), Some(5), "f.hosts.\"them.example\""),
            (At::key("f.hosts").below("them.example"), Some(5), "f.hosts.\"them.example\""),
            (At::key("f.peer").nth(0).below("domain"), Some(6), "f.peer[].domain"),
            (At::key("f.peer").nth(1).below("pins").nth(0), Some(9), "f.peer[].pins"),
            (At::key("f.missing"), Some(2), "f.missing"),
            (At::key("missing"), None, "missing"),
        ] {
            let mut source = Source::new(Path::new("x.toml"), text.to_owned());
            source.say(&at, "is wrong", "");
            let problem = &source.verdict().unwrap_err().problems[0];
            assert_eq!((problem.at.map(|(line, _)| line), problem.key.as_deref()), (line, Some(shown)));
        }
    }
}
