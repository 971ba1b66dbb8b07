//! Requests and answers, true and forged, against a simple table. See `nuncio_stream::iq::fuzz::walk`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nuncio_stream::iq::fuzz::walk(data));
