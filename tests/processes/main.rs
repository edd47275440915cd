//! Promise P10 over real processes: the built server with WebSocket clients that write all the time, while it is killed with
//! SIGKILL, stopped with SIGSTOP, its connections break and its database crashes. Nothing acknowledged is lost, nothing comes
//! twice or out of order, and every gap is told.
//!
//! The schedule of the faults comes from a seed; another one can be asked for in the environment variable REDRED_SEED.

#[path = "../../signaling/tests/support/checker.rs"]
mod checker;
mod client;
#[path = "../support/cluster.rs"]
mod cluster;
mod damage;
mod judge;
mod run;
mod server;

use cluster::Cluster;
use run::{Fault, run};

/// The seed asked for, or the one that the test has.
fn seed(own: u64) -> u64 {
    std::env::var("REDRED_SEED").map_or(own, |text| text.parse().expect("a number"))
}

fn faults(kinds: &[(Fault, usize)]) -> Vec<Fault> {
    let repeated = kinds.iter().map(|(fault, count)| vec![*fault; *count]);
    repeated.flatten().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_on_sqlite_when_the_server_is_killed_and_stopped() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let store = format!("sqlite://{}", directory.path().join("test.db").display());
    let faults = faults(&[
        (Fault::Kill, 9),
        (Fault::FreezeAndKill, 3),
        (Fault::Freeze, 6),
        (Fault::Break, 6),
    ]);
    run(&store, None, seed(1), faults).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs postgres"]
async fn nothing_is_lost_on_postgres_when_it_crashes_and_the_server_is_killed() {
    let cluster = Cluster::start(true);
    let store = cluster.database().await;
    let faults = faults(&[
        (Fault::Crash, 4),
        (Fault::CrashAndKill, 2),
        (Fault::Kill, 3),
        (Fault::FreezeAndKill, 1),
        (Fault::Freeze, 3),
        (Fault::Break, 3),
    ]);
    run(&store, Some(cluster), seed(2), faults).await;
}
