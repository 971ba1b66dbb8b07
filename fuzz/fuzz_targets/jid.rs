//! Addresses against the invariants of `nuncio_xmpp::fuzz::jid`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nuncio_xmpp::fuzz::jid(data));
