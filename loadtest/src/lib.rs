//! `redred-loadtest`: many clients that know only the public protocol, and a report of what they met.
//!
//! A [`scenario::Scenario`] says who comes, what they do and for how long; [`run::run`] carries it out from one or more threads,
//! each with its own sessions and its own [`measure::Recorder`]; the [`report::Report`] adds them up, judges the thresholds,
//! and says whether the generator itself was the bottleneck. Its [`report::document::Document`] is what is written, put beside others by
//! [`compare`] and drawn by [`html`].

pub mod compare;
pub mod html;
pub mod measure;
pub mod media;
pub mod process;
pub mod report;
pub mod run;
pub mod scenario;
pub mod series;

mod load;
mod plan;
mod session;
mod settling;
mod token;
