//! Writes random frames for other programs to read: `frames FOLDER COUNT SEED`.
//!
//! `frames.bin` has the frames one after the other; each line of `told.tsv` says what one of them is meant to say: its length; method or
//! code; the comment; transaction; To-Path; From-Path; Message-ID; Byte-Range; Success-Report; Failure-Report; Status; another field's name
//! and value; Content-Type; the body's length; the flag. What is absent is `-`.

use std::io::{BufWriter, Write};
use std::path::Path as File;

use nuncio_msrp::{
    ByteRange, FailureReport, Flag, Head, Ident, Method, Path, ReportStatus, Start, Status, Uri,
};
use nuncio_sansio::pair::Counter;
use nuncio_xmpp::fuzz::Rng;

/// The longest body: a frame has to fit into one IP packet.
const LONGEST: usize = 4_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(folder), Some(count), Some(seed)) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("frames FOLDER COUNT SEED".into());
    };
    let (count, mut rng) = (count.parse::<usize>()?, Rng::new(seed.parse()?));
    let entropy = Counter::default();
    let mut frames = BufWriter::new(std::fs::File::create(File::new(&folder).join("frames.bin"))?);
    let mut told = BufWriter::new(std::fs::File::create(File::new(&folder).join("told.tsv"))?);
    for _ in 0..count {
        let (mut head, body, flag) = frame(&mut rng, &entropy).ok_or("a frame that cannot be")?;
        let bytes = head.frame(body.as_deref(), flag, &entropy);
        frames.write_all(&bytes)?;
        writeln!(told, "{}", line(&head, bytes.len(), body.as_deref(), flag).join("\t"))?;
    }
    frames.flush()?;
    told.flush()?;
    Ok(())
}

fn frame(rng: &mut Rng, entropy: &Counter) -> Option<(Head, Option<Vec<u8>>, Flag)> {
    let (to, from) = (path(rng, entropy)?, path(rng, entropy)?);
    let id = ident(rng, entropy)?;
    let mut head = match rng.below(8) {
        0..4 => Head::request(id, Method::Send, to, from),
        4 => {
            let mut head = Head::request(id, Method::Report, to, from);
            head.status = Some(ReportStatus::of(status(rng)));
            head
        }
        5 => {
            let method = if rng.one_in(2) { Method::Auth } else { Method::Nickname };
            Head::request(id, method, to, from)
        }
        _ => {
            let mut head = Head::request(id, Method::Send, to, from);
            let status = status(rng);
            let comment = Some(status.comment()).filter(|text| !text.is_empty() && !rng.one_in(4));
            head.start = Start::Response { status, comment: comment.map(Into::into) };
            head
        }
    };
    let send = head.is_send();
    if send || rng.one_in(2) {
        head.message_id = Some(ident(rng, entropy)?);
    }
    let mut body = None;
    if send && !rng.one_in(6) {
        let length = if rng.one_in(4) { rng.below(LONGEST) } else { rng.below(80) };
        let bytes: Vec<u8> = if rng.one_in(2) {
            (0..length).map(|_| b"abc def\xc3\xa9\r\n-"[rng.below(12)]).collect()
        } else {
            (0..length).map(|_| rng.below(256) as u8).collect()
        };
        body = Some(bytes);
        head.content_type = Some(TYPES[rng.below(TYPES.len())].into());
    }
    if send || rng.one_in(3) {
        let offset = rng.below(1_000_000) as u64;
        let length = body.as_ref().map_or(0, Vec::len) as u64;
        let total = rng.one_in(2).then_some(offset + length);
        head.range = ByteRange::at(offset, (!rng.one_in(3)).then_some(length), total).ok();
    }
    head.success_report = send && rng.one_in(3);
    head.failure_report = match rng.below(6) {
        0 if send => FailureReport::Partial,
        1 if send => FailureReport::No,
        _ => FailureReport::Yes,
    };
    if rng.one_in(3) {
        let (name, value) = FIELDS[rng.below(FIELDS.len())];
        head.add(name, value).ok()?;
    }
    let flag = match rng.below(4) {
        0 if send => Flag::More,
        1 if send => Flag::Abort,
        _ => Flag::Last,
    };
    Some((head, body, flag))
}

