//! What is known about the vendor elsewhere: threat lists for its URL, a register for its name.
//!
//! The questions are asked by `wire`; here it is only said what an answer, or none, means. A
//! listed URL is refused. Silence is not safety: a person decides. The same where the policy has a
//! block list and a caller who had a URL to give gave none for an account of nobody's: else leaving
//! it out would be the way around the list.

use super::{Request, policy_of};
use crate::domain::facts::{Entity, Fact, Facts, Reputation};
use crate::domain::reason::{Finding, Reason};

/// `RISK_HIGH` or `REPUTATION_UNAVAILABLE`.
pub fn risk(request: &Request<'_>, facts: &Facts) -> Option<Finding> {
    match &facts.reputation {
        Fact::Known(Reputation::NotAsked | Reputation::Safe) => unnamed(request, facts),
        Fact::Known(Reputation::Unsafe(threats)) => {
            let why = format!("the vendor's URL is listed: {}", threats.join(", "));
            let mut finding = Finding::block(Reason::RiskHigh, why);
            finding.threats.clone_from(threats);
            Some(finding)
        }
        Fact::Missing => request.payee.url.as_ref().map(|_| {
            let why = "the reputation service did not say whether the vendor's URL is safe";
            Finding::hold(Reason::ReputationUnavailable, why)
        }),
    }
}

/// `REPUTATION_UNAVAILABLE`, held: the policy blocks sites, and of this payee nobody knows a site.
/// Only where the registry was asked, and where the tool takes a URL that could have been given.
fn unnamed(request: &Request<'_>, facts: &Facts) -> Option<Finding> {
    let nameless = request.payee.url.is_none() && request.tool.payee.url.is_some();
    let listed = !policy_of(facts)?.blocked_domains.is_empty();
    let stranger = facts.registration.known()?.payee.is_none();
    (nameless && listed && stranger && request.effective.moves_money()).then(|| {
        let why = "the policy blocks sites, the request names no vendor URL to compare, and nobody \
                   registered the account (`hundi payee add`)";
        Finding::hold(Reason::ReputationUnavailable, why)
    })
}

/// `ENTITY_UNVERIFIED`, where the policy asks for a verified legal entity. Refused where the
/// register has spoken or there is nobody to ask about; held where it did not answer.
pub fn entity(request: &Request<'_>, facts: &Facts) -> Option<Finding> {
    let asked = policy_of(facts)?.require_verified_entity && request.effective.moves_money();
    if !asked {
        return None;
    }
    let block = |why: &str| Some(Finding::block(Reason::EntityUnverified, why));
    let hold = |why: &str| Some(Finding::hold(Reason::EntityUnverified, why));
    match (&facts.entity, &request.payee.name) {
        (Fact::Known(Entity::Verified), _) => None,
        (_, None) => block("the request names no vendor to verify"),
        (Fact::Known(Entity::Unverified), _) => {
            block("the register knows no active entity of this name")
        }
        (Fact::Known(Entity::NotAsked), _) => hold("no register was asked about the vendor"),
        (Fact::Missing, _) => hold("the register did not answer in time"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::Effective;
    use crate::domain::policy::Policy;
    use crate::domain::reason::Severity;
    use crate::domain::tool::Payee;
    use crate::governance::testing::{Sample, facts};

    #[test]
    fn a_listed_url_is_refused_and_silence_waits_for_a_person() {
        let threats = vec!["MALWARE".to_owned(), "SOCIAL_ENGINEERING".to_owned()];
        let listed = Fact::Known(Reputation::Unsafe(threats.clone()));
        let sample = Sample::default();
        let found = |reputation| {
            risk(
                &sample.request(),
                &Facts {
                    reputation,
                    ..facts()
                },
            )
        };
        assert_eq!(found(Fact::Known(Reputation::Safe)), None);
        assert_eq!(found(Fact::Known(Reputation::NotAsked)), None);
        let hit = found(listed).unwrap();
        assert_eq!(
            (hit.reason, hit.severity),
            (Reason::RiskHigh, Severity::Block)
        );
        assert_eq!(hit.threats, threats);
        let silent = found(Fact::Missing).unwrap();
        assert_eq!(silent.reason, Reason::ReputationUnavailable);
        assert_eq!(silent.severity, Severity::Hold);
    }

    #[test]
    fn without_a_url_there_is_nothing_to_ask() {
        let sample = Sample {
            payee: Payee::default(),
            ..Sample::default()
        };
        let facts = Facts {
            reputation: Fact::Missing,
            ..facts()
        };
        assert_eq!(risk(&sample.request(), &facts), None);
    }

    #[test]
    #[rustfmt::skip]
    fn an_entity_is_verified_where_the_policy_asks() {
        let cases = [
            (false, Fact::Known(Entity::Unverified), None),
            (false, Fact::Missing,                   None),
            (true,  Fact::Known(Entity::Verified),   None),
            (true,  Fact::Known(Entity::Unverified), Some(Severity::Block)),
            (true,  Fact::Known(Entity::NotAsked),   Some(Severity::Hold)),
            (true,  Fact::Missing,                   Some(Severity::Hold)),
        ];
        for (require_verified_entity, entity_fact, severity) in cases {
            let policy = Policy { require_verified_entity, ..Policy::default() };
            let facts = Facts {
                policy: Fact::Known(Some(policy)),
                entity: entity_fact.clone(),
                ..facts()
            };
            let found = entity(&Sample::default().request(), &facts);
            let found = found.map(|finding| finding.severity);
            assert_eq!(found, severity, "{require_verified_entity} {entity_fact:?}");
            let nobody = Sample { payee: Payee::default(), ..Sample::default() };
            let nameless = entity(&nobody.request(), &facts).map(|finding| finding.severity);
            let verified = entity_fact == Fact::Known(Entity::Verified);
            let expected = require_verified_entity.then_some(Severity::Block);
            assert_eq!(nameless, expected.filter(|_| !verified), "{entity_fact:?}");
            let nothing = Sample { effective: Effective::Nothing, ..Sample::default() };
            assert_eq!(entity(&nothing.request(), &facts), None);
        }
    }
}
