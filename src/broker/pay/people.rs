//! Who is behind a principal: where several have to agree, people are counted and not keys.
//!
//! Whoever acts as a person is that person. Where more than one has to agree, nobody else counts.
//! Where one is enough, and to tell whether an agent would approve its own, keys without a person
//! are known by the marks of what they are:
//!
//! | who acts | marks |
//! | --- | --- |
//! | a person, or a program of theirs | the person |
//! | a key made with a mere name, before there were people | that name, and the Slack user it is mapped to |
//! | another key | its name, and the Slack user |
//! | an admin's key with neither person nor Slack user | its name, and all marks of who made it: who makes such a key for nobody holds it |
//! | the command line on the store, as itself or as an agent; the first admin's key | the owner of the data folder |
//!
//! Two that share a mark are one person, so two keys named alike are, whatever their case and
//! spaces. Somebody who makes a key in another person's name and keeps it is not found out here:
//! the audit says who made which key, and when.

use super::Pay;
use crate::broker::access::keys::StoredKey;
use crate::broker::core::Trouble;
use crate::domain::ids::OrgId;
use crate::domain::person::{Person, PersonId, folded};
use crate::domain::principal::{Principal, Role};
use crate::domain::proposal::{Approval, Fixed};

/// The owner of the data folder. No name is spelt so: it would be in lower case.
const OWNER: &str = "OWNER";
/// Principals that the owner of the data folder acts as.
const OWNERS: [&str; 2] = ["cli:local", "hundi"];
/// How the principals begin under which the owner acts in an agent's place.
const OWNERS_AGENT: &str = "cli:";
/// How the principals of servers' keys begin.
const SERVER_KEY: &str = "server_key:";
/// How the principals of people begin, and the marks of people.
const PERSON: &str = "person:";
/// How far back makers of keys are followed.
const GENERATIONS: usize = 16;

impl Pay {
    /// The marks of the person behind a principal; at least one.
    pub(super) async fn marks_of(&self, who: &Principal) -> Result<Vec<String>, Trouble> {
        if let Some(person) = &who.person {
            return Ok(vec![mark(person)]);
        }
        self.marks_from(&who.org, who.id.clone()).await
    }

    /// The marks of whoever acts as this principal.
    async fn marks_from(&self, org: &OrgId, mut id: String) -> Result<Vec<String>, Trouble> {
        let mut marks = Vec::new();
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
            if let Some(person) = key.person_id() {
                marks.push(mark(person));
                break;
            }
            let named = key.person().map(folded);
            let passed_on = named.is_none() && slack.is_none() && key.roles().has(Role::Admin);
            marks.push(named.unwrap_or_else(|| folded(key.name())));
            marks.extend(slack);
            if !passed_on {
                break;
            }
            key.made_by().clone_into(&mut id);
        }
        Ok(marks)
    }

    /// Whether whoever has these marks is the one who runs what proposed: its person, or its own
    /// name where nobody is named. A person is found by their name as well, so that an approver's
    /// key without a person that is called as they are is taken for theirs.
    pub(super) async fn runs(
        &self,
        who: &Principal,
        fixed: &Fixed,
        marks: &[String],
    ) -> Result<bool, Trouble> {
        let proposer = fixed.proposer.as_str();
        let mut theirs = Vec::new();
        if let Some(id) = &fixed.proposer_person {
            theirs.extend(self.known_as(&who.org, id).await?);
        }
        // The owner of the data folder, in an agent's place.
        if proposer.starts_with(OWNERS_AGENT) {
            theirs.push(OWNER.to_owned());
        }
        if let Some(Ok(id)) = proposer.strip_prefix(PERSON).map(str::parse) {
            theirs.extend(self.known_as(&who.org, &id).await?);
        }
        if let Some(key) = self.stored_key(&who.org, proposer).await? {
            match key.person_id() {
                Some(id) => theirs.extend(self.known_as(&who.org, id).await?),
                None => theirs.push(folded(key.person().unwrap_or(key.name()))),
            }
        }
        let mine = self.all_marks(who, marks).await?;
        Ok(theirs.iter().any(|mark| mine.contains(mark)))
    }

    /// Whether whoever has these marks made the key that proposed, where that names nobody: who makes
    /// a key for nobody may hold it. Asked where the policy says that approvers differ from who
    /// proposed; elsewhere the one admin of a small house makes its agent's key and decides as well.
    pub(super) async fn made(
        &self,
        who: &Principal,
        fixed: &Fixed,
        marks: &[String],
    ) -> Result<bool, Trouble> {
        let (org, proposer) = (&who.org, fixed.proposer.as_str());
        let maker = match self.stored_key(org, proposer).await? {
            Some(key) if key.person_id().is_none() && key.person().is_none() => {
                Some(key.made_by().to_owned())
            }
            Some(_) => None,
            None => match proposer.strip_prefix(SERVER_KEY) {
                Some(id) => self.access.maker_of_server_key(org, id).await?,
                None => None,
            },
        };
        let Some(maker) = maker else {
            return Ok(false);
        };
        let theirs = self.marks_from(org, maker).await?;
        let mine = self.all_marks(who, marks).await?;
        Ok(theirs.iter().any(|mark| mine.contains(mark)))
    }

    /// These marks, and what the person of them is called.
    async fn all_marks(&self, who: &Principal, marks: &[String]) -> Result<Vec<String>, Trouble> {
        let mut mine = marks.to_vec();
        if let Some(id) = &who.person {
            mine.extend(self.known_as(&who.org, id).await?);
        }
        Ok(mine)
    }

    /// A person's mark, and their name.
    async fn known_as(&self, org: &OrgId, id: &PersonId) -> Result<Vec<String>, Trouble> {
        let person = self.document::<Person>(org, id).await?;
        let name = person.map(|person| folded(&person.value.name));
        Ok([Some(mark(id)), name].into_iter().flatten().collect())
    }

    pub(super) async fn stored_key(
        &self,
        org: &OrgId,
        id: &str,
    ) -> Result<Option<StoredKey>, Trouble> {
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

/// How people are marked. Who calls a key so makes one of two, and never two of one.
fn mark(person: &PersonId) -> String {
    format!("{PERSON}{person}")
}
