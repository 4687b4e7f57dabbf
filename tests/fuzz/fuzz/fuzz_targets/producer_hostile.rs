#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| everstream_fuzz::targets::producer_hostile::run(data));
