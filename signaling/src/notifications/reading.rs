//! What a reader asks: lists, marks and preferences.

use serde_json::json;

use crate::api::Reply;
use crate::broker::Audience;
use crate::context::{Context, object};
use crate::error::Error;
use crate::grants::Caller;
use crate::id::{RequestId, UserId};
use crate::message::connection::Empty;
use crate::message::notifications::{NotificationRead, NotificationView};
use crate::message::text::Text;
use crate::message::{ClientMessage, ServerMessage};
use crate::peers::Requester;
use crate::session::Key;
use crate::store::notifications::{NotificationOk, NotificationOp, Preferences};
use crate::store::{StoreError, StoreOk};
use crate::time::Now;

use super::{Notifications, Then, preferences as rules, tell, tell_unread, unavailable_store};

/// Something is being marked as read.
#[derive(Debug)]
pub(crate) struct Mark {
    user: UserId,
    /// What the user's other connections are told.
    message: ServerMessage,
    requester: Requester,
    /// `session_id` of the connection that said it.
    session: Option<String>,
}

impl Notifications {
    pub(super) fn mark_by_session(
        &mut self,
        context: &mut Context,
        now: Now,
        key: Key,
        id: Option<String>,
        message: ClientMessage,
    ) -> Result<(), Error> {
        let Some(session) = context.sessions.get(key) else {
            return Ok(());
        };
        let (user, wire_id) = (session.caller.user.id.clone(), session.wire_id.clone());
        let message = if let ClientMessage::NotificationRead(read) = message {
            ServerMessage::NotificationRead(read)
        } else {
            ServerMessage::MarkAllRead(Empty {})
        };
        self.mark(
            context,
            now,
            Mark {
                user,
                message,
                requester: Requester::Session { key, id },
                session: Some(wire_id),
            },
        )
    }

    fn mark(&mut self, context: &mut Context, now: Now, mark: Mark) -> Result<(), Error> {
        self.check_open(context)?;
        let (user, at_ms) = (mark.user.clone(), now.wall_ms);
        let op = if let ServerMessage::NotificationRead(read) = &mark.message {
            NotificationOp::MarkRead {
                user,
                id: read.id.as_str().to_owned(),
                at_ms,
            }
        } else {
            NotificationOp::MarkAllRead { user, at_ms }
        };
        self.ask(context, op, Then::Marked(Box::new(mark)));
        Ok(())
    }

    /// Whoever marked is answered, then every connection of the user hears of it.
    pub(super) fn marked(
        context: &mut Context,
        now: Now,
        mark: Mark,
        result: Result<StoreOk, StoreError>,
    ) {
        let (unread, has_changed) = match result {
            Ok(StoreOk::Notifications(NotificationOk::Read {
                unread,
                has_changed,
            })) => (unread, has_changed),
            Err(StoreError::NotFound) => {
                let error = Error::not_found("there is no such notification");
                return context.fail(now, mark.requester, error);
            }
            Ok(_) | Err(_) => return context.fail(now, mark.requester, unavailable_store()),
        };
        match mark.requester {
            Requester::Session { key, id } => {
                context.ack(now, key, id, object([("unread", json!(unread))]));
            }
            Requester::Http(request) => context.reply(request, Ok(Reply::Unread(unread))),
        }
        if !has_changed {
            return;
        }
        let user = mark.user.clone();
        let audience = match mark.session {
            Some(session) => Audience::Elsewhere { user, session },
            None => Audience::User(user),
        };
        tell(context, now, audience, mark.message);
        tell_unread(context, now, &mark.user, unread);
    }

    /// Marks one of the caller's, or all of them.
    pub(super) fn mark_by_http(
        &mut self,
        context: &mut Context,
        now: Now,
        request: RequestId,
        caller: Caller,
        id: Option<&str>,
    ) -> Result<(), Error> {
        let message = match id.map(Text::new) {
            Some(Ok(id)) => ServerMessage::NotificationRead(NotificationRead { id }),
            Some(Err(_)) => return Err(Error::not_found("there is no such notification")),
            None => ServerMessage::MarkAllRead(Empty {}),
        };
        let mark = Mark {
            user: caller.user.id,
            message,
            requester: Requester::Http(request),
            session: None,
        };
        self.mark(context, now, mark)
    }

    pub(super) fn list(
        &mut self,
        context: &mut Context,
        request: RequestId,
        caller: Caller,
        unread_only: bool,
        before: Option<u64>,
        limit: usize,
    ) -> Result<(), Error> {
        if !(1..=200).contains(&limit) {
            return Err(Error::invalid_field("limit", "expected 1 to 200"));
        }
        self.check_open(context)?;
        let op = NotificationOp::List {
            user: caller.user.id,
            unread_only,
            before,
            limit,
        };
        self.ask(context, op, Then::Listed(request));
        Ok(())
    }

    pub(super) fn load_preferences(
        &mut self,
        context: &mut Context,
        request: RequestId,
        caller: Caller,
    ) -> Result<(), Error> {
        self.check_open(context)?;
        let op = NotificationOp::LoadPreferences {
            user: caller.user.id,
        };
        self.ask(context, op, Then::Preferences(request));
        Ok(())
    }

    pub(super) fn save_preferences(
        &mut self,
        context: &mut Context,
        request: RequestId,
        caller: Caller,
        preferences: Preferences,
    ) -> Result<(), Error> {
        let limit = context.config.notifications.muted_kinds_max;
        let preferences = rules::checked(preferences, limit)?;
        self.check_open(context)?;
        let user = caller.user.id;
        let then = Then::Saved {
            request,
            user: user.clone(),
        };
        let op = NotificationOp::SavePreferences { user, preferences };
        self.ask(context, op, then);
        Ok(())
    }
}

pub(super) fn listed(
    context: &mut Context,
    request: RequestId,
    result: Result<StoreOk, StoreError>,
) {
    let result = match result {
        Ok(StoreOk::Notifications(NotificationOk::Listed {
            notifications,
            has_more,
            unread,
        })) => Ok(Reply::Notifications {
            notifications: notifications
                .into_iter()
                .map(NotificationView::from)
                .collect(),
            has_more,
            unread,
        }),
        Ok(_) | Err(_) => Err(unavailable_store()),
    };
    context.reply(request, result);
}

pub(super) fn preferences(
    context: &mut Context,
    request: RequestId,
    result: Result<StoreOk, StoreError>,
) {
    let result = match result {
        Ok(StoreOk::Notifications(NotificationOk::Preferences(preferences))) => {
            Ok(Reply::Preferences(preferences))
        }
        Ok(_) | Err(_) => Err(unavailable_store()),
    };
    context.reply(request, result);
}

/// Every connection of the user hears of new preferences; the one that pushes to them goes by these from now on.
pub(super) fn preferences_saved(
    context: &mut Context,
    now: Now,
    request: RequestId,
    user: UserId,
    result: Result<StoreOk, StoreError>,
) {
    if let Ok(StoreOk::Notifications(NotificationOk::Preferences(preferences))) = &result {
        let message = ServerMessage::PreferencesUpdated(preferences.clone());
        tell(context, now, Audience::User(user), message);
    }
    preferences(context, request, result);
}
