//! The fuzz targets of `sfu/fuzz`, briefly: their corpus, then seeded mutations of it.

#![allow(
    clippy::disallowed_methods,
    reason = "one instant is the base of simulated time"
)]

#[path = "../fuzz/bodies/datagram.rs"]
mod datagram;
#[path = "../fuzz/bodies/payload.rs"]
mod payload;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use redred_sfu::sim::Random;

/// Seeds of the mutations; a search for more is what the targets themselves are for.
const PAYLOAD_SEED: u64 = 0x9a71;
const DATAGRAM_SEED: u64 = 0xda7a;
/// Together a few seconds.
const PAYLOAD_ROUNDS: usize = 300_000;
const DATAGRAM_ROUNDS: usize = 2_000;
const INPUT_BYTES_MAX: usize = 2_048;

#[test]
fn payloads_of_the_corpus_and_their_mutations_break_no_rule() {
    let corpus = corpus("payload");
    for input in &corpus {
        attempt(input, payload::run);
    }
    let mut random = Random::new(PAYLOAD_SEED);
    for _ in 0..PAYLOAD_ROUNDS {
        attempt(&mutate(&mut random, &corpus), payload::run);
    }
}

#[test]
fn datagrams_of_the_corpus_and_their_mutations_stop_no_picture() {
    let corpus = corpus("datagram");
    let mut session = datagram::Session::new(DATAGRAM_SEED);
    for input in &corpus {
        attempt(input, |input| session.run(input));
    }
    let mut random = Random::new(DATAGRAM_SEED);
    for _ in 0..DATAGRAM_ROUNDS {
        attempt(&mutate(&mut random, &corpus), |input| session.run(input));
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

/// One of the corpus, spliced with another, with some bytes changed, taken out or put in.
fn mutate(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].clone();
    if random.below(3) == 0 {
        let other = &corpus[random.below(corpus.len())];
        input.truncate(random.below(input.len() + 1));
        input.extend(&other[random.below(other.len() + 1)..]);
    }
    for _ in 0..=random.below(8) {
        let at = random.below(input.len());
        match random.below(5) {
            _ if input.is_empty() => input.push(random.bits() as u8),
            0 => input[at] = random.bits() as u8,
            1 => input[at] ^= 1 << random.below(8),
            2 => {
                input.remove(at);
            }
            3 => input.insert(at, random.bits() as u8),
            _ => input[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
        }
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}
