//! Why the server closes a WebSocket. Clients read the band: 4000 to 4499 come back, 4500 to 4999 stay away.

/// A close code of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum CloseCode {
    /// 1000: done.
    Normal,
    /// 1001: the server goes away.
    GoingAway,
    /// 1009: a message over the limit.
    TooLarge,
    /// 4001: draining; come back after the delay that was told.
    Draining,
    /// 4002: reads too slowly; come back and recover.
    TooSlow,
    /// 4008: nothing was heard for the idle timeout.
    Idle,
    /// 4029: too many sessions of one user.
    RateLimited,
    /// 4041: the token has expired; refresh it first.
    TokenExpired,
    /// 4501: not authorised.
    Unauthorised,
    /// 4503: kicked or banned.
    Removed,
    /// 4509: the same session was resumed on another socket.
    Replaced,
    /// 4529: repeated abuse.
    Abuse,
}

impl CloseCode {
    /// Every code.
    pub const ALL: [Self; 12] = [
        Self::Normal,
        Self::GoingAway,
        Self::TooLarge,
        Self::Draining,
        Self::TooSlow,
        Self::Idle,
        Self::RateLimited,
        Self::TokenExpired,
        Self::Unauthorised,
        Self::Removed,
        Self::Replaced,
        Self::Abuse,
    ];

    /// The number in the close frame.
    #[must_use]
    pub fn as_u16(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::GoingAway => 1001,
            Self::TooLarge => 1009,
            Self::Draining => 4001,
            Self::TooSlow => 4002,
            Self::Idle => 4008,
            Self::RateLimited => 4029,
            Self::TokenExpired => 4041,
            Self::Unauthorised => 4501,
            Self::Removed => 4503,
            Self::Replaced => 4509,
            Self::Abuse => 4529,
        }
    }

    /// Whether a client should come back by itself.
    #[must_use]
    pub fn is_reconnect(self) -> bool {
        self != Self::Normal && self.as_u16() < 4500
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_band_tells_whether_to_come_back() {
        for code in CloseCode::ALL {
            let number = code.as_u16();
            match number {
                4000..=4499 => assert!(code.is_reconnect(), "{number}"),
                4500..=4999 => assert!(!code.is_reconnect(), "{number}"),
                _ => assert!(matches!(number, 1000 | 1001 | 1009)),
            }
        }
    }
}
