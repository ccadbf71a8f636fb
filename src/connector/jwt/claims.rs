//! What a verified token has to say, and whom it makes its bearer.
//!
//! Issuer, audience and times always; and every claim that the configuration names, because a token
//! without one would be somebody whom the configuration did not mean. Roles that are not ours belong
//! to others and are passed over; a token with none of ours opens nothing.

use serde_json::{Map, Value};

use super::Wrong;
use crate::domain::ids::{AgentId, OrgId};
use crate::domain::person::PersonId;
use crate::domain::principal::{Principal, Role};
use crate::domain::roles::Roles;
use crate::domain::visible::plain;

/// How far two clocks may be apart.
pub const SKEW_SECS: i64 = 60;
/// Longest subject, in characters: it stands in records.
const MAX_SUBJECT: usize = 200;
/// The claim that names a person where no other is configured.
const EMAIL: &str = "email";
/// Longest way to a claim inside others.
const MAX_STEPS: usize = 8;

/// What is configured.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Expected {
    /// Whose tokens are taken, exactly as they say it.
    pub issuer: String,
    /// Whom they have to be for: us.
    pub audience: String,
    /// The claim that names the organisation; the default one if none is configured.
    pub org_claim: Option<String>,
    /// The claim that lists the roles; without one the bearer is an agent and no more.
    pub roles_claim: Option<String>,
    /// The claim that names the agent; the subject if none is configured.
    pub agent_claim: Option<String>,
    /// The claim that names the person; `email` if none is configured.
    pub person_claim: Option<String>,
}

/// Whom a token makes its bearer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bearer {
    /// The issuer's name for them.
    pub subject: String,
    /// Their organisation, if there is such a one.
    pub org: OrgId,
    /// What they may do.
    pub roles: Roles,
    /// The agent they act as.
    pub agent: Option<AgentId>,
    /// What names the person that they are, if one of ours is called so.
    pub person: Option<String>,
}

impl Bearer {
    /// The bearer as everybody else knows them, who is this person.
    pub fn principal(self, person: Option<PersonId>) -> Principal {
        Principal {
            id: format!("jwt:{}", self.subject),
            name: self.subject,
            org: self.org,
            roles: self.roles,
            agent: self.agent,
            person,
            server: None,
        }
    }
}

impl Expected {
    /// Whom these claims make their bearer at `now`, in seconds.
    pub fn bearer(&self, claims: &Map<String, Value>, now: i64) -> Result<Bearer, Wrong> {
        self.for_us(claims)?;
        in_time(claims, now)?;
        let subject = text(claims, "sub")?;
        if subject.chars().count() > MAX_SUBJECT || plain(subject) != subject {
            return Err(wrong("sub", "is no name that can stand in a record"));
        }
        let org = match &self.org_claim {
            Some(claim) => text(claims, claim)?
                .parse()
                .map_err(|_| wrong(claim, "is no organisation's id"))?,
            None => OrgId::default(),
        };
        let roles = match &self.roles_claim {
            Some(claim) => roles(claims, claim)?,
            None => Role::Agent.into(),
        };
        let named = match &self.agent_claim {
            Some(claim) => (claim.as_str(), text(claims, claim)?),
            None => ("sub", subject),
        };
        let agent = match roles.has(Role::Agent) {
            true => {
                let agent = named.1.parse();
                let agent: AgentId = agent.map_err(|_| wrong(named.0, "is no agent's id"))?;
                // Our own name in records.
                if agent.as_str().eq_ignore_ascii_case("hundi") {
                    return Err(wrong(named.0, "is no agent's id"));
                }
                Some(agent)
            }
            false => None,
        };
        Ok(Bearer {
            subject: subject.to_owned(),
            org,
            roles,
            agent,
            person: self.person(claims).map(str::to_owned),
        })
    }

    /// What names the person. An address that the issuer itself does not vouch for names nobody.
    fn person<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a str> {
        let claim = self.person_claim.as_deref().unwrap_or(EMAIL);
        let doubted = claim == EMAIL
            && at(claims, "email_verified").is_some_and(|word| match word {
                Value::Bool(vouched) => !vouched,
                Value::String(word) => word != "true",
                Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => true,
            });
        at(claims, claim)?
            .as_str()
            .filter(|name| !doubted && !name.is_empty())
    }

    fn for_us(&self, claims: &Map<String, Value>) -> Result<(), Wrong> {
        if text(claims, "iss")? != self.issuer {
            return Err(wrong("iss", "is another issuer"));
        }
        let is_us = match claims.get("aud") {
            Some(Value::String(one)) => *one == self.audience,
            Some(Value::Array(all)) => all.iter().any(|one| *one == self.audience.as_str()),
            Some(_) => false,
            None => return Err(wrong("aud", "is missing")),
        };
        match is_us {
            true => Ok(()),
            false => Err(wrong("aud", "does not name us")),
        }
    }
}

/// Expired means that its end is not later than now, with what clocks may be apart.
fn in_time(claims: &Map<String, Value>, now: i64) -> Result<(), Wrong> {
    let ends = seconds(claims, "exp")?.ok_or_else(|| wrong("exp", "is missing"))?;
    if ends.saturating_add(SKEW_SECS) <= now {
        return Err(wrong("exp", "is past"));
    }
    for begin in ["nbf", "iat"] {
        let begins = seconds(claims, begin)?;
        if begins.is_some_and(|begins| begins > now.saturating_add(SKEW_SECS)) {
            return Err(wrong(begin, "is yet to come"));
        }
    }
    Ok(())
}

fn seconds(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, Wrong> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let whole = value.as_i64();
    // A fraction of a second is allowed and means nothing here.
    let whole = whole.or_else(|| value.as_f64().map(|seconds| seconds as i64));
    whole.map(Some).ok_or_else(|| wrong(name, "is no time"))
}

fn roles(claims: &Map<String, Value>, claim: &str) -> Result<Roles, Wrong> {
    let known: Roles = match at(claims, claim) {
        Some(Value::String(words)) => words.split(' ').filter_map(Role::parse).collect(),
        Some(Value::Array(all)) => {
            let words = all.iter().filter_map(Value::as_str);
            words.filter_map(Role::parse).collect()
        }
        Some(_) => return Err(wrong(claim, "is no list of roles")),
        None => return Err(wrong(claim, "is missing")),
    };
    match known.agree() {
        Ok(()) => Ok(known),
        Err(_) if known.is_empty() => Err(wrong(claim, "has none of our roles")),
        Err(_) => Err(wrong(claim, "has roles that no one may have together")),
    }
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Result<&'a str, Wrong> {
    match at(claims, name) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(_) => Err(wrong(name, "is no text")),
        None => Err(wrong(name, "is missing")),
    }
}

/// A claim by its whole name, or else by the way to it: `realm_access.roles`.
fn at<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let mut steps = name.split('.').take(MAX_STEPS);
    let first = claims.get(steps.next()?)?;
    steps.try_fold(first, |value, step| value.get(step))
}

fn wrong(claim: &str, what: &'static str) -> Wrong {
    Wrong::Claim(claim.to_owned(), what)
}
