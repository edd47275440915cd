//! Packets of any content through inspectors, selection and numbering.

#![no_main]

#[path = "../bodies/payload.rs"]
mod payload;

libfuzzer_sys::fuzz_target!(|data: &[u8]| payload::run(data));
