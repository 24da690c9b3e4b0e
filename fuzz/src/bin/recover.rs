//! The fuzzer of [`lb_fuzz::recover`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| lb_fuzz::recover(bytes));
