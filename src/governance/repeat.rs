//! Is this the same payment again?
//!
//! An agent that heard nothing asks again, mostly without its idempotency key, and both requests
//! are well within every limit. So the same payee, amount and currency within the policy's window
//! are told apart by a person. What counts as earlier (held, allowed, on its way, in doubt or
//! executed, by whichever agent of the organisation) is the broker's to find.

use super::policy::shown;
use super::{Request, policy_of};
use crate::domain::facts::{Fact, Facts};
use crate::domain::policy::Repeat;
use crate::domain::reason::{Finding, Reason};

/// `POSSIBLE_DUPLICATE`, held or remarked on as the policy says.
pub fn repeated(request: &Request<'_>, facts: &Facts) -> Option<Finding> {
    let duplicates = policy_of(facts)?.duplicates;
    if !request.effective.moves_money() {
        return None;
    }
    let complain: fn(Reason, String) -> Finding = match duplicates.then {
        Repeat::Hold => Finding::hold,
        Repeat::Report => Finding::note,
        Repeat::Off => return None,
    };
    let earlier = match &facts.earlier {
        Fact::Known(earlier) => earlier.as_ref()?,
        Fact::Missing => {
            let why = "whether the same was paid a moment ago could not be read";
            return Some(complain(Reason::PossibleDuplicate, why.to_owned()));
        }
    };
    let asked = shown(request);
    let payee = request
        .payee
        .account
        .as_ref()
        .or(request.payee.name.as_ref());
    let payee = payee.map_or_else(String::new, |payee| format!(" to {payee}"));
    let named = earlier.proposal.map(|id| format!(" as {id}"));
    let why = format!(
        "{asked}{payee} was asked for at {}{} and is {}; is this the same payment?",
        earlier.at,
        named.unwrap_or_default(),
        earlier.state.name()
    );
    Some(Finding {
        earlier_proposal_id: earlier.proposal,
        ..complain(Reason::PossibleDuplicate, why)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::facts::Earlier;
    use crate::domain::ids::ProposalId;
    use crate::domain::money::Effective;
    use crate::domain::policy::{Duplicates, Policy};
    use crate::domain::proposal::State;
    use crate::domain::reason::Severity;
    use crate::domain::time::Timestamp;
    use crate::governance::testing::{Sample, facts, inr};

    #[test]
    #[rustfmt::skip]
    fn the_same_payment_again_waits_as_the_policy_says() {
        let at = Timestamp::from_secs(990);
        let seen = || Fact::Known(Some(Earlier { proposal: None, at, state: State::Executed }));
        let cases = [
            //         then            what is known      severity
            (inr(100), Repeat::Hold,   seen(),            Some(Severity::Hold)),
            (inr(100), Repeat::Hold,   Fact::Known(None), None),
            (inr(100), Repeat::Hold,   Fact::Missing,     Some(Severity::Hold)),
            (inr(100), Repeat::Report, seen(),            Some(Severity::Note)),
            (inr(100), Repeat::Report, Fact::Missing,     Some(Severity::Note)),
            (inr(100), Repeat::Off,    seen(),            None),
            (inr(100), Repeat::Off,    Fact::Missing,     None),
            (Effective::Nothing, Repeat::Hold, Fact::Missing, None),
        ];
        for (effective, then, earlier, severity) in cases {
            let duplicates = Duplicates { then, ..Duplicates::default() };
            let policy = Fact::Known(Some(Policy { duplicates, ..Policy::default() }));
            let facts = Facts { policy, earlier: earlier.clone(), ..facts() };
            let sample = Sample { effective, ..Sample::default() };
            let found = repeated(&sample.request(), &facts);
            assert_eq!(found.map(|f| f.severity), severity, "{then:?} {earlier:?}");
        }
    }

    #[test]
    fn the_earlier_proposal_is_named() {
        let at = Timestamp::from_secs(990);
        let id = ProposalId::at(at, [7; 10]);
        let earlier = Earlier {
            proposal: Some(id),
            at,
            state: State::InDoubt,
        };
        let facts = Facts {
            earlier: Fact::Known(Some(earlier)),
            ..facts()
        };
        let found = repeated(&Sample::default().request(), &facts).unwrap();
        assert_eq!(found.earlier_proposal_id, Some(id));
        for word in [&id.to_string(), "acct_123", "in_doubt", "1.00 INR"] {
            assert!(found.detail.contains(word), "{}", found.detail);
        }
    }
}
