//! Bytes against a relay's connection. See `nuncio_msrp::fuzz::relay`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nuncio_msrp::fuzz::relay(data));
