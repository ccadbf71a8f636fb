//! Whether a policy's rule about decisions is one that somebody could fulfil, when it is written.
//!
//! A rule that nobody could fulfil would hold payments until they lapse, and nobody would know why.
//! Who is removed later is not looked for here: then the hold lapses, as it does where nobody cares.

use super::Pay;
use crate::broker::core::Trouble;
use crate::domain::policy::{ApprovalRule, DistinctFrom, PasskeyUse, Policy};
use crate::domain::principal::{Principal, Role};
use crate::domain::roles::Roles;

impl Pay {
    /// The policy with its people by id, or why nobody could fulfil its rule.
    pub(super) async fn fulfillable(
        &self,
        who: &Principal,
        mut policy: Policy,
    ) -> Result<Policy, Trouble> {
        let needed = policy.people_needed();
        let Some(rule) = &mut policy.approval else {
            return Ok(policy);
        };
        let mut people = Vec::new();
        for named in &rule.people {
            let known = self.access.person(who, named).await;
            let known = known.map_err(|trouble| match matches!(trouble, Trouble::NotFound(_)) {
                true => refused("`approval.people` names somebody who is not here"),
                false => trouble,
            })?;
            let id = known.id.to_string();
            if !people.contains(&id) {
                people.push(id);
            }
        }
        rule.people = people;
        let (can, whom) = self.able(who, rule, needed).await?;
        match usize::try_from(needed).unwrap_or(usize::MAX) <= can {
            true => Ok(policy),
            false => Err(refused(&format!(
                "`approval` needs {needed} {whom}, and there are {can}: it would hold what nobody \
                 can release"
            ))),
        }
    }

    /// How many could fulfil it, and who they would have to be.
    async fn able(
        &self,
        who: &Principal,
        rule: &ApprovalRule,
        needed: u32,
    ) -> Result<(usize, String), Trouble> {
        let signed = rule.passkey == PasskeyUse::Required;
        let fits =
            |roles: &Roles| rule.roles.is_empty() || rule.roles.iter().any(|role| roles.has(*role));
        let deciders = self.access.deciders(&who.org).await?;
        let able = deciders.people.iter().filter(|(id, roles, has)| {
            let named = rule.people.is_empty() || rule.people.contains(&id.to_string());
            named && fits(roles) && (*has || !signed)
        });
        let mut can = able.count();
        let alone = needed <= 1
            && rule.people.is_empty()
            && rule.distinct_from != Some(DistinctFrom::EachOther);
        // Whoever decides by a key that is nobody's counts where one is enough.
        if alone && signed {
            can += deciders
                .keys_with_passkeys
                .iter()
                .filter(|roles| fits(roles))
                .count();
        } else if alone {
            let keys = self.access.keys(who).await?.into_iter();
            let live = keys.filter(|key| key.revoked_at.is_none());
            can += live
                .filter(|key| key.roles.may(DECIDE) && fits(&key.roles))
                .count();
            // The owner of the data folder, at the command line.
            can += usize::from(fits(&Role::Admin.into()));
        }
        let mut whom = vec!["people who may decide".to_owned()];
        if !rule.roles.is_empty() {
            let names: Vec<&str> = rule.roles.iter().map(|role| role.name()).collect();
            whom.push(format!("are {}", names.join(" or ")));
        }
        if !rule.people.is_empty() {
            whom.push("are named".to_owned());
        }
        if signed {
            whom.push("have a passkey".to_owned());
        }
        Ok((can, whom.join(" and ")))
    }
}

const DECIDE: crate::domain::principal::Right = crate::domain::principal::Right::Decide;

fn refused(text: &str) -> Trouble {
    Trouble::InvalidRequest(text.to_owned())
}
