//! The fuzz targets of `sfu/fuzz`, briefly: their corpus, then seeded mutations of it.

#[path = "../fuzz/bodies/datagram.rs"]
mod datagram;
#[path = "../fuzz/bodies/payload.rs"]
mod payload;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

/// Seeds of the mutations; a search for more is what the targets themselves are for.
const PAYLOAD_SEED: u64 = 0x9a71;
const DATAGRAM_SEED: u64 = 0xda7a;
/// Together a few seconds.
const PAYLOAD_ROUNDS: usize = 100_000;
const DATAGRAM_ROUNDS: usize = 400;
const INPUT_BYTES_MAX: usize = 2_048;

#[test]
fn payloads_of_the_corpus_and_their_mutations_break_no_rule() {
    let corpus = corpus("payload");
    for input in &corpus {
        attempt(input, payload::run);
    }
    let mut random = Random(PAYLOAD_SEED);
    for _ in 0..PAYLOAD_ROUNDS {
        attempt(&random.mutate(&corpus), payload::run);
    }
}

#[test]
fn datagrams_of_the_corpus_and_their_mutations_stop_no_picture() {
    let corpus = corpus("datagram");
    let mut session = datagram::Session::new(DATAGRAM_SEED);
    for input in &corpus {
        attempt(input, |input| session.run(input));
    }
    let mut random = Random(DATAGRAM_SEED);
    for _ in 0..DATAGRAM_ROUNDS {
        attempt(&random.mutate(&corpus), |input| session.run(input));
    }
}

/// Runs one input and shows it when it fails, to be kept in the corpus.
fn attempt(input: &[u8], mut body: impl FnMut(&[u8])) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(input))) {
        let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        eprintln!("failing input: {hex}");
        resume_unwind(panic);
    }
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut paths: Vec<_> = fs::read_dir(&directory)
        .expect("the corpus is committed")
        .map(|entry| entry.expect("a readable directory").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "an empty corpus tests nothing");
    let read = |path| fs::read(path).expect("a readable file");
    paths.iter().map(read).collect()
}

/// SplitMix64: the same inputs from the same seed on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// One of the corpus, spliced with another, with some bytes changed, taken out or put in.
    fn mutate(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = corpus[self.below(corpus.len())].clone();
        if self.below(3) == 0 {
            let other = &corpus[self.below(corpus.len())];
            let at = self.below(input.len() + 1);
            input.truncate(at);
            input.extend(&other[self.below(other.len() + 1)..]);
        }
        for _ in 0..=self.below(8) {
            let at = self.below(input.len());
            match self.below(5) {
                _ if input.is_empty() => input.push(self.next() as u8),
                0 => input[at] = self.next() as u8,
                1 => input[at] ^= 1 << self.below(8),
                2 => {
                    input.remove(at);
                }
                3 => input.insert(at, self.next() as u8),
                _ => input[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
            }
        }
        input.truncate(INPUT_BYTES_MAX);
        input
    }
}
