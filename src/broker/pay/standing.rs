//! Whose approvals still count: each is held against what is asked of people now, by who gave it as
//! they are now. What was given by somebody who was removed, or may decide no more, with a key that
//! was revoked or a passkey that was taken away, does not count; nor does what the policy in force
//! would not take. A key that only ran its time is no reason, and where an identity provider says
//! what somebody may do, what it said then holds as long as the person is here.
//!
//! Read from memory, and held to by guards: whoever changes a person at the same moment makes the
//! decision be made anew.

use super::Pay;
use crate::broker::access::keys::{StoredKey, of_programs};
use crate::broker::core::Trouble;
use crate::domain::change::Guard;
use crate::domain::ids::OrgId;
use crate::domain::person::{Person, PersonId};
use crate::domain::policy::Policy;
use crate::domain::principal::Role;
use crate::domain::proposal::{Approval, Proposal};
use crate::domain::roles::Roles;
use crate::governance::agreed::{Approver, Asked};

/// How the marks of people begin, in approvals that do not name the person otherwise.
const PERSON: &str = "person:";
/// How the principals of keys begin.
const KEY: &str = "key:";

/// The approvals of a proposal, by whether they count.
#[derive(Default)]
pub(super) struct Counted {
    pub kept: Vec<Approval>,
    /// Who gave those that do not, and why they do not.
    pub lost: Vec<(String, String)>,
    /// What holds a decision to that.
    pub guards: Vec<Guard>,
}

impl Counted {
    /// A refusal's words, with what does not count any more.
    pub fn telling(&self, detail: String) -> String {
        let lost = self.lost.iter().map(|(by, why)| format!("; {by} {why}"));
        lost.fold(detail, |detail, lost| detail + &lost)
    }
}

/// Who gave an approval, or why nobody has.
enum Now {
    Is(Approver),
    Gone(&'static str),
}

impl Pay {
    /// What is asked of people's agreement now, and what holds a decision to it. A policy that does
    /// not read back lets nobody decide.
    pub(super) async fn asked(&self, proposal: &Proposal) -> Result<(Asked, Guard), Trouble> {
        let fixed = &proposal.fixed;
        let found = self.remembered::<Option<Policy>>(&fixed.org, &fixed.agent);
        let (policy, guard) = found.await?;
        let policy = policy.transpose()?.and_then(|stored| stored.value);
        Ok((Asked::of(fixed, policy.as_ref()), guard))
    }

    /// Which approvals of a proposal fulfil what is asked.
    pub(super) async fn still_agreed(
        &self,
        proposal: &Proposal,
        asked: &Asked,
    ) -> Result<Counted, Trouble> {
        let counted = self.counts_of(proposal, asked).await?;
        if counted.lost.is_empty() {
            return Ok(counted);
        }
        // What is remembered may be a moment old, and no guard holds a refusal to it.
        for guard in &counted.guards {
            self.memory().forget_doc(&guard.key);
        }
        self.counts_of(proposal, asked).await
    }

    async fn counts_of(&self, proposal: &Proposal, asked: &Asked) -> Result<Counted, Trouble> {
        let mut counted = Counted::default();
        for approval in &proposal.moving.approvals {
            let now = self.approver_now(proposal, approval, &mut counted.guards);
            let lost = match now.await? {
                Now::Is(approver) => asked.unmet(&approver).map(|why| why.to_string()),
                Now::Gone(why) => Some(why.to_owned()),
            };
            match lost {
                None => counted.kept.push(approval.clone()),
                Some(why) => counted.lost.push((approval.by.clone(), why)),
            }
        }
        Ok(counted)
    }

    /// Who gave an approval, as they are now.
    async fn approver_now(
        &self,
        proposal: &Proposal,
        approval: &Approval,
        guards: &mut Vec<Guard>,
    ) -> Result<Now, Trouble> {
        let org = &proposal.fixed.org;
        let given = &approval.given;
        let signed = match &given.passkey {
            Some(id) if !self.access.has_passkey(org, id).await? => {
                return Ok(Now::Gone("signed it with a passkey that was taken away"));
            }
            Some(_) => true,
            // What an older version wrote was signed where it had to be.
            None => given.roles.is_none() && proposal.fixed.needs_passkey(),
        };
        let person = person_of(approval);
        let theirs = match &person {
            Some(id) => match self.person_roles(org, id, guards).await? {
                Some(roles) => Some(roles),
                None => return Ok(Now::Gone("was removed")),
            },
            None => None,
        };
        let by_key = approval.by.strip_prefix(KEY);
        let roles = match by_key {
            Some(key) => {
                let (found, guard) = self.remembered::<StoredKey>(org, key).await?;
                // Keys are ended, never taken away: where none is stored, there never was one.
                let found = found.transpose()?;
                guards.extend(found.is_some().then_some(guard));
                match found {
                    Some(key) if !key.value.is_live() => {
                        return Ok(Now::Gone("is a key that was revoked"));
                    }
                    Some(key) => Some(key.value.roles_under(theirs)),
                    None => given.roles,
                }
            }
            None if approval.by.starts_with(PERSON) => theirs,
            None => given.roles.map(|roles| match theirs {
                Some(theirs) => roles.both(of_programs(theirs)),
                None => roles,
            }),
        };
        Ok(Now::Is(Approver {
            // Then they could decide, or there would be no approval.
            roles: roles.unwrap_or_else(|| Role::Approver.into()),
            person: person.map(|id| id.to_string()),
            signed,
        }))
    }

    async fn person_roles(
        &self,
        org: &OrgId,
        id: &PersonId,
        guards: &mut Vec<Guard>,
    ) -> Result<Option<Roles>, Trouble> {
        let (found, guard) = self.remembered::<Person>(org, id).await?;
        guards.push(guard);
        Ok(found.transpose()?.map(|stored| stored.value.roles))
    }
}

/// The person who gave it. What an older version wrote tells by its only mark.
fn person_of(approval: &Approval) -> Option<PersonId> {
    match (&approval.given.roles, approval.marks.as_slice()) {
        (None, [mark]) => mark.strip_prefix(PERSON)?.parse().ok(),
        _ => approval.given.person.clone(),
    }
}
