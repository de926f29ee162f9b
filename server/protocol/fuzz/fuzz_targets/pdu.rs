//! libFuzzer on the parsing of events; see `hearth_protocol::testing::fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hearth_protocol::testing::fuzz::pdu(data));
