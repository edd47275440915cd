//! Random requests, answered by the store and by the store in memory that the hub's tests run against. Both must answer
//! the same, to the last field.

mod chat;
mod notifications;

use std::collections::VecDeque;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use redred_signaling::sim;
use redred_signaling::store::notifications::NotificationOk;
use redred_signaling::store::{StoreError, StoreId, StoreOk, StoreOp};

use super::{Fixture, on_each_database};

/// Sessions of requests; each begins with an empty store.
const SEEDS: u64 = 4;
const REQUESTS: usize = 1500;

/// Requests that may be under way together, so that they share transactions.
const UNDER_WAY: usize = 24;

type Answer = Result<StoreOk, StoreError>;

/// Makes up requests.
trait Script {
    fn new() -> Self;

    /// The next request.
    fn next(&mut self, random: &mut ChaCha8Rng) -> StoreOp;

    /// Takes note of an answer, for requests to come.
    fn learn(&mut self, answer: &StoreOk);
}

on_each_database! {
    chat_is_answered_as_the_model_answers,
    notifications_are_answered_as_the_model_answers,
}

async fn chat_is_answered_as_the_model_answers(fixture: Fixture) {
    play::<chat::Script>(fixture).await;
}

async fn notifications_are_answered_as_the_model_answers(fixture: Fixture) {
    play::<notifications::Script>(fixture).await;
}

async fn play<S: Script>(mut store: Fixture) {
    for seed in 0..SEEDS {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut model = sim::store::Store::default();
        let mut script = S::new();
        let mut expected: VecDeque<(StoreId, StoreOp, Answer)> = VecDeque::new();
        let mut answered = 0;
        for step in 0..REQUESTS {
            let op = script.next(&mut random);
            let answer = model.carry_out(&op);
            match &answer {
                Ok(ok) => {
                    answered += 1;
                    script.learn(ok);
                }
                Err(StoreError::NotFound | StoreError::Forbidden) => {}
                Err(error) => panic!("{op:?}: {error}"),
            }
            expected.push_back((store.submit(op.clone()), op, answer));
            if step + 1 < REQUESTS && random.random_range(0..UNDER_WAY) > 0 {
                continue;
            }
            for (id, op, mut answer) in expected.drain(..) {
                let mut reply = store.store.reply().await.expect("a living writer");
                assert_eq!(reply.id, id);
                forget_epoch(&mut reply.result);
                forget_epoch(&mut answer);
                assert_eq!(reply.result, answer, "seed {seed}, step {step}: {op:?}");
            }
        }
        assert!(answered > REQUESTS / 2, "{answered}");
        store = store.emptied().await;
    }
}

/// Each database has another one.
fn forget_epoch(answer: &mut Answer) {
    if let Ok(StoreOk::Notifications(NotificationOk::Loaded { epoch, .. })) = answer {
        assert_eq!(epoch.len(), 8);
        epoch.clear();
    }
}
