//! People: who signs in, who decides, and whose programs hold keys.
//!
//! A person has an id that nobody else ever gets, so whoever was removed and is made again is
//! somebody new: no key, session or approval of the former comes back. Names are unique among the
//! people of an organisation, after folding what readers do not tell apart ([`folded`]); a document
//! of its own holds each name, so that of two who take it at once one fails.
//!
//! How people prove who they are is not here: keys are `broker/access/keys`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;

use super::document::Document;
use super::ids::{MalformedId, OrgId, hex, unhex};
use super::principal::{Principal, Role};
use super::roles::Roles;
use super::time::Timestamp;

/// Random bytes of an id.
const ID_BYTES: usize = 8;
/// How every person's id begins.
const PREFIX: &str = "pn_";

/// Names one person: `pn_` and sixteen hex digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PersonId(String);

impl PersonId {
    /// An id of these random bytes.
    pub fn of(random: [u8; ID_BYTES]) -> Self {
        Self(format!("{PREFIX}{}", hex(&random)))
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PersonId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PersonId {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        let digits = text.strip_prefix(PREFIX).ok_or(MalformedId)?;
        let id = unhex::<ID_BYTES>(digits).map(Self::of);
        // Upper-case digits would be a second spelling.
        id.filter(|id| id.0 == text).ok_or(MalformedId)
    }
}

impl TryFrom<String> for PersonId {
    type Error = MalformedId;

    fn try_from(text: String) -> Result<Self, MalformedId> {
        text.parse()
    }
}

impl From<PersonId> for String {
    fn from(id: PersonId) -> String {
        id.0
    }
}

/// A person, as the store has them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Person {
    /// As people read it.
    pub name: String,
    /// Where they are written to, if it is known.
    pub email: Option<String>,
    /// What they may do. Never `agent`: a person runs agents and is none.
    pub roles: Roles,
    /// The Slack user they are.
    pub slack_user: Option<String>,
    /// When they were made.
    pub created_at: Timestamp,
    /// By which principal.
    pub created_by: String,
    /// When they were last changed.
    pub changed_at: Timestamp,
    /// By which principal.
    pub changed_by: String,
}

impl Document for Person {
    const KIND: &'static str = "person";
    const CACHED: bool = true;
    type Id = PersonId;
}

impl Person {
    /// Who they are at a door where they proved it.
    pub fn principal(&self, org: &OrgId, id: &PersonId) -> Principal {
        Principal {
            id: format!("person:{id}"),
            name: self.name.clone(),
            org: org.clone(),
            roles: self.roles,
            agent: None,
            person: Some(id.clone()),
            server: None,
        }
    }

    /// Whether one person may have these roles.
    pub fn may_have(roles: Roles) -> Result<(), &'static str> {
        roles.agree()?;
        match roles.has(Role::Agent) {
            true => Err("a person is no agent: give the agent a key that names who runs it"),
            false => Ok(()),
        }
    }
}

/// Holds a name for the person who bears it. Named by the name in the one spelling that names are
/// compared in.
#[derive(Serialize, Deserialize)]
pub struct PersonName {
    /// Whose it is.
    pub person: PersonId,
}

impl Document for PersonName {
    const KIND: &'static str = "person_name";
    const CACHED: bool = true;
    type Id = str;
}

/// A name in the one spelling that names are compared in: readers tell apart neither case, nor
/// width, nor how many spaces there are.
pub fn folded(name: &str) -> String {
    let folded: String = name.nfkc().flat_map(char::to_lowercase).collect();
    folded.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_name_has_one_spelling() {
        for spelling in [
            "Asha Rao",
            " asha  rao",
            "ASHA RAO",
            "Ａｓｈａ Rao",
            "asha\u{a0}rao",
        ] {
            assert_eq!(folded(spelling), "asha rao", "{spelling:?}");
        }
        assert_ne!(folded("Asha Rao"), folded("Asha R"));
    }

    #[test]
    fn an_id_has_one_spelling() {
        let id = PersonId::of([0xab; 8]);
        assert_eq!(id.as_str(), "pn_abababababababab");
        assert_eq!(id.as_str().parse(), Ok(id));
        for bad in [
            "",
            "pn_",
            "pn_ABABABABABABABAB",
            "pn_abababababababa",
            "py_abababababababab",
        ] {
            assert!(bad.parse::<PersonId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_person_is_no_agent() {
        assert!(Person::may_have(Roles::from_iter([Role::Approver, Role::Admin])).is_ok());
        for roles in [Roles::default(), Role::Agent.into(), Roles::all()] {
            assert!(Person::may_have(roles).is_err(), "{roles}");
        }
    }
}
