#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::TempDir::new_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory can be made");
    pykv::fuzzing::backup(dir.path(), bytes);
});
