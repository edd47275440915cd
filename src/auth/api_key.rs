//! API keys: who presents one, and what it is for.

use std::collections::BTreeSet;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use redred_signaling::grants::{Caller, Grants, User};
use redred_signaling::id::UserId;

use crate::config::{self, Scope};

/// The user id that stands for another server.
pub const USER: &str = "api";

/// Every key that is known.
pub(super) struct ApiKeys(Vec<(Digest, Holder)>);

/// Somebody who presented a key.
#[derive(Clone, Debug)]
pub struct Holder {
    /// An administrator.
    pub caller: Caller,
    /// What the key is for.
    pub scopes: BTreeSet<Scope>,
}

impl ApiKeys {
    pub(super) fn new(keys: &[config::ApiKey]) -> Self {
        let entry = |entry: &config::ApiKey| {
            let user = User {
                id: UserId::new(USER).expect("a name of the right shape"),
                name: entry.name.clone().unwrap_or_else(|| "API".to_owned()),
            };
            let grants = Grants {
                admin: true,
                ..Grants::default()
            };
            let caller = Caller {
                user,
                grants,
                expires_at_ms: u64::MAX,
            };
            let scopes = entry.scopes.clone();
            let digest = digest(&SHA256, entry.key.expose().as_bytes());
            (digest, Holder { caller, scopes })
        };
        Self(keys.iter().map(entry).collect())
    }

    /// Digests are compared, and every one of them, so that the time taken tells neither the length of a key nor which one
    /// matched.
    pub(super) fn holder(&self, presented: &str) -> Option<Holder> {
        let presented = digest(&SHA256, presented.as_bytes());
        let mut found = None;
        for (known, holder) in &self.0 {
            if verify_slices_are_equal(known.as_ref(), presented.as_ref()).is_ok() {
                found = Some(holder);
            }
        }
        found.cloned()
    }
}
