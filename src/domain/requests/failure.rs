//! Why a provider gave no answer, and what follows from it: whether another may be asked, what has to
//! rest, and whether it counts against the provider.

/// What went wrong. Each has one spelling, in events, traces and metrics.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Why {
    /// Nobody was there: no connection.
    Unreachable,
    /// It took too long: to begin, or between two pieces.
    Timeout,
    /// It was asked too often.
    RateLimited,
    /// It failed, or had no room.
    ServerError,
    /// A success without an answer.
    Empty,
    /// What came cannot be read, or has no end.
    Malformed,
    /// The stream ended before its last event.
    Cut,
    /// Nobody wanted it any more.
    Cancelled,
    /// Its breaker is open.
    Open,
    /// It has to rest.
    Cooling,
    /// The key is wrong, or may not.
    Credentials,
    /// The request itself is wrong; another provider would say the same.
    Refused,
}

impl Why {
    /// Every one.
    pub const ALL: [Self; 12] = [
        Why::Unreachable,
        Why::Timeout,
        Why::RateLimited,
        Why::ServerError,
        Why::Empty,
        Why::Malformed,
        Why::Cut,
        Why::Cancelled,
        Why::Open,
        Why::Cooling,
        Why::Credentials,
        Why::Refused,
    ];

    /// Its one spelling.
    pub fn name(self) -> &'static str {
        match self {
            Why::Unreachable => "unreachable",
            Why::Timeout => "timeout",
            Why::RateLimited => "rate_limited",
            Why::ServerError => "server_error",
            Why::Empty => "empty",
            Why::Malformed => "malformed",
            Why::Cut => "cut",
            Why::Cancelled => "cancelled",
            Why::Open => "open",
            Why::Cooling => "cooling",
            Why::Credentials => "credentials",
            Why::Refused => "refused",
        }
    }

    /// Whether another provider may be asked, as long as nothing of an answer has reached the caller.
    pub fn falls_back(self) -> bool {
        match self {
            Why::Unreachable
            | Why::Timeout
            | Why::RateLimited
            | Why::ServerError
            | Why::Empty
            | Why::Malformed
            | Why::Cut
            | Why::Open
            | Why::Cooling => true,
            Why::Cancelled | Why::Credentials | Why::Refused => false,
        }
    }

    /// What has to rest for it.
    pub fn rests(self) -> Rest {
        match self {
            Why::RateLimited => Rest::Model,
            Why::Credentials => Rest::Provider,
            Why::Unreachable
            | Why::Timeout
            | Why::ServerError
            | Why::Empty
            | Why::Malformed
            | Why::Cut
            | Why::Cancelled
            | Why::Open
            | Why::Cooling
            | Why::Refused => Rest::Nothing,
        }
    }

    /// Whether the question may have been read, which is charged for, answer or not.
    pub fn may_have_read(self) -> bool {
        match self {
            Why::Timeout | Why::Empty | Why::Malformed | Why::Cut | Why::Cancelled => true,
            Why::Unreachable
            | Why::RateLimited
            | Why::ServerError
            | Why::Open
            | Why::Cooling
            | Why::Credentials
            | Why::Refused => false,
        }
    }

    /// Whether it is a failure of the provider, which its breaker counts. Too many questions and
    /// wrong ones are ours.
    pub fn counts(self) -> bool {
        match self {
            Why::Unreachable
            | Why::Timeout
            | Why::ServerError
            | Why::Empty
            | Why::Malformed
            | Why::Cut => true,
            Why::RateLimited
            | Why::Cancelled
            | Why::Open
            | Why::Cooling
            | Why::Credentials
            | Why::Refused => false,
        }
    }
}

/// What is not asked for a while.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rest {
    /// All goes on.
    Nothing,
    /// This model at this provider.
    Model,
    /// The provider.
    Provider,
}

/// A failure, as a provider told it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// What went wrong.
    pub why: Why,
    /// The HTTP status, where there was one.
    pub status: Option<u16>,
    /// The provider's own code.
    pub code: Option<String>,
    /// Its words, cut to length. They may repeat what was asked: for the owner alone.
    pub words: String,
    /// When to ask again, in milliseconds, where it says so.
    pub retry_after_ms: Option<u64>,
}

impl Failure {
    /// One that nobody told in words of his own.
    pub fn new(why: Why, words: impl Into<String>) -> Self {
        Self {
            why,
            status: None,
            code: None,
            words: words.into(),
            retry_after_ms: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_has_its_own_spelling() {
        let names: BTreeSet<_> = Why::ALL.iter().map(|why| why.name()).collect();
        assert_eq!(names.len(), Why::ALL.len());
    }

    #[test]
    fn what_is_our_fault_neither_counts_nor_falls_back() {
        assert!(!Why::Refused.counts() && !Why::Refused.falls_back());
        assert!(!Why::RateLimited.counts() && Why::RateLimited.falls_back());
        assert_eq!(Why::RateLimited.rests(), Rest::Model);
        assert_eq!(Why::Credentials.rests(), Rest::Provider);
    }
}
