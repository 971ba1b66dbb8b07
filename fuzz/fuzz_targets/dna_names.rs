//! Names in certificates against the invariants of `nuncio_dna::fuzz::names`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nuncio_dna::fuzz::names(data));
