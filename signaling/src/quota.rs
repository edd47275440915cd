//! What one user may ask of this node, over all their sessions and requests together.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::config;
use crate::id::UserId;
use crate::rate_limit::Bucket;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Messages over WebSockets.
    Messages,
    /// Requests over HTTP.
    Requests,
}

/// The pace of every user who was heard lately.
///
/// Users are kept in two generations: those heard since the last change of generations, and those heard in the one
/// before. A user who is heard moves to the first; when that is half full the second is forgotten. So memory is bounded,
/// and whoever is forgotten was silent while as many others spoke.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    /// Looked up, never iterated: the order of a hash map would make runs differ.
    recent: HashMap<UserId, Pace>,
    earlier: HashMap<UserId, Pace>,
}

#[derive(Debug)]
struct Pace {
    messages: Bucket,
    requests: Bucket,
}

impl Quotas {
    /// Takes one of what a user may do.
    ///
    /// # Errors
    /// How long until there is one.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        user: &UserId,
        kind: Kind,
        limits: &config::Quota,
    ) -> Result<(), Duration> {
        if !self.recent.contains_key(user) {
            let known = self.earlier.remove(user);
            if self.recent.len() >= (limits.users_max / 2).max(1) {
                self.earlier = std::mem::take(&mut self.recent);
            }
            let pace = known.unwrap_or_else(|| Pace {
                messages: Bucket::per_second(
                    limits.messages_per_second,
                    limits.messages_burst,
                    now,
                ),
                requests: Bucket::per_second(
                    limits.requests_per_second,
                    limits.requests_burst,
                    now,
                ),
            });
            self.recent.insert(user.clone(), pace);
        }
        let Some(pace) = self.recent.get_mut(user) else {
            return Ok(());
        };
        match kind {
            Kind::Messages => pace.messages.take(now),
            Kind::Requests => pace.requests.take(now),
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "an `Instant` can only be made from the clock; every later one is counted from this"
)]
mod tests {
    use super::*;

    fn limits() -> config::Quota {
        config::Quota {
            messages_per_second: 1,
            messages_burst: 2,
            requests_per_second: 1,
            requests_burst: 1,
            users_max: 4,
        }
    }

    fn user(name: &str) -> UserId {
        UserId::new(name).expect("a name")
    }

    #[test]
    fn each_user_and_kind_has_a_pace_of_its_own() {
        let (mut quotas, limits, start) = (Quotas::default(), limits(), Instant::now());
        let mut take = |name, kind| quotas.take(start, &user(name), kind, &limits).is_ok();
        assert!(take("ana", Kind::Messages) && take("ana", Kind::Messages));
        assert!(!take("ana", Kind::Messages));
        assert!(take("ana", Kind::Requests));
        assert!(!take("ana", Kind::Requests));
        assert!(take("ben", Kind::Messages));
        let later = start + Duration::from_secs(1);
        let again = quotas.take(later, &user("ana"), Kind::Messages, &limits);
        assert_eq!(again, Ok(()));
    }

    #[test]
    fn only_so_many_users_are_remembered_and_the_busy_ones_are() {
        let (mut quotas, limits, now) = (Quotas::default(), limits(), Instant::now());
        let spend = |quotas: &mut Quotas, name: &str| {
            quotas
                .take(now, &user(name), Kind::Messages, &limits)
                .is_ok()
        };
        assert!(spend(&mut quotas, "busy") && spend(&mut quotas, "busy"));
        for other in 0..100 {
            assert!(spend(&mut quotas, &format!("other-{other}")));
            assert!(
                !spend(&mut quotas, "busy"),
                "forgotten after {other} others"
            );
            assert!(quotas.recent.len() + quotas.earlier.len() <= limits.users_max);
        }
    }
}
