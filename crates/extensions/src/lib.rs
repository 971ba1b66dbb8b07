//! What Nuncio implements beside the core: one file or folder an XEP, each a [`Extension`] that plugs into the router's points.
//!
//! Adding one is a file here and a line in [`ALL`]; `docs/manual/extending.md` shows it with a real one. Extensions never use each other: what one needs of
//! another it asks by a point of the router, and names the other in its `needs`.

mod blocking;
mod caps;
mod carbons;
mod contact;
mod csi;
mod disco;
mod hints;
mod last;
mod offline;
mod ping;
mod private;
mod sm;
mod stanza_id;
mod time;
mod vcard;
mod version;

use nuncio_router::Extension;

/// Every extension there is, in the order of their names. Each says itself whether it is on unless configured otherwise.
pub const ALL: &[Extension] = &[
    blocking::EXTENSION,
    caps::EXTENSION,
    carbons::EXTENSION,
    contact::EXTENSION,
    csi::EXTENSION,
    disco::EXTENSION,
    hints::EXTENSION,
    last::EXTENSION,
    offline::EXTENSION,
    ping::EXTENSION,
    private::EXTENSION,
    sm::EXTENSION,
    stanza_id::EXTENSION,
    time::EXTENSION,
    vcard::EXTENSION,
    version::EXTENSION,
];
