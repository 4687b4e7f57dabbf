#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| everstream_fuzz::targets::recovery::run(data));
