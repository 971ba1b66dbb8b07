//! Bytes against the frame parser. See `nuncio_msrp::fuzz::frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nuncio_msrp::fuzz::frames(data));
