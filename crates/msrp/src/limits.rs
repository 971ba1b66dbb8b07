//! Bounds of what a peer may make us hold.

/// Bounds of one frame. What is beyond them is answered with 400 and skipped, or ends the connection where nothing can be skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The start line and all header fields of a frame, in bytes.
    pub head_bytes: usize,
    /// One line of them, in bytes without its CRLF.
    pub line_bytes: usize,
    /// Header fields of a frame.
    pub fields: usize,
    /// URIs of a path.
    pub path: usize,
    /// The body of anything but a SEND, in bytes (RFC 4975 §7.1: 10240).
    pub other_body: usize,
}

impl Limits {
    /// What RFC 4975 demands, and room for long relay chains and credentials.
    pub const DEFAULT: Self =
        Self { head_bytes: 16_384, line_bytes: 8_192, fields: 64, path: 16, other_body: 10_240 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
