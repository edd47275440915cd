//! Names of people, streams and sessions, validated once at the edge. (Boundary sketch: the owner of `signaling`
//! completes this file: serde, Display, errors that say what was expected, no plain Debug for people.)

/// A user, 1 to 64 of `A-Za-z0-9_.-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(String);

/// A live stream, 1 to 64 of `A-Za-z0-9_.-`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamName(String);

/// One WebSocket session; the shell counts these up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub u64);

/// One request that came over HTTP; the shell counts these up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);
