//! What the RFCs print beside frames: media sections of SDP (4975, 4976, 5547, 7701, 7977) and CPIM (3862). Read, told, written, read again as the same.

use std::fmt::Write as _;

use bytes::Bytes;
use nuncio_msrp::cpim::Cpim;
use nuncio_msrp::sdp::Description;
use sdp_types::Session;

const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 host.example\r\ns=-\r\nt=0 0\r\n";

/// Each section with its title, its lines ended by CRLF.
fn sections(text: &str) -> Vec<(&str, String)> {
    text.split("\n## ")
        .skip(1)
        .filter_map(|part| part.split_once('\n'))
        .map(|(title, body)| (title, crlf(body)))
        .collect()
}

fn crlf(body: &str) -> String {
    body.lines().fold(String::new(), |all, line| all + line + "\r\n")
}

fn read(media: &str) -> (Session, Result<Description, String>) {
    let session = Session::parse(format!("{HEAD}{media}").as_bytes()).expect("SDP");
    let description = Description::read(&session.medias[0], &session).map_err(|error| error.to_string());
    (session, description)
}

/// Everything that the description says, in one line.
fn told(description: &Description) -> String {
    let mut line = format!("port {} tls {} path {}", description.port, description.tls, description.path);
    let types = |types: &nuncio_msrp::media::AcceptTypes| format!("{types}");
    write!(
        line,
        " accept [{}] wrapped [{}]",
        types(&description.accept_types),
        types(&description.accept_wrapped_types)
    )
    .expect("a string");
    write!(line, " size {:?} {:?}", description.max_size, description.direction).expect("a string");
    for fingerprint in &description.fingerprints {
        write!(line, " {fingerprint}").expect("a string");
    }
    for other in &description.others {
        write!(line, " {}", other.attribute).expect("a string");
    }
    line
}

/// RFC 4975 §8 and what builds on it: each offer and answer that is printed.
#[test]
fn offers_and_answers_of_the_rfcs() {
    let mut table = String::new();
    for (title, media) in sections(include_str!("golden/sdp.txt")) {
        let (mut session, description) = read(&media);
        match description {
            Ok(description) => {
                writeln!(table, "{title}: {}", told(&description)).expect("a string");
                session.medias[0] = description.write();
                let mut bytes = Vec::new();
                session.write(&mut bytes).expect("into memory");
                let again = Session::parse(&bytes).expect("ours");
                assert_eq!(Description::read(&again.medias[0], &again), Ok(description), "{title}");
            }
            Err(error) => writeln!(table, "{title}: {error}").expect("a string"),
        }
    }
    let wanted = include_str!("golden/sdp-told.txt");
    assert_eq!(table, wanted, "{table}");
}

/// RFC 3862: its messages of §5, and the headers that it prints elsewhere, each inside a message.
#[test]
fn cpim_of_rfc_3862() {
    let mut table = String::new();
    for (title, text) in sections(include_str!("golden/cpim.txt")) {
        // The last line's end is the frame's, not the content's.
        let text = text.strip_suffix("\r\n").expect("a last line");
        match Cpim::parse(&Bytes::from(text.to_owned())) {
            Ok(cpim) => {
                let names: Vec<_> = cpim.to.iter().map(|to| format!("{to:?}")).collect();
                let headers: Vec<_> = cpim.headers.iter().map(|header| format!("{header:?}")).collect();
                writeln!(
                    table,
                    "{title}: {:?} -> {} {:?} {}",
                    cpim.from,
                    names.join(" "),
                    cpim.date_time,
                    headers.join(" ")
                )
                .expect("a string");
                writeln!(table, "  {} {:?} {:?}", cpim.content_type, cpim.content_fields, cpim.content)
                    .expect("a string");
                assert_eq!(Cpim::parse(&cpim.write().into()), Ok(cpim), "{title}");
            }
            Err(error) => writeln!(table, "{title}: {error}").expect("a string"),
        }
    }
    let wanted = include_str!("golden/cpim-told.txt");
    assert_eq!(table, wanted, "{table}");
}
