//! The fuzzer of [`lb_fuzz::manifests`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lb_fuzz::manifests::run(bytes));
