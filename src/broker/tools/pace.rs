//! How fast: the sliding window of each agent, and the bucket of each tool that an operator gave
//! one.
//!
//! A request is counted once, however often its decision is made anew, and one that is refused for
//! its pace is counted nowhere: the token of a tool that a full window turns away is put back, so
//! that no agent can use up what belongs to others.

use super::Tools;
use crate::broker::core::Trouble;
use crate::broker::core::measure;
use crate::domain::facts::{Fact, ToolPace};
use crate::domain::ids::{AgentId, OrgId, ToolName};
use crate::domain::policy::RateLimit;
use crate::domain::principal::Principal;
use crate::domain::time::Timestamp;
use crate::domain::tool::{Executor, Tool};
use crate::domain::tools::RateBy;
use crate::ephemeral::{Bucket, Taken, Window};

/// What the limits on pace said about one request.
#[derive(Clone, PartialEq, Debug)]
pub(in crate::broker) struct Pace {
    /// Requests of the agent inside its window, without this one.
    pub(in crate::broker) recent_requests: Fact<u32>,
    /// The tool's bucket.
    pub(in crate::broker) tool: Fact<ToolPace>,
    /// When to come back; 0 if there was room.
    pub(in crate::broker) retry_after_secs: u32,
}

impl Tools {
    /// Counts one request of `agent` for `tool`.
    pub(in crate::broker) async fn pace(
        &self,
        org: &OrgId,
        agent: &AgentId,
        tool: &ToolName,
        limit: RateLimit,
        now: Timestamp,
    ) -> Pace {
        let tool = self.take_token(org, tool, now).await;
        let pace = |window: Option<Window>, tool: &Fact<ToolPace>| {
            let secs = |window: Window| window.retry_after_secs;
            Pace {
                recent_requests: window.map_or(Fact::Missing, |w| Fact::Known(w.earlier)),
                tool: tool.clone(),
                retry_after_secs: window.map_or(1, secs).max(wait(tool)),
            }
        };
        let no_limit = Window {
            earlier: 0,
            retry_after_secs: 0,
        };
        if limit.max == 0 || wait(&tool.pace) > 0 {
            return pace(Some(no_limit), &tool.pace);
        }
        let key = format!("agent:{org}:{agent}");
        let window = self.ports().ephemeral.rate(&key, limit, now).await;
        measure::rate(window);
        if window.is_none_or(|window| window.retry_after_secs > 0)
            && let Some((key, bucket)) = &tool.held
        {
            self.ports().ephemeral.put_back(key, *bucket).await;
        }
        pace(window, &tool.pace)
    }

    /// The same for a call that passes through and is decided by nobody.
    pub(in crate::broker) async fn pace_through(
        &self,
        org: &OrgId,
        tool: &ToolName,
    ) -> Result<(), Trouble> {
        let now = self.ports().ambient.now();
        match wait(&self.take_token(org, tool, now).await.pace) {
            0 => Ok(()),
            retry_after_secs => Err(Trouble::RateLimited { retry_after_secs }),
        }
    }

    /// The pace that a registered tool's own document sets, for all callers or for each.
    pub(in crate::broker) async fn pace_registered(
        &self,
        who: &Principal,
        tool: &Tool,
    ) -> Result<(), Trouble> {
        let Executor::Registered(of) = &tool.executor else {
            return Ok(());
        };
        let Some(limit) = of.def.rate_limit else {
            return Ok(());
        };
        let (org, name) = (&of.org, &tool.name);
        let key = match limit.by {
            RateBy::Tool => format!("registered:{org}:{name}"),
            RateBy::Caller => format!("registered:{org}:{name}:{}", who.id),
        };
        let bucket = Bucket {
            capacity: limit.burst.unwrap_or(limit.per_min),
            per_minute: limit.per_min,
        };
        let now = self.ports().ambient.now();
        match self.ports().ephemeral.take(&key, bucket, now).await {
            Some(Taken::Granted) => Ok(()),
            Some(Taken::Empty { retry_after_secs }) => Err(Trouble::RateLimited {
                retry_after_secs: retry_after_secs.max(1),
            }),
            // Whoever cannot be counted is not let through.
            None => Err(Trouble::RateLimited {
                retry_after_secs: 1,
            }),
        }
    }

    async fn take_token(&self, org: &OrgId, tool: &ToolName, now: Timestamp) -> Token {
        let Some(bucket) = self.settings().tool_buckets.get(tool.as_str()).copied() else {
            return Token {
                pace: Fact::Known(ToolPace::Unlimited),
                held: None,
            };
        };
        let key = format!("tool:{org}:{tool}");
        let taken = self.ports().ephemeral.take(&key, bucket, now).await;
        measure::bucket(taken);
        let pace = match taken {
            None => Fact::Missing,
            Some(Taken::Granted) => Fact::Known(ToolPace::Granted),
            Some(Taken::Empty { retry_after_secs }) => {
                Fact::Known(ToolPace::Empty { retry_after_secs })
            }
        };
        let held = (taken == Some(Taken::Granted)).then_some((key, bucket));
        Token { pace, held }
    }
}

/// What a tool's bucket said, and the token that was taken from it.
struct Token {
    pace: Fact<ToolPace>,
    held: Option<(String, Bucket)>,
}

/// Seconds to wait for a token; 0 if none is needed or one was taken.
fn wait(pace: &Fact<ToolPace>) -> u32 {
    match pace {
        Fact::Known(ToolPace::Unlimited | ToolPace::Granted) => 0,
        Fact::Known(ToolPace::Empty { retry_after_secs }) => (*retry_after_secs).max(1),
        Fact::Missing => 1,
    }
}
