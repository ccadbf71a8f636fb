//! What was spent on models, summed from the ledger.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Call, Operation, Rest};
use crate::broker::Trouble;
use crate::broker::requests::{AskUsage, By, Sum};
use crate::domain::principal::Right;
use crate::domain::requests::price::Nanos;
use crate::domain::time::Timestamp;
use crate::entry::words;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("get_usage", usage)
            .says(
                "Read usage",
                "What models cost, summed from the ledger: the organisation's, or the caller's own where he may read no more.",
            )
            .needs(&[Right::ReadOwn])
            .rest(Rest::get("/v1/usage").answers(200, "the sums")),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct UsageQuery {
    /// What is summed by; the day if left out.
    #[schemars(schema_with = "words::usage_by")]
    #[serde(default)]
    by: Option<String>,
    /// Attempts at this moment or after.
    #[schemars(schema_with = "words::time_if_any")]
    #[serde(default)]
    since: Option<String>,
    /// Attempts before this moment.
    #[schemars(schema_with = "words::time_if_any")]
    #[serde(default)]
    until: Option<String>,
}

/// What models cost.
#[derive(Serialize, JsonSchema)]
struct Usage {
    by: String,
    usage: Vec<UsageRow>,
    total: UsageRow,
}

/// A sum of attempts.
#[derive(Serialize, JsonSchema)]
struct UsageRow {
    /// What it is the sum of: an agent, a provider, a model, a day, a kind of work.
    key: String,
    requests: u64,
    attempts: u64,
    /// Attempts that gave no answer.
    failed: u64,
    tokens_read: u64,
    /// Of those, from a cache.
    tokens_cached: u64,
    tokens_written: u64,
    /// Of those, thoughts.
    tokens_reasoning: u64,
    cost_usd: String,
    cost_nanos: u64,
    /// Of that, what was counted here because no provider told.
    estimated_usd: String,
    estimated_nanos: u64,
}

fn row(by: By, sum: &Sum) -> UsageRow {
    let key = match by {
        By::Day => day(&sum.key),
        By::Agent | By::Provider | By::Model | By::Task => sum.key.clone(),
    };
    UsageRow {
        key,
        requests: sum.requests,
        attempts: sum.attempts,
        failed: sum.failed,
        tokens_read: sum.input,
        tokens_cached: sum.cached_input,
        tokens_written: sum.output,
        tokens_reasoning: sum.reasoning,
        cost_usd: Nanos(sum.nanos).to_string(),
        cost_nanos: sum.nanos,
        estimated_usd: Nanos(sum.estimated_nanos).to_string(),
        estimated_nanos: sum.estimated_nanos,
    }
}

/// `20261201` as `2026-12-01`.
fn day(number: &str) -> String {
    match (number.get(..4), number.get(4..6), number.get(6..)) {
        (Some(year), Some(month), Some(day)) => format!("{year}-{month}-{day}"),
        _ => number.to_owned(),
    }
}

fn instant(field: &str, text: Option<&str>) -> Result<Option<Timestamp>, Trouble> {
    let Some(text) = text else {
        return Ok(None);
    };
    let wrong = || Trouble::InvalidRequest(format!("`{field}` has to be an RFC 3339 time"));
    Timestamp::parse(text).map(Some).ok_or_else(wrong)
}

async fn usage(call: Call, asked: UsageQuery) -> Result<Usage, Trouble> {
    let by = asked.by.as_deref().and_then(By::parse).unwrap_or(By::Day);
    let asked = AskUsage {
        by,
        since: instant("since", asked.since.as_deref())?,
        until: instant("until", asked.until.as_deref())?,
    };
    let (sums, total) = call.broker.requests.usage(&call.who, asked).await?;
    Ok(Usage {
        by: by.name().to_owned(),
        usage: sums.iter().map(|sum| row(by, sum)).collect(),
        total: row(By::Agent, &total),
    })
}
