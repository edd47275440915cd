//! What can go wrong before a shard runs. What goes wrong later is an [`crate::event::Refusal`] of one command or the
//! [`crate::event::CloseReason`] of one peer.

/// A fault of whoever configured the shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A value of the configuration cannot work.
    #[error("invalid media configuration: {0}")]
    Config(&'static str),
}
