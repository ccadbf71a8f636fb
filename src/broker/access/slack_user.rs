//! Whom a Slack user is: one key or one person at most, over all organisations, because a click in
//! Slack does not say which one it means.

use serde::{Deserialize, Serialize};

use crate::domain::change::DocWrite;
use crate::domain::document::Document;
use crate::domain::ids::OrgId;
use crate::domain::person::PersonId;

/// Held by whoever the user is. Named by the user; belongs to the default organisation.
#[derive(Serialize, Deserialize)]
pub(super) struct SlackUser {
    /// Where that is.
    org: OrgId,
    /// The key's public half, if it is a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// The person, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    person: Option<PersonId>,
}

impl Document for SlackUser {
    const KIND: &'static str = "slack_user";
    const CACHED: bool = true;
    type Id = str;
}

impl SlackUser {
    /// What whoever takes a user that is another's is told.
    pub(super) const TAKEN: &'static str =
        "this Slack user is mapped to another key or person; take it from there first";

    /// A key's.
    pub(super) fn key(org: &OrgId, id: &str) -> Self {
        Self {
            org: org.clone(),
            key: Some(id.to_owned()),
            person: None,
        }
    }

    /// A person's.
    pub(super) fn person(org: &OrgId, id: &PersonId) -> Self {
        Self {
            org: org.clone(),
            key: None,
            person: Some(id.clone()),
        }
    }

    /// The old user let go and the new one taken, if it is another.
    pub(super) fn moved(
        &self,
        before: Option<&str>,
        after: Option<&str>,
    ) -> impl Iterator<Item = DocWrite> {
        let other = before != after;
        let home = OrgId::default();
        let gone = before
            .filter(|_| other)
            .map(|user| Self::delete(&home, user, None));
        let taken = after
            .filter(|_| other)
            .map(|user| self.write(&home, user, Some(0)));
        gone.into_iter().chain(taken)
    }
}
