//! The raw cases of `tests/raw`, whole and cut at every place.

use std::time::Duration;

use serde::Deserialize;

use crate::common::Server;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    before: String,
    send: String,
    expect: Vec<String>,
    #[serde(default)]
    never: Vec<String>,
    #[serde(default)]
    open: bool,
}

const FILES: [(&str, &str); 4] = [
    ("header", include_str!("../raw/header.toml")),
    ("before_login", include_str!("../raw/before_login.toml")),
    ("known", include_str!("../raw/known.toml")),
    ("bound", include_str!("../raw/bound.toml")),
];

fn server(before: &str) -> Server {
    let server = Server::usual();
    match before {
        "none" => server,
        "clear" => server.clear(),
        "tls" => server.tls(),
        "known" => server.known(),
        "bound" => server.bound(),
        "managed" => server.managed(),
        other => panic!("unknown stage {other}"),
    }
}

fn run(case: &Case, pieces: &[&[u8]]) -> (String, bool) {
    let mut server = server(&case.before);
    server.sent();
    for piece in pieces {
        server.side.bytes(server.now, piece);
    }
    // What is left to do at a closing tag may take a moment.
    server.side.run_until(server.now + Duration::from_millis(500));
    (server.sent(), server.closed().is_some())
}

fn check(case: &Case) -> Result<(), String> {
    let bytes = case.send.as_bytes();
    let (sent, closed) = run(case, &[bytes]);
    let mut rest = sent.as_str();
    for expected in &case.expect {
        match rest.split_once(expected.as_str()) {
            Some((_, after)) => rest = after,
            None => return Err(format!("no {expected:?} (in this place) in {sent:?}")),
        }
    }
    if let Some(never) = case.never.iter().find(|never| sent.contains(never.as_str())) {
        return Err(format!("{never:?} in {sent:?}"));
    }
    if closed == case.open {
        return Err(format!("closed: {closed}, after {sent:?}"));
    }
    if closed && !sent.ends_with("</stream:stream>") {
        return Err(format!("closed without a closing tag: {sent:?}"));
    }
    // However the bytes are cut, the same comes back.
    for at in 1..bytes.len() {
        let (left, right) = bytes.split_at(at);
        let cut = run(case, &[left, right]);
        if cut != (sent.clone(), closed) {
            return Err(format!("cut at {at}: {cut:?} instead of {sent:?}"));
        }
    }
    let single: Vec<_> = bytes.chunks(1).collect();
    let cut = run(case, &single);
    if cut != (sent.clone(), closed) {
        return Err(format!("byte by byte: {cut:?} instead of {sent:?}"));
    }
    Ok(())
}

#[test]
fn every_raw_case_whole_and_cut_everywhere() {
    let mut failures = Vec::new();
    for (file, text) in FILES {
        let table: Table = toml::from_str(text).unwrap();
        assert!(table.case.len() >= 15, "{file} has lost its cases");
        for case in &table.case {
            if let Err(why) = check(case) {
                failures.push(format!("{file}: {}\n    {why}", case.name));
            }
        }
    }
    assert!(failures.is_empty(), "{} cases fail:\n{}", failures.len(), failures.join("\n"));
}
