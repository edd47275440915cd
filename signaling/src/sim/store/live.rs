//! Live streams as a store keeps them.

use std::collections::BTreeMap;

use crate::id::StreamName;
use crate::store::{Comment, RoleEntry, StoreError, StoreOk, StoreOp, StreamState};

/// The streams.
#[derive(Debug, Default)]
pub(super) struct Streams {
    streams: BTreeMap<StreamName, StreamState>,
}

impl Streams {
    pub(super) fn carry_out(&mut self, op: &StoreOp) -> Result<StoreOk, StoreError> {
        match op {
            StoreOp::LoadStream { stream, comments } => {
                let mut state = self.streams.get(stream).cloned().unwrap_or_default();
                let surplus = state.comments.len().saturating_sub(*comments);
                state.comments.drain(..surplus);
                Ok(StoreOk::Loaded(state))
            }
            StoreOp::AddComment(comment) => Ok(StoreOk::Comment(self.add_comment(comment))),
            StoreOp::DeleteComment { stream, id, .. } => {
                let comments = &mut self.streams.entry(stream.clone()).or_default().comments;
                let before = comments.len();
                comments.retain(|comment| comment.id != *id);
                if comments.len() == before {
                    return Err(StoreError::NotFound);
                }
                Ok(StoreOk::Done)
            }
            StoreOp::Ban(ban) => {
                let state = self.streams.entry(ban.stream.clone()).or_default();
                state.bans.retain(|one| one.user != ban.user);
                state.bans.push(ban.clone());
                Ok(StoreOk::Done)
            }
            StoreOp::Unban { stream, user, .. } => {
                let state = self.streams.entry(stream.clone()).or_default();
                state.bans.retain(|one| one.user != *user);
                state.timeouts.retain(|one| one.user != *user);
                Ok(StoreOk::Done)
            }
            StoreOp::Timeout(timeout) => {
                let state = self.streams.entry(timeout.stream.clone()).or_default();
                state.timeouts.retain(|one| one.user != timeout.user);
                state.timeouts.push(timeout.clone());
                Ok(StoreOk::Done)
            }
            StoreOp::SetRole {
                stream, user, role, ..
            } => {
                let roles = &mut self.streams.entry(stream.clone()).or_default().roles;
                roles.retain(|one| one.user != *user);
                roles.extend(role.map(|role| RoleEntry {
                    user: user.clone(),
                    role,
                }));
                Ok(StoreOk::Done)
            }
            StoreOp::SaveSettings { stream, settings } => {
                self.streams.entry(stream.clone()).or_default().settings = settings.clone();
                Ok(StoreOk::Done)
            }
            StoreOp::StreamStarted(_) | StoreOp::StreamEnded(_) => Ok(StoreOk::Done),
            StoreOp::Chat(_) | StoreOp::Notifications(_) => {
                unreachable!("handed to the other parts of the store")
            }
        }
    }

    fn add_comment(&mut self, comment: &Comment) -> Comment {
        let stream = self.streams.entry(comment.stream.clone()).or_default();
        let first = stream.comments.iter().find(|one| {
            one.client_id.is_some()
                && one.client_id == comment.client_id
                && one.user.id == comment.user.id
        });
        if let Some(first) = first {
            return first.clone();
        }
        stream.comments.push(comment.clone());
        comment.clone()
    }
}
