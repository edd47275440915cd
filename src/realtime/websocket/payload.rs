//! Hot path. Payloads that many receivers share, compressed once for all of them.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::deflate::{self, Window};
use crate::metrics::Counter;

/// How many payloads are remembered: the broadcasts of some turns of the hub. Fewer, and sockets that are a turn behind
/// make a broadcast be compressed again; more, and more memory is held for nobody.
const REMEMBERED: usize = 64;

/// One message to be written, in the forms that its receivers need.
#[derive(Clone, Debug)]
pub(crate) enum Payload {
    /// As it is.
    Plain(Bytes),
    /// Compressed for those who can take it.
    Deflatable(Arc<Deflatable>),
}

/// A payload with its compressed forms, each made by the first writer that needs it.
#[derive(Debug)]
pub(crate) struct Deflatable {
    plain: Bytes,
    /// By [`Window`]; none where the payload does not shrink.
    deflated: [OnceLock<Option<Bytes>>; Window::COUNT],
    compressions: Counter,
}

impl Payload {
    /// A payload that is compressed even when it grows.
    #[cfg(test)]
    pub(crate) fn deflated(plain: Bytes, window: Window) -> Self {
        let form = deflate::deflate(&plain, window, plain.len() + 64);
        let mut deflated: [OnceLock<Option<Bytes>>; Window::COUNT] = Default::default();
        deflated[window as usize] = OnceLock::from(form);
        Self::Deflatable(Arc::new(Deflatable {
            plain,
            deflated,
            compressions: Counter::default(),
        }))
    }

    /// The bytes for a receiver, and whether they are compressed.
    pub(crate) fn form(&self, window: Option<Window>) -> (&Bytes, bool) {
        match (self, window) {
            (Self::Plain(plain), _) => (plain, false),
            (Self::Deflatable(payload), None) => (&payload.plain, false),
            (Self::Deflatable(payload), Some(window)) => match payload.deflated(window) {
                Some(deflated) => (deflated, true),
                None => (&payload.plain, false),
            },
        }
    }
}

impl Deflatable {
    fn deflated(&self, window: Window) -> Option<&Bytes> {
        let form = self.deflated[window as usize].get_or_init(|| {
            self.compressions.increment();
            // A message that does not shrink goes as it is.
            deflate::deflate(&self.plain, window, self.plain.len().saturating_sub(1))
        });
        form.as_ref()
    }
}

/// Recognises payloads that were handed out before.
pub(crate) struct Payloads {
    compress_min_bytes: usize,
    /// By a hash of the address. While a payload is held here no other can be at its address.
    remembered: Vec<Option<Arc<Deflatable>>>,
    compressions: Counter,
}

impl Payloads {
    /// Payloads of fewer bytes are left as they are; the others count into `compressions` when they are compressed.
    pub(crate) fn new(compress_min_bytes: usize, compressions: Counter) -> Self {
        Self {
            compress_min_bytes,
            remembered: vec![None; REMEMBERED],
            compressions,
        }
    }

    /// The payload of some bytes; the same one when the same memory comes again.
    pub(crate) fn share(&mut self, plain: Bytes) -> Payload {
        if plain.len() < self.compress_min_bytes {
            return Payload::Plain(plain);
        }
        let slot = &mut self.remembered[slot(&plain)];
        let known = slot.as_ref().filter(|known| {
            known.plain.as_ptr() == plain.as_ptr() && known.plain.len() == plain.len()
        });
        if let Some(known) = known {
            return Payload::Deflatable(Arc::clone(known));
        }
        let payload = Arc::new(Deflatable {
            plain,
            deflated: Default::default(),
            compressions: self.compressions.clone(),
        });
        *slot = Some(Arc::clone(&payload));
        Payload::Deflatable(payload)
    }
}

/// Spreads addresses, whose low bits are the allocator's, over the slots (Fibonacci hashing).
fn slot(plain: &Bytes) -> usize {
    let hash = (plain.as_ptr() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (hash >> (u64::BITS - REMEMBERED.ilog2())) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: usize) -> Bytes {
        Bytes::from("hello ".repeat(bytes / 6 + 1).into_bytes()).split_to(bytes)
    }

    #[test]
    fn a_broadcast_is_compressed_once_for_each_window() {
        let compressions = Counter::default();
        let mut payloads = Payloads::new(512, compressions.clone());
        let broadcast = text(1800);
        for _ in 0..100 {
            let payload = payloads.share(broadcast.clone());
            let (bytes, is_deflated) = payload.form(Some(Window::Full));
            assert!(is_deflated && bytes.len() < 1800);
            assert_eq!(payload.form(None), (&broadcast, false));
        }
        assert_eq!(compressions.count(), 1);
        let payload = payloads.share(broadcast.clone());
        assert!(payload.form(Some(Window::Small)).1);
        assert_eq!(compressions.count(), 2);
    }

    #[test]
    fn a_short_payload_stays_as_it_is() {
        let compressions = Counter::default();
        let mut payloads = Payloads::new(512, compressions.clone());
        assert!(!payloads.share(text(511)).form(Some(Window::Full)).1);
        assert_eq!(compressions.count(), 0);
        assert!(payloads.share(text(512)).form(Some(Window::Full)).1);
        assert_eq!(compressions.count(), 1);
    }

    #[test]
    fn parts_of_one_buffer_are_told_apart() {
        let mut payloads = Payloads::new(1, Counter::default());
        let whole = text(2000);
        for part in [
            whole.slice(..1000),
            whole.slice(..1500),
            whole.slice(..1000),
        ] {
            assert_eq!(payloads.share(part.clone()).form(None), (&part, false));
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut payloads = Payloads::new(1, Counter::default());
        let texts: Vec<Bytes> = (0..1000).map(|_| text(600)).collect();
        for text in &texts {
            payloads.share(text.clone());
        }
        let held = texts.iter().filter(|text| !text.is_unique()).count();
        assert!((1..=REMEMBERED).contains(&held), "{held}");
    }

    #[test]
    fn a_payload_is_as_small_as_its_bytes() {
        // So that a batch is turned into payloads where it stands.
        assert_eq!(size_of::<Payload>(), size_of::<Bytes>());
    }
}
