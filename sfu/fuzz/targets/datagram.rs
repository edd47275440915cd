//! Datagrams into a shard with a live session.

#![no_main]

#[path = "../bodies/datagram.rs"]
mod datagram;

use std::cell::RefCell;

thread_local! {
    static SESSION: RefCell<datagram::Session> = RefCell::new(datagram::Session::new(1));
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| SESSION.with_borrow_mut(|session| session.run(data)));
