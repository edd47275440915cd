//! Publishers and viewers over WHIP and WHEP, and what viewers made of what was published.
//!
//! A [`stage::Stage`] brings a [`stage::Cast`] to any server that speaks WHIP and WHEP. Each peer has a socket of its own; many
//! share a thread. A [`camera::Camera`] gives packets that say which one they are and when they were sent ([`tag::Tag`]), in their
//! last bytes or, those of encoded samples, by a time that a [`ledger::Ledger`] knows; so a [`watch::Watch`] counts exactly what is
//! missing, late or frozen into a [`tally::Tally`]. Nobody decodes anything.

pub mod camera;
pub mod casting;
pub mod encoder;
pub mod endpoint;
pub mod impair;
pub mod ledger;
pub mod plan;
pub mod samples;
pub mod stack;
pub mod stage;
pub mod summary;
pub mod tag;
pub mod tally;
pub mod watch;

mod dtls;
mod peer;
mod reactor;
