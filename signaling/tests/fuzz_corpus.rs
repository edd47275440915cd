//! The fuzz target of `signaling/fuzz`, briefly: its corpus, then seeded mutations of it.

#[path = "../fuzz/bodies/envelope.rs"]
mod envelope;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Seed of the mutations; a search for more is what the target itself is for.
const SEED: u64 = 0xe27e;
/// A few seconds.
const ROUNDS: usize = 20_000;
const INPUT_BYTES_MAX: usize = 4_096;
/// What JSON and the rules behind it turn on.
const TOKENS: [&str; 14] = [
    "null",
    "true",
    "-1",
    "1e999",
    "{}",
    "[]",
    "\"\"",
    "\\ud800",
    "\n",
    "\"",
    "live:ana",
    "ana",
    "99999999999",
    "\u{0}",
];

#[test]
fn messages_of_the_corpus_and_their_mutations_break_no_rule() {
    let corpus = corpus();
    for input in &corpus {
        attempt(input);
    }
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    for _ in 0..ROUNDS {
        attempt(&mutate(&mut random, &corpus));
    }
}

/// Runs one input and shows it when it fails, to be kept in the corpus.
fn attempt(input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| envelope::run(input))) {
        eprintln!("failing input: {}", input.escape_ascii());
        resume_unwind(panic);
    }
}

fn corpus() -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/envelope");
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
fn mutate(random: &mut ChaCha8Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut input = corpus.choose(random).expect("not empty").clone();
    if random.random_range(0..3) == 0 {
        let other = corpus.choose(random).expect("not empty");
        input.truncate(random.random_range(0..=input.len()));
        input.extend(&other[random.random_range(0..=other.len())..]);
    }
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..=input.len());
        match random.random_range(0..4) {
            0 => {
                let token = TOKENS.choose(random).expect("not empty");
                input.splice(at..at, token.bytes());
            }
            1 => input.insert(at, random.random()),
            _ if at == input.len() => input.push(b'}'),
            2 => input[at] ^= 1 << random.random_range(0..8),
            _ => {
                let end = (at + random.random_range(1..12)).min(input.len());
                input.drain(at..end);
            }
        }
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}
