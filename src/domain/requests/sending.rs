//! One call of a provider as the wire sends it, and what comes back of it before its body.

use std::fmt;

use crate::domain::secret::Secret;

/// What is sent.
#[derive(Clone)]
pub struct Sending {
    /// Where to.
    pub url: String,
    /// Headers, the key's apart.
    pub headers: Vec<(&'static str, &'static str)>,
    /// The header that holds the key, and what it says.
    pub key: Option<(&'static str, Secret)>,
    /// JSON; `None` only asks (GET).
    pub body: Option<Vec<u8>>,
    /// Which addresses may be reached besides public ones.
    pub private: Private,
}

/// Addresses of this machine and its network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Private {
    /// None.
    None,
    /// Those that the configuration allows whoever registers providers and sources.
    Allowed,
    /// Any: the configuration itself names the provider.
    Any,
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// Why nothing came back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unanswered {
    /// No connection was made: nothing was sent.
    Unreachable(String),
    /// It was sent, and the connection broke.
    Broken(String),
    /// It took too long.
    Late,
}
