//! Publishers and viewers over WHIP and WHEP, with synthetic media, and what viewers made of it.
//!
//! A [`stage::Stage`] brings a [`stage::Cast`] to any server that speaks WHIP and WHEP. Each peer has a socket of its own; many
//! share a thread. Every packet says in its last bytes which one it is and when it was sent ([`tag::Tag`]), so that a
//! [`watch::Watch`] counts exactly what is missing, late or frozen into a [`tally::Tally`]. Nobody decodes anything.

pub mod camera;
pub mod casting;
pub mod endpoint;
pub mod impair;
pub mod plan;
pub mod stage;
pub mod summary;
pub mod tag;
pub mod tally;
pub mod watch;

mod dtls;
mod peer;
mod reactor;
