//! Whom a Slack user is: one key or one person at most in an organisation. That another organisation
//! has mapped the same user is nobody's business: a button says whose hold it decides on.

use serde::{Deserialize, Serialize};

use crate::domain::change::DocWrite;
use crate::domain::document::Document;
use crate::domain::ids::OrgId;
use crate::domain::person::PersonId;

/// Held by whoever the user is. Named by the user.
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
        org: &OrgId,
        before: Option<&str>,
        after: Option<&str>,
    ) -> impl Iterator<Item = DocWrite> {
        let other = before != after;
        let gone = before
            .filter(|_| other)
            .map(|user| Self::delete(org, user, None));
        let taken = after
            .filter(|_| other)
            .map(|user| self.write(org, user, Some(0)));
        gone.into_iter().chain(taken)
    }
}
