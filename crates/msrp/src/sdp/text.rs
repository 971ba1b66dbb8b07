//! A whole session description with one MSRP line, for those who exchange it without SIP: by hand or by file.

use nuncio_sansio::Entropy;
use sdp_types::{AddrType, NetType, Origin, Session, Time};

use super::{Description, SdpError};

impl Description {
    /// A session description (RFC 8866) that has nothing else.
    pub fn to_text(&self, entropy: &dyn Entropy) -> String {
        let mut number = [0; 8];
        entropy.fill(&mut number);
        let address = self.address.as_deref().unwrap_or("0.0.0.0");
        let bare = address.trim_start_matches('[').trim_end_matches(']');
        let origin = Origin {
            username: None,
            // Below 2^63, as some keep it in a signed number.
            sess_id: (u64::from_be_bytes(number) >> 1).to_string(),
            sess_version: 1,
            nettype: NetType::In,
            addrtype: if bare.contains(':') { AddrType::Ip6 } else { AddrType::Ip4 },
            unicast_address: bare.to_owned(),
        };
        let mut session = Session::new(origin, "-");
        session.times = vec![Time::new(0, 0)];
        session.medias = vec![self.write()];
        let mut out = Vec::new();
        // Into memory, which has room.
        let _written = session.write(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// The first MSRP line of a session description. Lines may end in LF alone, as editors leave them.
    ///
    /// # Errors
    /// It is no session description, or has no MSRP line that can be used.
    pub fn from_text(text: &str) -> Result<Self, SdpError> {
        let lines: Vec<_> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        let mut wire = lines.join("\r\n");
        wire.push_str("\r\n");
        let session = Session::parse(wire.as_bytes()).map_err(|_| SdpError::Text)?;
        let media = session.medias.iter().find(|media| Self::is_msrp(media)).ok_or(SdpError::NotMsrp)?;
        Self::read(media, &session)
    }
}
