//! Messages of any content into a hub with a live stream.

#![no_main]

#[path = "../bodies/envelope.rs"]
mod envelope;

libfuzzer_sys::fuzz_target!(|data: &[u8]| envelope::run(data));
