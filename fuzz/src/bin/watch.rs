//! The fuzzer of [`lb_fuzz::watch`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lb_fuzz::watch::run(bytes));
