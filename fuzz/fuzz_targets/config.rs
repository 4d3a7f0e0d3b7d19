#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| h2ws_cli::fuzz::config(input));
