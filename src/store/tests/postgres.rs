//! The PostgreSQL that the tests of this process share, and servers of their own for those that crash one.

use std::sync::OnceLock;

#[path = "../../../tests/support/cluster.rs"]
mod cluster;
pub(super) use cluster::{Cluster, connect};

/// The URL of a new database on the server that the tests of this process share.
pub(super) async fn database() -> String {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    SHARED
        .get_or_init(|| Cluster::start(false))
        .database()
        .await
}
