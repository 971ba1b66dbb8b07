//! Bytes of a server's stream against the initiating role. See `nuncio_stream::fuzz::client`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nuncio_stream::fuzz::client(data));
