#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pykv::fuzzing::record(bytes));
