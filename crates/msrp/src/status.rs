//! Status codes (RFC 4975 §10, RFC 4976 §10.3, RFC 7701 §10) and the `Status` header field of reports.

use std::fmt;

/// A status code of three digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Status(u16);

impl Status {
    /// The transaction, or the delivery, succeeded.
    pub const OK: Self = Self(200);
    /// The request was unintelligible.
    pub const BAD_REQUEST: Self = Self(400);
    /// An AUTH request without valid credentials (RFC 4976 §10.3).
    pub const UNAUTHORIZED: Self = Self(401);
    /// The attempted action is not allowed.
    pub const FORBIDDEN: Self = Self(403);
    /// A downstream transaction did not complete in time; the same as a local time-out.
    pub const TIMEOUT: Self = Self(408);
    /// Stop sending this message.
    pub const STOP: Self = Self(413);
    /// The media type is not understood.
    pub const MEDIA_TYPE: Self = Self(415);
    /// A parameter is out of bounds (RFC 4976).
    pub const OUT_OF_BOUNDS: Self = Self(423);
    /// No such session.
    pub const NO_SESSION: Self = Self(481);
    /// The method is not understood.
    pub const NOT_IMPLEMENTED: Self = Self(501);
    /// The session is bound to another connection.
    pub const OTHER_CONNECTION: Self = Self(506);

    /// A code from 100 to 999.
    pub const fn new(code: u16) -> Option<Self> {
        if code >= 100 && code <= 999 { Some(Self(code)) } else { None }
    }

    /// Reads three digits.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 3 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        text.parse().ok().and_then(Self::new)
    }

    /// The number.
    pub const fn code(self) -> u16 {
        self.0
    }

    /// Whether it is of the 200 class.
    pub const fn is_success(self) -> bool {
        self.0 / 100 == 2
    }

    /// What we write after the code, for people.
    pub const fn comment(self) -> &'static str {
        match self.0 {
            200 => "OK",
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            408 => "Request Timeout",
            413 => "Stop Sending Message",
            415 => "Unsupported Media Type",
            423 => "Interval Out-of-Bounds",
            424 => "Malformed Nickname",
            425 => "Nickname Reserved",
            428 => "Private Messages Not Supported",
            481 => "Session Does Not Exist",
            501 => "Method Not Implemented",
            506 => "Session On Other Connection",
            _ => "",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03}", self.0)
    }
}

/// The `Status` header field of a REPORT: only namespace `000` says anything we know (RFC 4975 §7.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportStatus {
    /// The namespace, `0` to `999`.
    pub namespace: u16,
    /// The code.
    pub status: Status,
    /// For people.
    pub comment: Option<Box<str>>,
}

impl ReportStatus {
    /// Of namespace `000`, with our comment.
    pub fn of(status: Status) -> Self {
        let comment = Some(status.comment()).filter(|comment| !comment.is_empty()).map(Into::into);
        Self { namespace: 0, status, comment }
    }

    /// Reads `namespace SP code [SP comment]`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(3, ' ');
        let namespace = words.next()?;
        if namespace.len() != 3 || !namespace.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let status = Status::parse(words.next()?)?;
        let comment = words.next().filter(|comment| !comment.is_empty()).map(Into::into);
        Some(Self { namespace: namespace.parse().ok()?, status, comment })
    }

    /// The transaction code that this report stands for; none for a namespace that we do not know.
    pub fn known(&self) -> Option<Status> {
        (self.namespace == 0).then_some(self.status)
    }
}

impl fmt::Display for ReportStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03} {}", self.namespace, self.status)?;
        match &self.comment {
            None => Ok(()),
            Some(comment) => write!(f, " {comment}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_three_digits() {
        assert_eq!(Status::parse("200"), Some(Status::OK));
        assert_eq!(Status::parse("506"), Some(Status::OTHER_CONNECTION));
        for bad in ["", "20", "2000", "+20", "099", "2 0", "２００"] {
            assert_eq!(Status::parse(bad), None, "{bad}");
        }
        assert!(Status::OK.is_success() && !Status::TIMEOUT.is_success());
    }

    #[test]
    fn a_report_status_has_a_namespace() {
        let status = ReportStatus::parse("000 200 OK").expect("RFC 4975 §11.6");
        assert_eq!(status.known(), Some(Status::OK));
        assert_eq!(status.to_string(), "000 200 OK");
        assert_eq!(ReportStatus::of(Status::OK), status);
        assert_eq!(ReportStatus::parse("000 413").and_then(|status| status.known()), Some(Status::STOP));
        assert_eq!(ReportStatus::parse("001 200 OK").and_then(|status| status.known()), None);
        for bad in ["200 OK", "000", "0 200", "000  200", "000 2000", ""] {
            assert_eq!(ReportStatus::parse(bad), None, "{bad}");
        }
    }
}
