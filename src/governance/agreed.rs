//! Whose agreement counts: what was asked of people when a proposal was made, and what the policy
//! in force asks of them now, each wherever it is the stricter.
//!
//! So a policy that becomes stricter reaches what is held and what was approved already, and one
//! that becomes easier makes nothing easier that waits. Who agreed is told as they are now, not as
//! they were: who was removed, or may decide no more, has agreed to nothing.
//!
//! Reading who somebody is now, and that nobody agrees twice or to their own request, is the
//! broker's.

use thiserror::Error;

use crate::domain::policy::{ApprovalRule, DistinctFrom, PasskeyUse, Policy};
use crate::domain::principal::Right;
use crate::domain::proposal::Fixed;
use crate::domain::reason::{Finding, Reason};
use crate::domain::roles::Roles;
use crate::domain::time::Timestamp;

/// What people's agreement to one proposal has to fulfil.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Asked {
    /// How many different people have to agree.
    pub needed: u32,
    /// After this nothing can be agreed to, nor carried out.
    pub until: Timestamp,
    rules: Vec<ApprovalRule>,
}

/// Somebody who agrees, or agreed, as they are now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Approver {
    /// What they may do.
    pub roles: Roles,
    /// The id of the person they are, if they are one.
    pub person: Option<String>,
    /// Whether it is signed with a passkey.
    pub signed: bool,
}

/// Why an agreement does not count.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Unmet {
    /// Their role does not decide on anything.
    #[error("may not decide any more")]
    NoDecider,
    /// People are counted, and nobody says who this is.
    #[error("is the key of no person")]
    NoPerson,
    /// Only people with other roles, or other people, count: these.
    #[error("is not among those whose decision counts ({0})")]
    NotAmong(String),
    /// It would have to be signed.
    #[error("is not signed with a passkey")]
    Unsigned,
}

impl Asked {
    /// What was asked when it was made, and what this policy asks.
    pub fn of(fixed: &Fixed, policy: Option<&Policy>) -> Self {
        let ruled = policy.and_then(|policy| policy.approval.as_ref());
        let rules: Vec<ApprovalRule> = fixed.approval.iter().chain(ruled).cloned().collect();
        let within = |rule: &ApprovalRule| {
            let secs = rule.expires_secs?;
            Some(fixed.created_at.plus_secs(secs.into()))
        };
        let needed = policy.map_or(1, Policy::people_needed);
        Self {
            needed: needed.max(fixed.approvals_needed),
            until: rules
                .iter()
                .filter_map(within)
                .fold(fixed.lapses_at, Timestamp::min),
            rules,
        }
    }

    /// Whether people are counted and nobody else.
    pub fn people_alone(&self) -> bool {
        let alone = |rule: &ApprovalRule| {
            rule.distinct_from == Some(DistinctFrom::EachOther) || !rule.people.is_empty()
        };
        self.needed > 1 || self.rules.iter().any(alone)
    }

    /// Whether it is said that approvers differ from who proposed.
    pub fn distinct(&self) -> bool {
        self.rules.iter().any(|rule| rule.distinct_from.is_some())
    }

    /// Whether an agreement counts only where it is signed.
    pub fn passkey(&self) -> bool {
        let mut rules = self.rules.iter();
        rules.any(|rule| rule.passkey == PasskeyUse::Required)
    }

    /// What keeps this agreement from counting, if anything does.
    pub fn unmet(&self, by: &Approver) -> Option<Unmet> {
        if !by.roles.may(Right::Decide) {
            return Some(Unmet::NoDecider);
        }
        if self.people_alone() && by.person.is_none() {
            return Some(Unmet::NoPerson);
        }
        self.rules.iter().find_map(|rule| unmet(rule, by))
    }

    /// Why so many agreements are not enough at this instant, if they are not.
    pub fn unanswered(&self, given: u32, now: Timestamp) -> Option<Finding> {
        let why = match () {
            () if self.until <= now => {
                format!(
                    "people had to agree, and it to be committed, by {}",
                    self.until
                )
            }
            () if given < self.needed => {
                format!("{given} of {} agreements count now", self.needed)
            }
            () => return None,
        };
        Some(Finding::hold(Reason::ApprovalRequired, why))
    }
}

