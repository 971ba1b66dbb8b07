//! Bytes of a client's stream against the receiving role, its host logging it in. See `nuncio_stream::fuzz::c2s`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nuncio_stream::fuzz::c2s(data));
