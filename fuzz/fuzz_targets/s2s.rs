//! Bytes of a peer's stream against both roles of streams between servers. See `nuncio_stream::fuzz::s2s`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nuncio_stream::fuzz::s2s(data));