fn unmet(rule: &ApprovalRule, by: &Approver) -> Option<Unmet> {
    if !rule.roles.is_empty() && !rule.roles.iter().any(|role| by.roles.has(*role)) {
        let names: Vec<&str> = rule.roles.iter().map(|role| role.name()).collect();
        return Some(Unmet::NotAmong(names.join(", ")));
    }
    let named = by
        .person
        .as_ref()
        .is_some_and(|id| rule.people.contains(id));
    if !rule.people.is_empty() && !named {
        return Some(Unmet::NotAmong(rule.people.join(", ")));
    }
    (rule.passkey == PasskeyUse::Required && !by.signed).then_some(Unmet::Unsigned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::principal::Role;

    fn asked(rules: Vec<ApprovalRule>) -> Asked {
        Asked {
            needed: rules.iter().map(|rule| rule.needed).max().unwrap_or(1),
            until: Timestamp::from_secs(1_000),
            rules,
        }
    }

    #[test]
    #[rustfmt::skip]
    fn every_rule_has_to_be_fulfilled_by_who_somebody_is_now() {
        let rule = ApprovalRule::default;
        let ana = || Approver { roles: Role::Approver.into(), person: Some("pn_a".into()), signed: false };
        let people = |who: &[&str]| ApprovalRule { people: who.iter().map(|id| (*id).to_owned()).collect(), ..rule() };
        let among = |who: &str| Some(Unmet::NotAmong(who.to_owned()));
        let signed = ApprovalRule { passkey: PasskeyUse::Required, ..rule() };
        let both = ApprovalRule { distinct_from: Some(DistinctFrom::EachOther), ..rule() };
        let roles = |roles: &[Role]| ApprovalRule { roles: roles.to_vec(), ..rule() };
        let cases = [
            (vec![],                                  ana(),                                         None),
            (vec![],                                  Approver { person: None, ..ana() },            None),
            (vec![],                                  Approver { roles: Role::Auditor.into(), ..ana() }, Some(Unmet::NoDecider)),
            (vec![],                                  Approver { roles: Roles::default(), ..ana() }, Some(Unmet::NoDecider)),
            (vec![people(&["pn_a"])],                 ana(),                                         None),
            (vec![people(&["pn_b"])],                 ana(),                                         among("pn_b")),
            (vec![people(&["pn_a"]), people(&["pn_b"])], ana(),                                      among("pn_b")),
            (vec![people(&["pn_a"])],                 Approver { person: None, ..ana() },            Some(Unmet::NoPerson)),
            (vec![both],                              Approver { person: None, ..ana() },            Some(Unmet::NoPerson)),
            (vec![ApprovalRule { needed: 2, ..rule() }], Approver { person: None, ..ana() },         Some(Unmet::NoPerson)),
            (vec![roles(&[Role::Admin])],             ana(),                                         among("admin")),
            (vec![roles(&[Role::Approver]), roles(&[Role::Admin])], ana(),                           among("admin")),
            (vec![rule(), signed.clone()],            ana(),                                         Some(Unmet::Unsigned)),
            (vec![signed],                            Approver { signed: true, ..ana() },            None),
        ];
        for (rules, who, expected) in cases {
            assert_eq!(asked(rules.clone()).unmet(&who), expected, "{rules:?} {who:?}");
        }
    }

    #[test]
    fn too_few_and_too_late_is_no_agreement() {
        let two = asked(vec![ApprovalRule {
            needed: 2,
            ..ApprovalRule::default()
        }]);
        let enough = |given, at| two.unanswered(given, Timestamp::from_secs(at)).is_none();
        assert!(enough(2, 999) && enough(3, 1));
        assert!(!enough(1, 1) && !enough(2, 1_000));
    }
}
