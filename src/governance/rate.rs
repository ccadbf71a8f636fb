//! Has this agent asked too often, or everybody together for this tool?
//!
//! Windows and buckets are counted in `ephemeral`, on the broker's clock and not on a caller's, and
//! a refused request is not counted, so waiting always helps.

use super::{Request, policy_of};
use crate::domain::facts::{Fact, Facts, ToolPace};
use crate::domain::policy::{Policy, RateLimit};
use crate::domain::reason::{Finding, Reason};

/// The limit to count under, or `None` where it is off.
pub fn limit(policy: Option<&Policy>) -> Option<RateLimit> {
    let limit = policy.map_or_else(RateLimit::default, |policy| policy.rate_limit);
    (limit.max > 0).then_some(limit)
}

/// `RATE_LIMITED`: the window is full, or nobody could count.
pub fn within_window(_request: &Request<'_>, facts: &Facts) -> Option<Finding> {
    let limit = limit(Some(policy_of(facts)?))?;
    let detail = match facts.recent_requests {
        Fact::Known(earlier) if earlier < limit.max => return None,
        Fact::Known(earlier) => format!(
            "{earlier} requests in the last {} s, and at most {} are let through",
            limit.window_secs, limit.max
        ),
        Fact::Missing => "the requests of this agent could not be counted".to_owned(),
    };
    Some(Finding::block(Reason::RateLimited, detail))
}

/// `RATE_LIMITED`: the tool's own bucket is empty, whoever emptied it, or nobody could count.
pub fn within_bucket(request: &Request<'_>, facts: &Facts) -> Option<Finding> {
    let tool = &request.tool.name;
    let detail = match facts.tool_pace {
        Fact::Known(ToolPace::Unlimited | ToolPace::Granted) => return None,
        Fact::Known(ToolPace::Empty { retry_after_secs }) => {
            format!("{tool} is called too often; there is room in {retry_after_secs} s")
        }
        Fact::Missing => format!("the calls of {tool} could not be counted"),
    };
    Some(Finding::block(Reason::RateLimited, detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::governance::testing::{Sample, facts};

    #[test]
    #[rustfmt::skip]
    fn a_window_has_room_for_max() {
        let cases = [
            (10, Fact::Known(9),   true),
            (10, Fact::Known(10),  false),
            (1,  Fact::Known(0),   true),
            (1,  Fact::Known(1),   false),
            (0,  Fact::Known(999), true),  // off
            (0,  Fact::Missing,    true),
            (10, Fact::Missing,    false),
        ];
        for (max, recent, expected) in cases {
            let rate_limit = RateLimit { max, window_secs: 60 };
            let policy = Policy { rate_limit, ..Policy::default() };
            let facts = Facts {
                policy: Fact::Known(Some(policy)),
                recent_requests: recent.clone(),
                ..facts()
            };
            let found = within_window(&Sample::default().request(), &facts);
            assert_eq!(found.is_none(), expected, "{max} {recent:?}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn a_tool_with_a_bucket_needs_a_token() {
        let cases = [
            (Fact::Known(ToolPace::Unlimited),                       true),
            (Fact::Known(ToolPace::Granted),                         true),
            (Fact::Known(ToolPace::Empty { retry_after_secs: 7 }),   false),
            (Fact::Missing,                                          false),
        ];
        for (tool_pace, expected) in cases {
            let facts = Facts { tool_pace, ..facts() };
            let found = within_bucket(&Sample::default().request(), &facts);
            assert_eq!(found.is_none(), expected, "{:?}", facts.tool_pace);
        }
    }

    #[test]
    fn the_default_is_ten_in_a_minute() {
        assert_eq!(
            limit(None),
            Some(RateLimit {
                max: 10,
                window_secs: 60
            })
        );
    }
}
