//! Bytes against notifications, alone and in CPIM. See `nuncio_msrp::fuzz::imdn`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nuncio_msrp::fuzz::imdn(data));
