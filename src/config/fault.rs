//! Mistakes in the configuration, as they are told.

use std::fmt;

use serde::Serialize;

/// Where a value was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Origin {
    /// The configuration file.
    File(String),
    /// An environment variable.
    Env(String),
    /// A flag of the command line.
    Flag(String),
    /// A rule between keys.
    Rule,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "in {path}"),
            Self::Env(name) => write!(f, "in the environment variable {name}"),
            Self::Flag(name) => write!(f, "in the flag {name}"),
            Self::Rule => f.write_str("taken together"),
        }
    }
}

/// One mistake in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key, as in `http.listen`.
    pub key: String,
    /// Where it stood.
    pub origin: Origin,
    /// What is wrong, and what was expected instead.
    pub problem: String,
}

impl Fault {
    pub(super) fn new(key: &str, origin: &Origin, problem: impl Into<String>) -> Self {
        Self {
            key: key.to_owned(),
            origin: origin.clone(),
            problem: problem.into(),
        }
    }

    pub(super) fn rule(key: &str, expected: &str) -> Self {
        Self::new(key, &Origin::Rule, format!("expected {expected}"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key,
            origin,
            problem,
        } = self;
        match origin {
            Origin::Rule => write!(f, "{key}: {problem}"),
            Origin::File(_) | Origin::Env(_) | Origin::Flag(_) => {
                write!(f, "{key} ({origin}): {problem}")
            }
        }
    }
}

/// Every mistake found, never empty.
#[derive(Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has {} fault(s):", self.0.len())?;
        for fault in &self.0 {
            write!(f, "\n  {fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
