//! Notifications as a store keeps them.

use std::collections::{BTreeMap, BTreeSet};

use super::chat::Chats;
use crate::id::{StreamName, UserId};
use crate::store::StoreError;
use crate::store::notifications::{
    Delivered, FollowerChange, NewNotification, Notification, NotificationOk, NotificationOp,
    Preferences,
};

const EPOCH: &str = "5eed0001";

/// Everybody's notifications.
#[derive(Debug, Default)]
pub struct Notifications {
    inboxes: BTreeMap<UserId, Inbox>,
    preferences: BTreeMap<UserId, Preferences>,
    followers: BTreeMap<StreamName, BTreeSet<UserId>>,
    /// Idempotency keys, with how many got it and when.
    keys: BTreeMap<String, (u64, u64)>,
}

#[derive(Debug, Default)]
struct Inbox {
    last_seq: u64,
    /// By `seq`.
    rows: BTreeMap<u64, Notification>,
}

impl Inbox {
    fn unread(&self) -> u64 {
        self.rows.values().filter(|row| is_unread(row)).count() as u64
    }
}

fn is_unread(row: &Notification) -> bool {
    row.read_at_ms.is_none()
}

impl Notifications {
    /// Everything a user has, oldest first.
    #[must_use]
    pub fn of(&self, user: &UserId) -> Vec<Notification> {
        let inbox = self.inboxes.get(user);
        inbox.map_or_else(Vec::new, |inbox| inbox.rows.values().cloned().collect())
    }

    /// How many rows and idempotency keys there are.
    #[must_use]
    pub fn rows(&self) -> (usize, usize) {
        let rows = self.inboxes.values().map(|inbox| inbox.rows.len()).sum();
        (rows, self.keys.len())
    }

    /// Carries out a request.
    ///
    /// # Errors
    /// As the request says.
    pub fn carry_out(
        &mut self,
        op: &NotificationOp,
        chat: &Chats,
    ) -> Result<NotificationOk, StoreError> {
        match op {
            NotificationOp::Add(new) => Ok(self.add(new, chat)),
            NotificationOp::Load { user, since, limit } => Ok(self.load(user, *since, *limit)),
            NotificationOp::List {
                user,
                unread_only,
                before,
                limit,
            } => Ok(self.list(user, *unread_only, *before, *limit)),
            NotificationOp::MarkRead { user, id, at_ms } => self.mark_read(user, id, *at_ms),
            NotificationOp::MarkAllRead { user, at_ms } => {
                let changed = self.mark(user, *at_ms, |_| true);
                Ok(NotificationOk::Read {
                    unread: 0,
                    has_changed: !changed.is_empty(),
                })
            }
            NotificationOp::MarkGroupRead {
                user,
                group_key,
                at_ms,
            } => {
                let ids = self.mark(user, *at_ms, |row| {
                    row.group_key.as_ref() == Some(group_key)
                });
                let unread = self.inboxes.get(user).map_or(0, Inbox::unread);
                Ok(NotificationOk::GroupRead { ids, unread })
            }
            NotificationOp::LoadPreferences { user } => {
                Ok(NotificationOk::Preferences(self.preferences_of(user)))
            }
            NotificationOp::SavePreferences { user, preferences } => {
                self.preferences.insert(user.clone(), preferences.clone());
                Ok(NotificationOk::Preferences(preferences.clone()))
            }
            NotificationOp::ChangeFollowers {
                stream,
                change,
                limit,
                ..
            } => Ok(self.change_followers(stream, change, *limit)),
            NotificationOp::ListFollowers {
                stream,
                after,
                limit,
            } => Ok(self.list_followers(stream, after.as_ref(), *limit)),
            NotificationOp::Purge {
                created_before_ms,
                keys_before_ms,
                limit,
            } => Ok(self.purge(*created_before_ms, *keys_before_ms, *limit)),
        }
    }

    fn preferences_of(&self, user: &UserId) -> Preferences {
        self.preferences.get(user).cloned().unwrap_or_default()
    }

    fn add(&mut self, new: &NewNotification, chat: &Chats) -> NotificationOk {
        if let Some(key) = &new.idempotency_key
            && let Some((accepted, _)) = self.keys.get(key)
        {
            return NotificationOk::Added {
                stored: Vec::new(),
                accepted: *accepted,
                is_repeat: true,
            };
        }
        let mut stored = Vec::new();
        for (user, id) in &new.recipients {
            let is_muted = self.preferences_of(user).muted_kinds.contains(&new.kind);
            let actor = new.actor.as_ref();
            if is_muted || actor.is_some_and(|actor| chat.blocks(user, &actor.id)) {
                continue;
            }
            let inbox = self.inboxes.entry(user.clone()).or_default();
            let folds = inbox.rows.values().find(|row| {
                is_unread(row)
                    && row.kind == new.kind
                    && row.group_key.is_some()
                    && row.group_key == new.group_key
            });
            let (id, count) = match folds
                .map(|row| row.seq)
                .and_then(|seq| inbox.rows.remove(&seq))
            {
                Some(row) => (row.id, row.count + 1),
                None => (id.clone(), 1),
            };
            inbox.last_seq += 1;
            let notification = Notification {
                id,
                seq: inbox.last_seq,
                kind: new.kind.clone(),
                priority: new.priority,
                message: new.message.clone(),
                actor: new.actor.clone(),
                target: new.target.clone(),
                group_key: new.group_key.clone(),
                count,
                created_at_ms: new.at_ms,
                read_at_ms: None,
            };
            inbox.rows.insert(inbox.last_seq, notification.clone());
            stored.push(Delivered {
                user: user.clone(),
                notification,
                unread: inbox.unread(),
            });
        }
        let accepted = stored.len() as u64;
        if let Some(key) = &new.idempotency_key {
            self.keys.insert(key.clone(), (accepted, new.at_ms));
        }
        NotificationOk::Added {
            stored,
            accepted,
            is_repeat: false,
        }
    }

