//! Messages of a SASL exchange against both roles.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    nuncio_stream::sasl::fuzz_server(data);
    nuncio_stream::sasl::fuzz_client(data);
});
