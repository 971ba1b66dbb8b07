//! Numbers and their bounds.

use super::source::{At, Source};

/// A number whose bounds may be those of other keys, which are then named.
#[derive(Clone, Copy)]
pub(super) struct Number {
    key: &'static str,
    value: u64,
    least: (u64, &'static str),
    most: (u64, &'static str),
}

impl Number {
    /// From `least` to `most`.
    pub(super) const fn new(key: &'static str, value: u64, least: u64, most: u64) -> Self {
        Self { key, value, least: (least, ""), most: (most, "") }
    }

    /// No less than this other key says.
    pub(super) const fn least(self, bound: u64, key: &'static str) -> Self {
        Self { least: (bound, key), ..self }
    }

    /// No more than this other key says, if that is the narrower bound.
    pub(super) const fn most(self, bound: u64, key: &'static str) -> Self {
        if bound < self.most.0 { Self { most: (bound, key), ..self } } else { self }
    }

    /// Says if it is out of its bounds.
    pub(super) fn check(&self, source: &mut Source) {
        let (value, least, most) = (self.value, self.least, self.most);
        // Bounds that cross are the mistake of the keys that they are from.
        if (value >= least.0 && value <= most.0) || least.0 > most.0 {
            return;
        }
        let named = |(bound, key): (u64, &str)| match key {
            "" => bound.to_string(),
            key => format!("{bound} ({key})"),
        };
        let remedy = format!("take a number from {} to {}", named(least), named(most));
        source.say(&At::key(self.key), format!("is {value}"), remedy);
    }
}