/// Each has a parameter: where there is none, tshark 4.0 takes a `;` among the first octets of the body for its beginning, and gives up.
const TYPES: [&str; 3] =
    ["text/plain;charset=utf-8", "application/octet-stream;x=\"y\"", "image/x-nothing; a=b"];

/// Fields that relays and rooms use.
const FIELDS: [(&str, &str); 7] = [
    ("Expires", "1800"),
    ("Use-Path", "msrps://relay.example.org:2855/zcoGbRxzU0fdFwSN;tcp"),
    ("WWW-Authenticate", "Digest realm=\"example.org\", qop=\"auth\", nonce=\"dcd98b7102dd2f0e8b11\""),
    (
        "Authorization",
        "Digest username=\"Alice\", realm=\"example.org\", nonce=\"dcd98b\", qop=auth, nc=00000001, cnonce=\"0a4f113b\", response=\"6629fae49393a05397450978507c4ef1\"",
    ),
    (
        "Authentication-Info",
        "rspauth=\"7327570c586207eca2afae94fc20903d\", cnonce=\"0a4f113b\", nc=00000001, qop=auth",
    ),
    ("Use-Nickname", "\"Alice the great\""),
    ("X-Unknown", "something else: or other"),
];

fn status(rng: &mut Rng) -> Status {
    [
        Status::OK,
        Status::BAD_REQUEST,
        Status::UNAUTHORIZED,
        Status::TIMEOUT,
        Status::NO_SESSION,
        Status::OTHER_CONNECTION,
    ][rng.below(6)]
}

fn ident(rng: &mut Rng, entropy: &Counter) -> Option<Ident> {
    const WITHIN: &[u8] = b"abcXYZ0189.-+%=";
    if rng.one_in(2) {
        return Some(Ident::random(entropy));
    }
    let mut text = String::from("a");
    (0..3 + rng.below(29)).for_each(|_| text.push(char::from(WITHIN[rng.below(WITHIN.len())])));
    Ident::new(&text).ok()
}

fn path(rng: &mut Rng, entropy: &Counter) -> Option<Path> {
    let hosts = ["a.example.org", "192.0.2.7", "[2001:db8::7]", "xn--bcher-kva.example"];
    let uri = |rng: &mut Rng| {
        let scheme = if rng.one_in(3) { "msrp" } else { "msrps" };
        let user = if rng.one_in(4) { "alice@" } else { "" };
        let transport = if rng.one_in(5) { "ws" } else { "tcp" };
        let port = 1 + rng.below(65_000);
        let host = hosts[rng.below(hosts.len())];
        let session = Ident::random(entropy);
        Uri::parse(&format!("{scheme}://{user}{host}:{port}/{session};{transport}")).ok()
    };
    Path::new((0..=rng.below(4)).map(|_| uri(rng)).collect::<Option<Vec<_>>>()?)
}

fn line(head: &Head, length: usize, body: Option<&[u8]>, flag: Flag) -> Vec<String> {
    let (start, comment) = match &head.start {
        Start::Request(method) => (method.as_str().to_owned(), None),
        Start::Response { status, comment } => (status.to_string(), comment.as_deref()),
    };
    let uris = |path: &Path| path.uris().iter().map(Uri::as_str).collect::<Vec<_>>().join(" ");
    let or = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let field = head.fields.first();
    vec![
        length.to_string(),
        start,
        or(comment.map(str::to_owned)),
        head.id.to_string(),
        uris(&head.to),
        uris(&head.from),
        or(head.message_id.map(|id| id.to_string())),
        or(head.range.map(|range| range.to_string())),
        or(head.success_report.then(|| "yes".to_owned())),
        or((head.failure_report != FailureReport::Yes).then(|| head.failure_report.as_str().to_owned())),
        or(head.status.as_ref().map(ToString::to_string)),
        or(field.map(|field| field.name().to_owned())),
        or(field.map(|field| field.value().to_owned())),
        or(head.content_type.as_deref().map(str::to_owned)),
        or(body.map(|body| body.len().to_string())),
        char::from(flag.byte()).to_string(),
    ]
}
