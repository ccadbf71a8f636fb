//! Who is behind a principal: where several have to agree, people are counted and not keys.
//!
//! Until people sign in themselves, a person is known by the marks of what they act with:
//!
//! | who acts | marks |
//! | --- | --- |
//! | a key made with a person | that person, and the Slack user it is mapped to |
//! | another key | its name, and the Slack user |
//! | an admin's key with neither person nor Slack user | its name, and all marks of who made it: who makes such a key for nobody holds it |
//! | the command line on the store; the first admin's key | the owner of the data folder |
//!
//! Two that share a mark are one person, so two keys named alike are, whatever their case and
//! spaces. Somebody who makes a key in another person's name and keeps it is not found out here:
//! the audit says who made which key, and when.

use unicode_normalization::UnicodeNormalization;

use super::Pay;
use crate::broker::access::keys::StoredKey;
use crate::broker::core::Trouble;
use crate::domain::ids::OrgId;
use crate::domain::principal::Role;
use crate::domain::proposal::Approval;

/// The owner of the data folder. No name is spelt so: it would be in lower case.
const OWNER: &str = "OWNER";
/// Principals that the owner of the data folder acts as.
const OWNERS: [&str; 2] = ["cli:local", "hundi"];
/// How far back makers of keys are followed.
const GENERATIONS: usize = 16;

impl Pay {
    /// The marks of the person behind a principal; at least one.
    pub(super) async fn marks_of(&self, org: &OrgId, id: &str) -> Result<Vec<String>, Trouble> {
        let mut marks = Vec::new();
        let mut id = id.to_owned();
        for _ in 0..GENERATIONS {
            if OWNERS.contains(&id.as_str()) {
                marks.push(OWNER.to_owned());
                break;
            }
            let Some(key) = self.stored_key(org, &id).await? else {
                marks.push(id);
                break;
            };
            let slack = key.slack_user().map(|user| format!("slack:{user}"));
            let named = key.person().map(spelt);
            let passed_on = named.is_none() && slack.is_none() && key.roles().has(Role::Admin);
            marks.push(named.unwrap_or_else(|| spelt(key.name())));
            marks.extend(slack);
            if !passed_on {
                break;
            }
            key.made_by().clone_into(&mut id);
        }
        Ok(marks)
    }

    /// Whether the key that proposed has one of these marks: the person who runs the agent, or its
    /// own name where nobody is named.
    pub(super) async fn runs(
        &self,
        org: &OrgId,
        proposer: &str,
        marks: &[String],
    ) -> Result<bool, Trouble> {
        let key = self.stored_key(org, proposer).await?;
        let person = key.map(|key| spelt(key.person().unwrap_or(key.name())));
        Ok(person.is_some_and(|person| marks.contains(&person)))
    }

    async fn stored_key(&self, org: &OrgId, id: &str) -> Result<Option<StoredKey>, Trouble> {
        let Some(key) = id.strip_prefix("key:") else {
            return Ok(None);
        };
        let found = self.find::<StoredKey>(org, key).await?;
        Ok(found.and_then(Result::ok).map(|stored| stored.value))
    }
}

/// Whether the person with these marks is the one who gave this approval.
pub(super) fn gave(approval: &Approval, by: &str, marks: &[String]) -> bool {
    approval.by == by || approval.marks.iter().any(|mark| marks.contains(mark))
}

/// A name in the one spelling that names are compared in.
fn spelt(name: &str) -> String {
    let folded: String = name.nfkc().flat_map(char::to_lowercase).collect();
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_person_has_one_spelling() {
        for spelling in [
            "Asha Rao",
            " asha  rao",
            "ASHA RAO",
            "Ａｓｈａ Rao",
            "asha\u{a0}rao",
        ] {
            assert_eq!(spelt(spelling), "asha rao", "{spelling:?}");
        }
        assert_ne!(spelt("Asha Rao"), spelt("Asha R"));
    }
}
