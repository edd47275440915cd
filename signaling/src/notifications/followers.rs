//! Who follows a stream, as the application says, and as people say of themselves.

use crate::api::Reply;
use crate::context::Context;
use crate::error::Error;
use crate::grants::Caller;
use crate::id::{RequestId, StreamName, UserId};
use crate::store::notifications::{FollowerChange, NotificationOk, NotificationOp};
use crate::store::{StoreError, StoreOk};
use crate::time::Now;

use super::{Notifications, Then, unavailable_store};

impl Notifications {
    pub(super) fn change_followers(
        &mut self,
        context: &mut Context,
        now: Now,
        request: RequestId,
        caller: &Caller,
        stream: StreamName,
        mut change: FollowerChange,
    ) -> Result<(), Error> {
        let is_owner = caller.grants.may_publish(&stream);
        let is_allowed = match &change {
            FollowerChange::Replace(_) => is_owner,
            FollowerChange::Add(user) | FollowerChange::Remove(user) => {
                is_owner || *user == caller.user.id
            }
        };
        if !is_allowed {
            let message = "followers are changed by the stream's own streamer, and by oneself";
            return Err(Error::forbidden(message));
        }
        self.check_open(context)?;
        let at_ms = now.wall_ms;
        if let FollowerChange::Replace(users) = &mut change {
            check_list(context, users)?;
        }
        let op = NotificationOp::ChangeFollowers {
            stream,
            change,
            limit: context.config.notifications.followers_max,
            at_ms,
        };
        self.ask(context, op, Then::Followers(request));
        Ok(())
    }

    pub(super) fn list_followers(
        &mut self,
        context: &mut Context,
        request: RequestId,
        caller: &Caller,
        stream: StreamName,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<(), Error> {
        if !caller.grants.may_publish(&stream) {
            let message = "the list is for the stream's own streamer";
            return Err(Error::forbidden(message));
        }
        if !(1..=1000).contains(&limit) {
            return Err(Error::invalid_field("limit", "expected 1 to 1000"));
        }
        self.check_open(context)?;
        let op = NotificationOp::ListFollowers {
            stream,
            after,
            limit,
        };
        self.ask(context, op, Then::Followers(request));
        Ok(())
    }
}

fn check_list(context: &mut Context, users: &mut [UserId]) -> Result<(), Error> {
    let limit = context.config.notifications.followers_max;
    if users.len() > limit {
        context.stats.limits_hit += 1;
        let expected = format!("expected at most {limit} users");
        return Err(Error::invalid_field("user_ids", expected));
    }
    users.sort_unstable();
    if users.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Error::invalid_field("user_ids", "expected no repeats"));
    }
    Ok(())
}

/// The store's word on followers goes to whoever asked.
pub(super) fn answered(
    context: &mut Context,
    request: RequestId,
    result: Result<StoreOk, StoreError>,
) {
    let result = match result {
        Ok(StoreOk::Notifications(NotificationOk::Followers {
            users,
            count,
            has_more,
        })) => Ok(Reply::Followers {
            users,
            count,
            has_more,
        }),
        Ok(StoreOk::Notifications(NotificationOk::FollowersFull)) => {
            context.stats.limits_hit += 1;
            let limit = context.config.notifications.followers_max;
            Err(Error::conflict(format!("at most {limit} followers")))
        }
        Ok(_) | Err(_) => Err(unavailable_store()),
    };
    context.reply(request, result);
}
