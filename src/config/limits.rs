//! How many connections there may be, and how fast those who are here may ask.

/// Caps on connections and paces.
#[derive(Clone, PartialEq, Eq)]
pub struct Limits {
    /// TCP connections in all.
    pub connections: usize,
    /// TCP connections of one IPv4 address or IPv6 /64 network.
    pub connections_per_address: usize,
    /// WebSocket, WHIP and WHEP handshakes of one IPv4 address or IPv6 /64 network in a minute; further ones are answered
    /// with 429.
    pub handshakes_per_address: u32,
    /// WebSocket sessions, attached or resumable; further ones are closed with 4029.
    pub sessions: usize,
    /// WebSocket sessions of one user, likewise.
    pub sessions_per_user: usize,
    /// Messages of one WebSocket; more are refused (`rate_limited`), and many more close it (4529).
    pub messages: Rate,
    /// Bad or excessive messages of one WebSocket that are forgiven; more close it (4529).
    pub bad_messages: Rate,
    /// Messages of one user over all WebSockets; more are refused (`rate_limited`).
    pub user_messages: Rate,
    /// Requests of one user about rooms, messages, notifications and people; more are answered 429.
    pub user_requests: Rate,
}

/// A steady pace after a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many a second.
    pub per_second: u32,
    /// How many at once.
    pub burst: u32,
}

impl Rate {
    pub(super) const fn new(per_second: u32, burst: u32) -> Self {
        Self { per_second, burst }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 65_536,
            connections_per_address: 16_384,
            handshakes_per_address: 30_000,
            sessions: 50_000,
            sessions_per_user: 20,
            messages: Rate::new(30, 120),
            bad_messages: Rate::new(2, 60),
            user_messages: Rate::new(60, 240),
            user_requests: Rate::new(20, 100),
        }
    }
}
