#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| xtask::targets::run("bounce", input));
