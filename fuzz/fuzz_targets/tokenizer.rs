//! Bytes of a stream against the invariants of `nuncio_xmpp::fuzz::tokenizer`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nuncio_xmpp::fuzz::tokenizer(data));
