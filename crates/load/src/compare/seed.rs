//! Accounts and rosters, written in each server's own form before it starts.
//!
//! All accounts of a server have one password, and on the rivals one salt, so that a client can keep what PBKDF2 gave; what the server does at a login
//! is the same.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nuncio_stream::sasl::{Hash, Keys};

use super::config::{DOMAIN, ITERATIONS, escaped};

/// The password of every account.
pub(super) const PASSWORD: &str = "correct horse";

/// The salt of the rivals' accounts. Prosody keeps it as text.
const SALT: &str = "a-salt-for-a-measurement";

/// A number of accounts of one kind, numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// What stands before the number.
    pub(super) prefix: &'static str,
    /// How many.
    pub(super) count: u32,
    /// Their rosters.
    pub(super) roster: Roster,
}

/// What the rosters of a range hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Roster {
    /// Nothing.
    Empty,
    /// Each has so many contacts who are no accounts of the range and share no presence with it.
    Listed(u32),
    /// The first and each of the others have each other's presence.
    Star,
}

impl Range {
    /// The localparts.
    pub(super) fn names(self) -> impl Iterator<Item = String> {
        (0..self.count).map(move |number| format!("{}{number}", self.prefix))
    }

    /// The roster of the account with this number: contact and subscription.
    fn roster_of(self, number: u32) -> Vec<(String, &'static str)> {
        match self.roster {
            Roster::Empty => Vec::new(),
            Roster::Listed(count) => (0..count).map(|contact| (listed(contact), "none")).collect(),
            Roster::Star if number == 0 => {
                (1..self.count).map(|other| (format!("{}{other}", self.prefix), "both")).collect()
            }
            Roster::Star => vec![(format!("{}0", self.prefix), "both")],
        }
    }
}

/// The localpart of a contact of [`Roster::Listed`].
pub(super) fn listed(contact: u32) -> String {
    format!("contact{contact}")
}

/// The lines that `nuncio account import` reads.
pub(super) fn nuncio_accounts(ranges: &[Range], domain: &str) -> String {
    let mut lines = String::new();
    for name in ranges.iter().flat_map(|range| range.names()) {
        let _ = writeln!(lines, "{name}@{domain} {PASSWORD}");
    }
    lines
}

