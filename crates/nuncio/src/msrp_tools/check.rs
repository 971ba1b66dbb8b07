//! `nuncio msrp check`: what the RFCs demand, tried on anyone's endpoint or relay.

use std::time::Duration;

use nuncio_endpoint::Peer;
use nuncio_endpoint::check::{CheckError, Outcome, Subject, Verdict, check};
use nuncio_endpoint::msrp::{Path, Scheme, Uri};
use serde_json::{Value, json};

use super::cli::Check;
use super::{fingerprints, password, read_text, relay, roots, unseen, wrong};
use crate::out::Unheard;

pub(super) async fn run(given: Check) -> anyhow::Result<bool> {
    let subject = subject(&given)?;
    let what = if subject.is_relay() { "relay" } else { "endpoint" };
    let shown = shown(&subject.path);
    if !given.json {
        say!("{what} {shown}\n")?;
    }
    let mut heard = Ok(());
    let verdicts = Box::pin(check(subject, |verdict| {
        if !given.json && heard.is_ok() {
            heard = print(verdict, given.verbose);
        }
    }))
    .await
    .map_err(in_words)?;
    heard?;
    let count = |wanted: fn(&Outcome) -> bool| verdicts.iter().filter(|it| wanted(&it.outcome)).count();
    let passed = count(|outcome| *outcome == Outcome::Pass);
    let failed = count(|outcome| matches!(outcome, Outcome::Fail(_)));
    let not_applicable = verdicts.len() - passed - failed;
    if given.json {
        let cases: Vec<_> = verdicts.iter().map(told).collect();
        let told = json!({
            "kind": what, "subject": shown, "passed": passed, "failed": failed, "not_applicable": not_applicable,
            "cases": cases,
        });
        say!("{}", serde_json::to_string_pretty(&told)?)?;
    } else {
        say!("\n{passed} passed, {failed} failed, {not_applicable} not applicable")?;
    }
    Ok(failed == 0)
}

fn subject(given: &Check) -> anyhow::Result<Subject> {
    let mut subject = match (&given.sdp, &given.target) {
        (Some(file), _) => {
            let bad = |why: String| wrong(format!("{}: {why}", file.display()));
            let text = read_text(file)?;
            let peer = Peer::from_sdp(&text).map_err(|error| bad(error.to_string()))?;
            Subject {
                accepts: Some(peer.accepts),
                max_size: peer.max_size,
                fingerprints: peer.fingerprints,
                ..Subject::new(peer.path)
            }
        }
        (None, Some(target)) => {
            let session = Path::parse(target, 16)
                .ok()
                .filter(|path| path.last().is_some_and(|uri| uri.session_id().is_some()));
            Subject::new(match session {
                Some(path) => path,
                None => relay(target)?.into(),
            })
        }
        (None, None) => return Err(wrong("nobody to check")),
    };
    // RFC 4976 §8: only that of a relay may be looked up.
    if let Some(uri) = subject.path.uris().iter().find(|uri| !subject.is_relay() && uri.port().is_none()) {
        return Err(wrong(format!(
            "{uri:?} has no port: that of a session has one, as in msrps://host:2855/id;tcp"
        )));
    }
    if !subject.is_relay() && given.user.is_some() {
        return Err(wrong(
            "--user is for a relay, and this is the path of an endpoint: it asks for no login",
        ));
    }
    if subject.is_relay() && given.from.is_some() {
        return Err(wrong("--from is for an endpoint: a relay expects nobody in particular"));
    }
    if given.user.is_none() && (given.secret.password_stdin || given.secret.password_file.is_some()) {
        return Err(wrong("a password is given, and nobody's: add --user"));
    }
    let named = fingerprints(&given.fingerprint, &given.trust, unseen(&subject.path))?;
    if !named.is_empty() {
        subject.fingerprints = named;
    }
    let from = |text: &String| Uri::parse(text).map_err(|error| wrong(format!("{text}: {error}")));
    subject.from = given.from.as_ref().map(from).transpose()?;
    subject.roots = roots(&given.trust.ca);
    subject.sha1 = given.trust.sha1;
    subject.patience = Duration::from_secs(given.timeout);
    if let Some(user) = &given.user {
        if subject.path.first().is_none_or(|uri| uri.scheme() != Scheme::Msrps) {
            return Err(wrong("credentials are sent over TLS only: msrps is wanted"));
        }
        let (password, _) = password(&given.secret)?;
        subject.login = Some((user.clone(), password));
    }
    Ok(subject)
}

/// What can be done about it.
fn in_words(error: CheckError) -> anyhow::Error {
    match error {
        CheckError::Login { .. } => anyhow::anyhow!(
            "{error}; nothing was checked. Give another --user and password, or none: then what anybody may see is checked"
        ),
        CheckError::NoTls { .. } => {
            anyhow::anyhow!("{error}; nothing was checked. An `msrp:` URI is checked without TLS")
        }
        error => error.into(),
    }
}

/// A path without its secrets.
fn shown(path: &Path) -> String {
    let uris: Vec<_> = path.uris().iter().map(|uri| format!("{uri:?}")).collect();
    uris.join(" ")
}

fn print(verdict: &Verdict, verbose: bool) -> Result<(), Unheard> {
    let (mark, why) = match &verdict.outcome {
        Outcome::Pass => ("pass", None),
        Outcome::Fail(why) => ("FAIL", Some(why)),
        Outcome::NotApplicable(why) => ("n/a", Some(why)),
    };
    let place = format!("{} {}", verdict.rfc, verdict.requirement);
    say!("{mark:<4}  {:<24}  {:<34}  {}", verdict.name, place.trim_end(), verdict.demand)?;
    if let Some(why) = why {
        say!("      {why}")?;
    }
    if verbose || mark == "FAIL" {
        for line in &verdict.transcript {
            say!("        {}", line.chars().filter(|one| !one.is_control()).collect::<String>())?;
        }
    }
    Ok(())
}

fn told(verdict: &Verdict) -> Value {
    let (result, why) = match &verdict.outcome {
        Outcome::Pass => ("pass", None),
        Outcome::Fail(why) => ("fail", Some(why)),
        Outcome::NotApplicable(why) => ("not-applicable", Some(why)),
    };
    json!({
        "name": verdict.name, "rfc": verdict.rfc, "requirement": verdict.requirement, "demand": verdict.demand,
        "result": result, "reason": why, "transcript": verdict.transcript,
    })
}
