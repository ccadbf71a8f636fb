//! What models may cost an agent, as its policy says it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::price::{Nanos, NotMoney};

/// Limits in a policy. What is left out is not limited.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LlmLimits {
    /// Most that may be reserved and spent in a day.
    pub daily_usd: Option<Usd>,
    /// Most that one request may be expected to cost.
    pub per_request_usd: Option<Usd>,
}

/// Dollars, spelt as exact decimal text.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Usd(pub Nanos);

impl Usd {
    /// Billionths, as books keep them.
    pub fn nanos(self) -> i64 {
        i64::try_from(self.0.0).unwrap_or(i64::MAX)
    }
}

impl FromStr for Usd {
    type Err = NotMoney;

    fn from_str(text: &str) -> Result<Self, NotMoney> {
        text.parse().map(Self)
    }
}

impl TryFrom<String> for Usd {
    type Error = NotMoney;

    fn try_from(text: String) -> Result<Self, NotMoney> {
        text.parse()
    }
}

impl From<Usd> for String {
    fn from(usd: Usd) -> String {
        usd.0.to_string()
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
