//! The mandate an operator gives an agent: limits, lists and an end.

use serde::{Deserialize, Serialize};

use super::money::Currency;
use super::time::Timestamp;

/// Requests an agent may make in a sliding window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// Most requests in the window; 0 is off.
    pub max: u32,
    /// Length of the window in seconds.
    pub window_secs: u32,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            max: 10,
            window_secs: 60,
        }
    }
}

/// What one agent may do. All amounts in minor units of `currency`; every limit compares with a
/// strict `>`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Most that may be reserved and posted for one day; `None` is no limit.
    pub daily_limit: Option<i64>,
    /// Most for one transaction; `None` is no limit.
    pub per_txn_limit: Option<i64>,
    /// Amounts above this wait for people; `None` is never.
    pub require_approval_above: Option<i64>,
    /// How many different people have to agree; 0 reads as 1.
    pub approvals_needed: u32,
    /// Only these vendor hosts; empty is any.
    pub allowed_domains: Vec<String>,
    /// Never these vendor domains, nor their subdomains; `*` is every domain.
    pub blocked_domains: Vec<String>,
    /// High-risk tools that the agent may use besides those that move money; `*` is every tool.
    pub allowed_tools: Vec<String>,
    /// Requests per window.
    pub rate_limit: RateLimit,
    /// Hold payees that GLEIF does not know as active legal entities.
    pub require_verified_entity: bool,
    /// In force from, inclusive.
    pub valid_from: Option<Timestamp>,
    /// In force until, exclusive.
    pub valid_until: Option<Timestamp>,
    /// The currency of every amount here; `None` is INR.
    pub currency: Option<Currency>,
    /// Commit a held proposal by the broker itself once people agreed, for agents that have
    /// gone home.
    pub execute_on_approval: bool,
}

impl Policy {
    /// Whether the policy is in force at this instant.
    pub fn in_force(&self, now: Timestamp) -> bool {
        self.valid_from.is_none_or(|from| from <= now)
            && self.valid_until.is_none_or(|until| now < until)
    }

    /// The currency its limits are in.
    pub fn currency(&self) -> Currency {
        self.currency.unwrap_or(Currency::INR)
    }
}
