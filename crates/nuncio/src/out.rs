//! What commands say: on standard output, where nobody hearing it is a failure, and on standard error, where there is nobody else to tell.

use std::fmt;
use std::io::{self, ErrorKind, Write as _};

/// Exit status of whoever is not heard to the end, as SIGPIPE would make it.
pub(crate) const PIPE: u8 = 141;

/// Standard output does not take what was to be said.
#[derive(Debug, thiserror::Error)]
#[error("standard output cannot be written: {0}")]
pub(crate) struct Unheard(io::Error);

impl Unheard {
    /// Whoever read it has had enough: no error that anybody has to be told of.
    pub(crate) fn is_closed(&self) -> bool {
        self.0.kind() == ErrorKind::BrokenPipe
    }
}

/// Writes to standard output, at once.
pub(crate) fn write(text: fmt::Arguments<'_>) -> Result<(), Unheard> {
    let mut out = io::stdout().lock();
    out.write_fmt(text).and_then(|()| out.flush()).map_err(Unheard)
}

/// Writes a line to standard error.
pub(crate) fn complain(text: fmt::Arguments<'_>) {
    // In one piece, since others write there too. Nobody can be told that it fails.
    drop(io::stderr().lock().write_all(format!("{text}\n").as_bytes()));
}

/// Says a line on standard output; gives whether it could be said.
macro_rules! say {
    ($($part:tt)*) => {
        $crate::out::write(format_args!("{}\n", format_args!($($part)*)))
    };
}

/// Says a line on standard error.
macro_rules! complain {
    ($($part:tt)*) => {
        $crate::out::complain(format_args!($($part)*))
    };
}

/// An error and what it came of, each thing once: many errors say themselves what their source says.
pub(crate) fn whole(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("no connection: {source}")]
    struct Doubled {
        source: io::Error,
    }

    /// Whether an error says its source or leaves that to whoever prints it, it is said once.
    #[test]
    fn nothing_is_said_twice() {
        let refused = || io::Error::other("Connection refused");
        let error = anyhow::Error::from(Doubled { source: refused() });
        assert_eq!(whole(&error), "no connection: Connection refused");
        let error = Err::<(), _>(refused()).context("no connection").context("localhost").unwrap_err();
        assert_eq!(whole(&error), "localhost: no connection: Connection refused");
    }
}