    fn load(&self, user: &UserId, since: Option<u64>, limit: usize) -> NotificationOk {
        let empty = Inbox::default();
        let inbox = self.inboxes.get(user).unwrap_or(&empty);
        let missed = since
            .filter(|since| *since <= inbox.last_seq)
            .map(|since| inbox.rows.range(since + 1..).map(|(_, row)| row.clone()))
            .map(Iterator::collect::<Vec<Notification>>)
            .filter(|missed| missed.len() <= limit);
        NotificationOk::Loaded {
            epoch: EPOCH.to_owned(),
            last_seq: inbox.last_seq,
            unread: inbox.unread(),
            preferences: self.preferences_of(user),
            missed,
        }
    }

    fn list(
        &self,
        user: &UserId,
        unread_only: bool,
        before: Option<u64>,
        limit: usize,
    ) -> NotificationOk {
        let empty = Inbox::default();
        let inbox = self.inboxes.get(user).unwrap_or(&empty);
        let rows = inbox.rows.range(..before.unwrap_or(u64::MAX)).rev();
        let mut wanted = rows
            .map(|(_, row)| row)
            .filter(|row| !unread_only || is_unread(row));
        let notifications: Vec<Notification> = wanted.by_ref().take(limit).cloned().collect();
        NotificationOk::Listed {
            notifications,
            has_more: wanted.next().is_some(),
            unread: inbox.unread(),
        }
    }

    fn mark_read(
        &mut self,
        user: &UserId,
        id: &str,
        at_ms: u64,
    ) -> Result<NotificationOk, StoreError> {
        let is_there = |inbox: &Inbox| inbox.rows.values().any(|row| row.id == id);
        if !self.inboxes.get(user).is_some_and(is_there) {
            return Err(StoreError::NotFound);
        }
        let changed = self.mark(user, at_ms, |row| row.id == id);
        Ok(NotificationOk::Read {
            unread: self.inboxes.get(user).map_or(0, Inbox::unread),
            has_changed: !changed.is_empty(),
        })
    }

    /// Marks the unread ones that `which` picks; answers their ids.
    fn mark(
        &mut self,
        user: &UserId,
        at_ms: u64,
        which: impl Fn(&Notification) -> bool,
    ) -> Vec<String> {
        let rows = self.inboxes.get_mut(user);
        let rows = rows.into_iter().flat_map(|inbox| inbox.rows.values_mut());
        let mut ids = Vec::new();
        for row in rows.filter(|row| is_unread(row) && which(row)) {
            row.read_at_ms = Some(at_ms);
            ids.push(row.id.clone());
        }
        ids
    }

    fn change_followers(
        &mut self,
        stream: &StreamName,
        change: &FollowerChange,
        limit: usize,
    ) -> NotificationOk {
        let followers = self.followers.entry(stream.clone()).or_default();
        match change {
            FollowerChange::Replace(users) => *followers = users.iter().cloned().collect(),
            FollowerChange::Add(user) => {
                if followers.len() >= limit && !followers.contains(user) {
                    return NotificationOk::FollowersFull;
                }
                followers.insert(user.clone());
            }
            FollowerChange::Remove(user) => {
                followers.remove(user);
            }
        }
        NotificationOk::Followers {
            users: Vec::new(),
            count: followers.len() as u64,
            has_more: false,
        }
    }

    fn list_followers(
        &self,
        stream: &StreamName,
        after: Option<&UserId>,
        limit: usize,
    ) -> NotificationOk {
        let empty = BTreeSet::new();
        let followers = self.followers.get(stream).unwrap_or(&empty);
        let mut behind = followers
            .iter()
            .filter(|user| after.is_none_or(|after| *user > after));
        let users: Vec<UserId> = behind.by_ref().take(limit).cloned().collect();
        NotificationOk::Followers {
            users,
            count: followers.len() as u64,
            has_more: behind.next().is_some(),
        }
    }

    fn purge(
        &mut self,
        created_before_ms: u64,
        keys_before_ms: u64,
        limit: usize,
    ) -> NotificationOk {
        let mut left = limit;
        let mut is_gone = |is_old: bool| {
            let goes = is_old && left > 0;
            left -= usize::from(goes);
            goes
        };
        for inbox in self.inboxes.values_mut() {
            inbox
                .rows
                .retain(|_, row| !is_gone(row.created_at_ms < created_before_ms));
        }
        self.keys
            .retain(|_, (_, at_ms)| !is_gone(*at_ms < keys_before_ms));
        NotificationOk::Purged {
            rows: (limit - left) as u64,
        }
    }
}
