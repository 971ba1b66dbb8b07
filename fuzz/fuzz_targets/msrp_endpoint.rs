//! Bytes against an MSRP endpoint with one session. See `nuncio_msrp::fuzz::endpoint`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nuncio_msrp::fuzz::endpoint(data));