/// Salted keys of [`PASSWORD`]: stored key and server key.
fn keys() -> Result<(Vec<u8>, Vec<u8>)> {
    let keys = Keys::derive(Hash::Sha1, PASSWORD, SALT.as_bytes(), ITERATIONS)?;
    let text = keys.to_text();
    let parts = text.rsplit('$').next().and_then(|keys| keys.split_once(':'));
    let (stored, server) = parts.context("SCRAM keys have two parts")?;
    Ok((STANDARD.decode(stored)?, STANDARD.decode(server)?))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Writes Prosody's internal store: a Lua table for each account and each roster.
pub(super) fn prosody(data: &Path, ranges: &[Range], domain: &str) -> Result<()> {
    let host = data.join(escaped(domain));
    let (accounts, rosters) = (host.join("accounts"), host.join("roster"));
    for folder in [&accounts, &rosters] {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let account = prosody_account(&keys()?);
    for range in ranges {
        for (number, name) in (0..).zip(range.names()) {
            std::fs::write(accounts.join(format!("{name}.dat")), &account)?;
            let items = range.roster_of(number);
            if !items.is_empty() {
                std::fs::write(rosters.join(format!("{name}.dat")), prosody_roster(&items, domain))?;
            }
        }
    }
    Ok(())
}

fn prosody_account((stored, server): &(Vec<u8>, Vec<u8>)) -> String {
    format!(
        "return {{\n\t[\"iteration_count\"] = {ITERATIONS};\n\t[\"salt\"] = \"{SALT}\";\n\t[\"stored_key\"] = \"{}\";\n\t[\"server_key\"] = \
         \"{}\";\n}};\n",
        hex(stored),
        hex(server)
    )
}

fn prosody_roster(items: &[(String, &str)], domain: &str) -> String {
    let mut text = "return {\n\t[false] = { [\"version\"] = 1; [\"pending\"] = {}; };\n".to_owned();
    for (contact, subscription) in items {
        let _ = writeln!(
            text,
            "\t[\"{contact}@{domain}\"] = {{ [\"subscription\"] = \"{subscription}\"; [\"groups\"] = {{}}; }};"
        );
    }
    text.push_str("};\n");
    text
}

/// Expressions for Erlang's `file:eval`, to be run in the started node: the first account is made by ejabberd itself, and its row is written again for
/// the others, whatever its form; rosters are rows of mod_roster's table. The node stops when all is on the disk.
pub(super) fn ejabberd(ranges: &[Range]) -> String {
    let mut text = format!(
        "{{ok, _}} = application:ensure_all_started(ejabberd).\n\
         H = <<\"{DOMAIN}\">>.\n\
         ok = ejabberd_auth:try_register(<<\"{}\">>, H, <<\"{PASSWORD}\">>).\n\
         [Key] = mnesia:dirty_all_keys(passwd).\n\
         [Row] = mnesia:dirty_read(passwd, Key).\n\
         For = fun(User) ->\n  case Key of\n    {{Name, H}} when is_binary(Name) -> {{User, H}};\n    {{{{_, H}}, Hash}} -> {{{{User, H}}, \
         Hash}}\n  end\nend.\n\
         10 = mnesia:table_info(roster, arity).\n\
         Name = fun(Prefix, N) -> <<Prefix/binary, (integer_to_binary(N))/binary>> end.\n\
         Account = fun(User) -> ok = mnesia:dirty_write(setelement(2, Row, For(User))) end.\n\
         Item = fun(User, Contact, Subscription) ->\n  J = {{Contact, H, <<>>}},\n  \
         ok = mnesia:dirty_write({{roster, {{User, H, J}}, {{User, H}}, J, <<>>, Subscription, none, [], <<>>, []}})\nend.\n",
        ranges.first().map_or("nobody", |range| range.prefix),
    );
    for range in ranges {
        let Range { prefix, count, roster } = *range;
        let last = i64::from(count) - 1;
        let _ = writeln!(text, "[Account(Name(<<\"{prefix}\">>, N)) || N <- lists:seq(0, {last})].");
        let _ = match roster {
            Roster::Empty => Ok(()),
            Roster::Listed(contacts) => writeln!(
                text,
                "[Item(Name(<<\"{prefix}\">>, N), Name(<<\"contact\">>, C), none) || N <- lists:seq(0, {last}), C <- lists:seq(0, {})].",
                i64::from(contacts) - 1
            ),
            Roster::Star => writeln!(
                text,
                "[begin Item(Name(<<\"{prefix}\">>, 0), Name(<<\"{prefix}\">>, N), both), Item(Name(<<\"{prefix}\">>, N), \
                 Name(<<\"{prefix}\">>, 0), both) end || N <- lists:seq(1, {last})]."
            ),
        };
    }
    text.push_str("mnesia:dump_log().\nok = init:stop().\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGES: &[Range] = &[
        Range { prefix: "user", count: 2, roster: Roster::Empty },
        Range { prefix: "idle", count: 1, roster: Roster::Listed(2) },
        Range { prefix: "fan", count: 3, roster: Roster::Star },
    ];

    #[test]
    fn every_account_is_a_line_for_nuncio() {
        let lines = nuncio_accounts(RANGES, DOMAIN);
        let names: Vec<_> = lines.lines().map(|line| line.split_once('@').unwrap().0).collect();
        assert_eq!(names, ["user0", "user1", "idle0", "fan0", "fan1", "fan2"]);
        assert!(lines.lines().all(|line| line.ends_with("@localhost correct horse")));
    }

    #[test]
    fn a_star_is_mutual() {
        assert_eq!(RANGES[2].roster_of(0), [("fan1".to_owned(), "both"), ("fan2".to_owned(), "both")]);
        assert_eq!(RANGES[2].roster_of(2), [("fan0".to_owned(), "both")]);
        assert_eq!(RANGES[1].roster_of(0).len(), 2);
        assert!(RANGES[0].roster_of(1).is_empty());
    }

    #[test]
    fn prosodys_store_has_a_file_for_each() {
        let folder = tempfile::tempdir().unwrap();
        prosody(folder.path(), RANGES, DOMAIN).unwrap();
        let read = |file: &str| std::fs::read_to_string(folder.path().join("localhost").join(file)).unwrap();
        let account = read("accounts/user1.dat");
        let (stored, _) = keys().unwrap();
        assert!(account.contains(&hex(&stored)) && account.contains("4096"), "{account}");
        assert!(read("roster/fan0.dat").contains("[\"fan2@localhost\"] = { [\"subscription\"] = \"both\""));
        assert!(!folder.path().join("localhost/roster/user0.dat").exists());
    }

    /// RFC 5802 §3: the stored key is the hash of the client key; both are as long as SHA-1's output.
    #[test]
    fn keys_are_of_the_password() {
        let (stored, server) = keys().unwrap();
        assert_eq!((stored.len(), server.len()), (20, 20));
        let again = Keys::from_parts(Hash::Sha1, SALT.as_bytes(), ITERATIONS, &stored, &server).unwrap();
        assert!(again.verify(PASSWORD) && !again.verify("wrong"));
    }

    #[test]
    fn ejabberd_is_told_every_range() {
        let text = ejabberd(RANGES);
        assert!(text.contains("Account(Name(<<\"fan\">>, N)) || N <- lists:seq(0, 2)"), "{text}");
        assert!(text.contains("lists:seq(1, 2)"), "{text}");
        for (open, close) in [('(', ')'), ('[', ']'), ('{', '}')] {
            let count = |which: char| text.chars().filter(|&c| c == which).count();
            assert_eq!(count(open), count(close));
        }
    }
}
