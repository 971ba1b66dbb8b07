//! The messages of SCRAM (RFC 5802 §7) and its two preparations of strings.
//!
//! Parsing is strict: attributes in the order of the grammar, none twice, `m=` refused, unknown optional attributes checked
//! for form and then ignored (RFC 5802 §5.1). What enters the signatures is always the text as it was received.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{MAX_MESSAGE, MAX_NAME};

/// Why a message is none of SCRAM's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// Longer than [`MAX_MESSAGE`].
    #[error("message too long")]
    TooLong,
    /// Not UTF-8, or it contains NUL.
    #[error("message is not UTF-8 without NUL")]
    NotText,
    /// The gs2 header is malformed.
    #[error("malformed gs2 header")]
    Header,
    /// An attribute is missing, repeated or out of order.
    #[error("attribute missing, repeated or out of order")]
    Order,
    /// A mandatory extension, of which there is none yet.
    #[error("unsupported mandatory extension")]
    Mandatory,
    /// A name has a bad escape, is empty or too long.
    #[error("malformed name")]
    Name,
    /// A nonce is empty or not printable.
    #[error("malformed nonce")]
    Nonce,
    /// A value that must be base64 is not.
    #[error("malformed base64 value")]
    Base64,
    /// The iteration count is no positive number of 32 bits.
    #[error("malformed iteration count")]
    Iterations,
    /// An extension is not of the form `letter=value`.
    #[error("malformed extension")]
    Extension,
}

/// The gs2-cbind-flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flag {
    /// `n`: the client does not bind channels.
    Unsupported,
    /// `y`: the client would, but saw no offer.
    NotOffered,
    /// `p=type`.
    Bound(String),
}

/// The client's first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFirst<'a> {
    /// Whether and how the channel is bound.
    pub flag: Flag,
    /// The authorization identity, unescaped; never empty.
    pub authzid: Option<String>,
    /// The user name, unescaped, not prepared; never empty.
    pub username: String,
    /// The client's nonce.
    pub nonce: &'a str,
    /// The gs2 header as received, with its final comma.
    pub header: &'a str,
    /// The rest as received.
    pub bare: &'a str,
}

impl<'a> ClientFirst<'a> {
    /// Reads `client-first-message`.
    ///
    /// # Errors
    /// The message breaks the grammar.
    pub fn parse(message: &'a [u8]) -> Result<Self, ScramError> {
        let text = text(message)?;
        let mut fields = text.splitn(3, ',');
        let (Some(flag), Some(authzid), Some(bare)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(ScramError::Header);
        };
        let header = text.get(..text.len() - bare.len()).ok_or(ScramError::Header)?;
        let flag = match flag {
            "n" => Flag::Unsupported,
            "y" => Flag::NotOffered,
            _ => Flag::Bound(
                flag.strip_prefix("p=").filter(|name| is_cb_name(name)).ok_or(ScramError::Header)?.to_owned(),
            ),
        };
        let authzid = match authzid {
            "" => None,
            _ => Some(unescape(authzid.strip_prefix("a=").ok_or(ScramError::Header)?, MAX_AUTHZID)?),
        };
        let mut attributes = bare.split(',');
        let username = unescape(attribute(attributes.next(), 'n')?, MAX_NAME)?;
        let nonce = nonce(attribute(attributes.next(), 'r')?)?;
        extensions(attributes)?;
        Ok(Self { flag, authzid, username, nonce, header, bare })
    }
}

/// Two identities of 1023 bytes and the `@` between them.
const MAX_AUTHZID: usize = 2 * MAX_NAME + 1;

/// The server's first message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFirst<'a> {
    /// Both nonces, joined.
    pub nonce: &'a str,
    /// The salt; never empty.
    pub salt: Vec<u8>,
    /// The iteration count; never zero.
    pub iterations: u32,
    /// The value of `h` (XEP-0474), if it is there.
    pub downgrade_hash: Option<&'a str>,
}

impl<'a> ServerFirst<'a> {
    /// Reads `server-first-message`.
    ///
    /// # Errors
    /// The message breaks the grammar, or the count does not fit 32 bits.
    pub fn parse(message: &'a [u8]) -> Result<Self, ScramError> {
        let mut attributes = text(message)?.split(',');
        let nonce = nonce(attribute(attributes.next(), 'r')?)?;
        let salt = base64(attribute(attributes.next(), 's')?)?;
        let count = attribute(attributes.next(), 'i')?;
        if count.starts_with('0') || !count.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(ScramError::Iterations);
        }
        let iterations = count.parse().map_err(|_| ScramError::Iterations)?;
        let downgrade_hash = extensions(attributes)?;
        Ok(Self { nonce, salt, iterations, downgrade_hash })
    }
}

/// The client's last message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientFinal<'a> {
    /// The base64 text of `c`: gs2 header and channel-binding data.
    pub binding: &'a str,
    /// Both nonces, joined.
    pub nonce: &'a str,
    /// The proof.
    pub proof: Vec<u8>,
    /// Everything before `,p=`, as received.
    pub without_proof: &'a str,
}

impl<'a> ClientFinal<'a> {
    /// Reads `client-final-message`.
    ///
    /// # Errors
    /// The message breaks the grammar.
    pub fn parse(message: &'a [u8]) -> Result<Self, ScramError> {
        let (without_proof, proof) = text(message)?.rsplit_once(',').ok_or(ScramError::Order)?;
        let proof = base64(attribute(Some(proof), 'p')?)?;
        let mut attributes = without_proof.split(',');
        let binding = attribute(attributes.next(), 'c')?;
        base64(binding)?;
        let nonce = nonce(attribute(attributes.next(), 'r')?)?;
        extensions(attributes)?;
        Ok(Self { binding, nonce, proof, without_proof })
    }
}

