//! TLSA records against the invariants of `nuncio_dna::fuzz::tlsa`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nuncio_dna::fuzz::tlsa(data));
