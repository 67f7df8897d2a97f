#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| tandem_xmpp_edge_fuzz::stream(data));