/// The server's last message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerFinal<'a> {
    /// `v`: the server's signature.
    Verifier(Vec<u8>),
    /// `e`: why it failed.
    Error(&'a str),
}

impl<'a> ServerFinal<'a> {
    /// Reads `server-final-message`.
    ///
    /// # Errors
    /// The message breaks the grammar.
    pub fn parse(message: &'a [u8]) -> Result<Self, ScramError> {
        let mut attributes = text(message)?.split(',');
        let first = attributes.next();
        let this = match attribute(first, 'e') {
            Ok(error) => Self::Error(error),
            Err(_) => Self::Verifier(base64(attribute(first, 'v')?)?),
        };
        extensions(attributes)?;
        Ok(this)
    }
}

/// The text of `c`: the gs2 header and the channel-binding data, base64.
pub fn binding_text(header: &str, data: &[u8]) -> String {
    STANDARD.encode([header.as_bytes(), data].concat())
}

/// Writes a name as `saslname`: `,` and `=` escaped.
pub fn escape(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

/// Prepares a user name with SASLprep (RFC 4013); none if it has a prohibited character, comes out empty or over [`MAX_NAME`] bytes.
/// Code points that Unicode 3.2 had not assigned are allowed, as for a query string (RFC 5802 §5.1).
pub fn prepare_username(name: &str) -> Option<String> {
    let prepared = match stringprep::saslprep(name) {
        Ok(prepared) => prepared.into_owned(),
        // SASLprep of a query keeps unassigned code points, for which the tables know nothing more to do.
        Err(_) => keep_unassigned(name)?,
    };
    (!prepared.is_empty() && prepared.len() <= MAX_NAME).then_some(prepared)
}

/// The name as it is if all that SASLprep has against it are code points that its tables do not know.
fn keep_unassigned(name: &str) -> Option<String> {
    use stringprep::tables;
    if !name.chars().any(tables::unassigned_code_point) {
        return None;
    }
    let known: String = name.chars().filter(|letter| !tables::unassigned_code_point(*letter)).collect();
    (known == stringprep::saslprep(&known).ok()?).then(|| name.to_owned())
}

/// Prepares a password with SASLprep as a stored string (RFC 5802 §2.2); none if it has a prohibited or unassigned character, comes out empty or is over [`MAX_NAME`] bytes.
pub fn prepare_password(password: &str) -> Option<Zeroizing<String>> {
    if password.len() > MAX_NAME {
        return None;
    }
    let prepared = Zeroizing::new(stringprep::saslprep(password).ok()?.into_owned());
    (!prepared.is_empty()).then_some(prepared)
}

fn text(message: &[u8]) -> Result<&str, ScramError> {
    if message.len() > MAX_MESSAGE {
        return Err(ScramError::TooLong);
    }
    std::str::from_utf8(message).ok().filter(|text| !text.contains('\0')).ok_or(ScramError::NotText)
}

fn is_cb_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'-')
}

/// The value of the attribute that must stand here. Never empty.
fn attribute(field: Option<&str>, name: char) -> Result<&str, ScramError> {
    let field = field.ok_or(ScramError::Order)?;
    if name != 'm' && field.starts_with("m=") {
        return Err(ScramError::Mandatory);
    }
    let value = field.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')).ok_or(ScramError::Order)?;
    if value.is_empty() { Err(ScramError::Order) } else { Ok(value) }
}

/// Checks the optional attributes and gives the value of `h`.
fn extensions<'a>(fields: impl Iterator<Item = &'a str>) -> Result<Option<&'a str>, ScramError> {
    let mut downgrade_hash = None;
    for field in fields {
        let mut letters = field.chars();
        let (Some(name), Some('='), value) = (letters.next(), letters.next(), letters.as_str()) else {
            return Err(ScramError::Extension);
        };
        match name {
            'm' => return Err(ScramError::Mandatory),
            'a' | 'n' | 'r' | 'c' | 's' | 'i' | 'p' | 'v' | 'e' => return Err(ScramError::Order),
            _ if !name.is_ascii_alphabetic() || value.is_empty() => return Err(ScramError::Extension),
            'h' if downgrade_hash.replace(value).is_some() => return Err(ScramError::Order),
            _ => {}
        }
    }
    Ok(downgrade_hash)
}

fn base64(value: &str) -> Result<Vec<u8>, ScramError> {
    STANDARD.decode(value).map_err(|_| ScramError::Base64)
}

fn nonce(value: &str) -> Result<&str, ScramError> {
    if value.bytes().all(|byte| byte.is_ascii_graphic()) { Ok(value) } else { Err(ScramError::Nonce) }
}

fn unescape(name: &str, limit: usize) -> Result<String, ScramError> {
    let mut out = String::with_capacity(name.len());
    let mut pieces = name.split('=');
    out.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let (letter, rest) = match (piece.strip_prefix("2C"), piece.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            (None, None) => return Err(ScramError::Name),
        };
        out.push(letter);
        out.push_str(rest);
    }
    if out.is_empty() || out.len() > limit { Err(ScramError::Name) } else { Ok(out) }
}
