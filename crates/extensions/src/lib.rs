//! What Nuncio implements beside the core: one file or folder an XEP, each an [`Extension`] that plugs into the router's points.
//!
//! Adding one is a file here and a line in the list below; `docs/manual/extending.md` shows it with a real one. Extensions never use
//! each other: what one needs of another it asks by a point of the router, and it names the other in its `needs`.

use nuncio_router::Extension;

macro_rules! extensions {
    ($($name:ident),* $(,)?) => {
        $(pub mod $name;)*

        /// Every extension there is, by name. Each says itself whether it is on unless configured otherwise.
        pub const ALL: &[Extension] = &[$($name::EXTENSION),*];
    };
}

// rustfmt does not look for files through a macro: `cargo xtask tidy` names them to it.
extensions! {
    blocking,
    caps,
    carbons,
    commands,
    contact,
    csi,
    disco,
    external_services,
    hints,
    last,
    offline,
    ping,
    private,
    register,
    sm,
    stanza_id,
    time,
    vcard,
    version,
}
