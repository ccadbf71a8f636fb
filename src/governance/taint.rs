//! Did the agent lately read what somebody else wrote, where its policy says that this matters?
//!
//! A result of a tool is somebody else's text, and an agent that has read it may be doing what it
//! says. Nobody can tell whether it does; so where a policy names tools or sources, what the agent
//! proposes within so many seconds after reading from one of them is held or blocked.

use super::{Request, policy_of};
use crate::domain::facts::{Fact, Facts};
use crate::domain::policy::Then;
use crate::domain::reason::{Finding, Reason};

/// `TAINTED_CONTEXT`: it has, or nobody knows whether it has.
pub fn tainted(_: &Request<'_>, facts: &Facts) -> Option<Finding> {
    let taint = policy_of(facts)?.taint.as_ref()?;
    let why = match &facts.tainted {
        Fact::Known(None) => return None,
        Fact::Known(Some(read)) => {
            let until = read.at.plus_secs(i64::from(taint.for_secs));
            if facts.now >= until {
                return None;
            }
            format!(
                "the agent read what `{}` told it at {}, which may have told it what to do; this \
                 counts until {until}",
                read.tool, read.at
            )
        }
        Fact::Missing => {
            "whether the agent has read other people's text could not be learned".to_owned()
        }
    };
    Some(match taint.then {
        Then::Hold => Finding::hold(Reason::TaintedContext, why),
        Then::Block => Finding::block(Reason::TaintedContext, why),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::facts::TaintedRead;
    use crate::domain::policy::{Policy, Taint, TaintBy};
    use crate::domain::reason::Severity;
    use crate::domain::time::Timestamp;
    use crate::governance::testing::{Sample, facts};

    #[test]
    #[rustfmt::skip]
    fn what_was_read_counts_for_so_long_and_what_is_not_known_counts() {
        let read = |secs| Fact::Known(Some(TaintedRead {
            tool: "look".to_owned(), at: Timestamp::from_secs(secs),
        }));
        // The facts are of second 1,000.
        let cases = [
            (Some(Then::Hold),  read(901),         Some(Severity::Hold)),
            (Some(Then::Block), read(901),         Some(Severity::Block)),
            (Some(Then::Hold),  read(900),         None),
            (Some(Then::Hold),  Fact::Known(None), None),
            (Some(Then::Hold),  Fact::Missing,     Some(Severity::Hold)),
            (None,              Fact::Missing,     None),
            (None,              read(1_000),       None),
        ];
        for (row, (then, tainted_by, severity)) in cases.into_iter().enumerate() {
            let taint = then.map(|then| Taint {
                sources: Vec::new(), tools: vec!["look".to_owned()], then, for_secs: 100,
                by: TaintBy::Agent,
            });
            let policy = Policy { taint, ..Policy::default() };
            let facts = Facts {
                policy: Fact::Known(Some(policy)), tainted: tainted_by, ..facts()
            };
            let found = tainted(&Sample::default().request(), &facts);
            assert_eq!(found.map(|found| found.severity), severity, "row {row}");
        }
    }
}
