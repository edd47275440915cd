//! Carries out one request, whatever it is about, or several messages that come one after the other.

use redred_signaling::store::chat::{ChatOp, NewMessage};
use redred_signaling::store::{StoreError, StoreOk, StoreOp};

use super::sql::Db;
use super::{chat, live, notifications};

/// Why a request is not carried out.
pub(super) enum Stop {
    /// An answer. Nothing has been written when it is given.
    Refused(StoreError),
    /// The database's. It spoils the transaction.
    Failed(sqlx::Error),
}

impl From<sqlx::Error> for Stop {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

/// Carries out a request. The outer error is the database's and spoils the transaction, the inner one is an answer.
pub(super) async fn carry_out(
    db: &mut Db,
    op: &StoreOp,
) -> sqlx::Result<Result<StoreOk, StoreError>> {
    let outcome = match op {
        StoreOp::Chat(op) => chat::carry_out(db, op).await.map(StoreOk::Chat),
        StoreOp::Notifications(op) => notifications::carry_out(db, op)
            .await
            .map(StoreOk::Notifications),
        StoreOp::LoadStream { .. }
        | StoreOp::AddComment(_)
        | StoreOp::DeleteComment { .. }
        | StoreOp::Ban(_)
        | StoreOp::Unban { .. }
        | StoreOp::Timeout(_)
        | StoreOp::SetRole { .. }
        | StoreOp::SaveSettings { .. }
        | StoreOp::StreamStarted(_)
        | StoreOp::StreamEnded(_) => live::carry_out(db, op).await,
    };
    match outcome {
        Ok(ok) => Ok(Ok(ok)),
        Err(Stop::Refused(error)) => Ok(Err(error)),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// The messages that requests begin with.
pub(super) fn leading_messages<'o>(ops: impl Iterator<Item = &'o StoreOp>) -> Vec<&'o NewMessage> {
    ops.map_while(|op| {
        if let StoreOp::Chat(ChatOp::AddMessage(new)) = op {
            Some(new)
        } else {
            None
        }
    })
    .collect()
}

/// Carries out the requests of some messages, as [`carry_out`] does one after the other.
pub(super) async fn add_messages(
    db: &mut Db,
    news: &[&NewMessage],
) -> sqlx::Result<Vec<Result<StoreOk, StoreError>>> {
    let answers = chat::add_all(db, news).await?;
    let answers = answers.into_iter();
    Ok(answers.map(|answer| answer.map(StoreOk::Chat)).collect())
}

/// What was stored as JSON by this program.
pub(super) fn from_json<T: serde::de::DeserializeOwned>(text: &str) -> sqlx::Result<T> {
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// What is to be stored as JSON.
pub(super) fn to_json(value: &impl serde::Serialize) -> sqlx::Result<String> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(error.into()))
}
