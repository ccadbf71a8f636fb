//! The mandate an operator gives an agent: limits, lists and an end.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::document::Document;
use super::ids::AgentId;
use super::money::Currency;
use super::principal::Role;
use super::requests::spent::LlmLimits;
use super::time::{Timestamp, rfc_3339};

/// Longest that a policy may let something be held, as the configuration may.
const MAX_HELD_SECS: u32 = 30 * 24 * 60 * 60;
/// Most people that a rule can name.
const MAX_PEOPLE: usize = 100;

/// Requests an agent may make in a sliding window.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RateLimit {
    /// Most requests in the window; 0 is off.
    pub max: u32,
    /// Length of the window in seconds.
    pub window_secs: u32,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            max: 10,
            window_secs: 60,
        }
    }
}

/// Whom a policy lets its agent pay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Payees {
    /// Anybody whom the other rules let through.
    #[default]
    Any,
    /// Only payees that operators registered.
    Registered,
}

/// What becomes of a payment that looks like one that was asked for a moment ago: an agent that
/// timed out asks again, and nothing else tells the two apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Duplicates {
    /// How long the same payee, amount and currency is the same payment, in seconds.
    pub window_secs: u32,
    /// What is done about it.
    pub then: Repeat,
}

impl Default for Duplicates {
    fn default() -> Self {
        Self {
            window_secs: 900,
            then: Repeat::Hold,
        }
    }
}

/// What is done about the same payment again.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Repeat {
    /// A person decides.
    #[default]
    Hold,
    /// It is remarked on.
    Report,
    /// Nobody looks.
    Off,
}

/// A sum from which a person has to agree, so that many small payments do not get under a
/// threshold that one large one would meet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SumLimit {
    /// What goes above this waits, in minor units of the policy's currency.
    pub amount: i64,
    /// Over how long a time payments are added up, in seconds.
    pub window_secs: u32,
    /// Whose payments are added up.
    pub per: Per,
}

/// Whose payments a sum is of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// All of this agent's.
    Agent,
    /// All to this payee, whichever agent of the organisation makes them.
    Payee,
}

/// What a person's decision on what is held has to fulfil. That nobody approves their own proposal,
/// and nobody twice, holds whatever it says.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApprovalRule {
    /// How many different people have to agree; 0 reads as 1.
    pub needed: u32,
    /// Only people with one of these roles, besides one that may decide; empty is any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<Role>,
    /// Only these people, by id; empty is any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub people: Vec<String>,
    /// From whom approvers differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distinct_from: Option<DistinctFrom>,
    /// Whether a decision is signed with a passkey.
    pub passkey: PasskeyUse,
    /// How long it is held, in seconds; at most, and without it, as long as the configuration says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_secs: Option<u32>,
}

impl ApprovalRule {
    /// Whether it is within bounds, of which `most` people are one. Whether there is anybody to
    /// fulfil it is for the broker to see.
    pub fn checked(&self, most: u32) -> Result<(), String> {
        if self.needed > most {
            return Err(format!("`approval.needed` is at most {most}"));
        }
        if self.people.len() > MAX_PEOPLE || self.roles.len() > Role::ALL.len() {
            return Err(format!("`approval.people` are at most {MAX_PEOPLE}"));
        }
        let fits = |secs| (1..=MAX_HELD_SECS).contains(&secs);
        match self.expires_secs.is_none_or(fits) {
            true => Ok(()),
            false => Err(format!("`approval.expires_secs` is 1 to {MAX_HELD_SECS}")),
        }
    }
}

/// From whom approvers differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DistinctFrom {
    /// From who proposed.
    Proposer,
    /// From one another as well, as people: keys of nobody do not count.
    EachOther,
}

/// Whether a decision is signed with a passkey.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PasskeyUse {
    /// Without one it does not count.
    Required,
    /// People are asked to.
    Preferred,
    /// It need not be.
    #[default]
    No,
}

/// What follows once an agent has read what somebody else wrote.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Taint {
    /// Sources and upstream servers whose tools bring such text.
    #[serde(default)]
    pub sources: Vec<String>,
    /// Tools that do, by name or by how names begin: `web_*`.
    #[serde(default)]
    pub tools: Vec<String>,
    /// What becomes of proposals after that.
    pub then: Then,
    /// For how long, in seconds.
    pub for_secs: u32,
    /// How far it reaches.
    #[serde(default)]
    pub by: TaintBy,
}

impl Taint {
    /// Whether what this tool tells, out of this source, counts.
    pub fn names(&self, tool: &str, source: Option<&str>) -> bool {
        let fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(start) => tool.starts_with(start),
            None => tool == pattern,
        };
        let listed = |source: &str| self.sources.iter().any(|named| named == source);
        self.tools.iter().any(fits) || source.is_some_and(listed)
    }
}

/// What becomes of a proposal that something speaks against.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Then {
    /// A person decides.
    Hold,
    /// It is refused.
    Block,
}

/// How far what an agent has read reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaintBy {
    /// To everything that the agent does.
    #[default]
    Agent,
    /// To the conversation that the client names, which a hostile agent can choose.
    Conversation,
}

/// An agent's policy as it is stored. `None` is one that was taken away: it stays as an empty
/// version, because a version number that was used twice would make old decisions unreadable.
impl Document for Option<Policy> {
    const KIND: &'static str = "policy";
    const CACHED: bool = true;
    type Id = AgentId;
}

/// What is kept of one version of a policy, because proposals name the one that decided.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PastPolicy {
    /// What it said; `None` if it was taken away.
    pub policy: Option<Policy>,
    /// Who wrote it.
    pub by: String,
    /// When.
    #[serde(with = "rfc_3339")]
    pub at: Timestamp,
}

impl Document for PastPolicy {
    const KIND: &'static str = "policy_version";
    const CACHED: bool = true;
    type Id = VersionOf;
}

/// Names one version of an agent's policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VersionOf {
    /// Whose policy.
    pub agent: AgentId,
    /// Which version, from 1.
    pub version: u64,
}

impl fmt::Display for VersionOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.agent, self.version)
    }
}

/// What one agent may do. All amounts in minor units of `currency`; every limit compares with a
/// strict `>`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Most that may be reserved and posted for one day; `None` is no limit.
    pub daily_limit: Option<i64>,
    /// Most for one transaction; `None` is no limit.
    pub per_txn_limit: Option<i64>,
    /// Amounts above this wait for people; `None` is never.
    pub require_approval_above: Option<i64>,
    /// How many different people have to agree; 0 reads as 1.
    pub approvals_needed: u32,
    /// Only these vendor hosts; empty is any.
    pub allowed_domains: Vec<String>,
    /// Never these vendor domains, nor their subdomains; `*` is every domain.
    pub blocked_domains: Vec<String>,
    /// The high-risk tools that the agent may use: exactly these, whether they move money or not.
    /// `*` at the end of a name stands for what follows, `*` alone is every tool. `None` is every
    /// tool that moves money and no other.
    pub allowed_tools: Option<Vec<String>>,
    /// Requests per window.
    pub rate_limit: RateLimit,
    /// The same payment again.
    pub duplicates: Duplicates,
    /// Sums above which people have to agree.
    pub approval_above: Vec<SumLimit>,
    /// What a decision of people has to fulfil; `None` is what `approvals_needed` says, of anybody
    /// who may decide.
    pub approval: Option<ApprovalRule>,
    /// Whose text taints what the agent proposes after reading it; `None` is nobody's.
    pub taint: Option<Taint>,
    /// Hold payees that GLEIF does not know as active legal entities.
    pub require_verified_entity: bool,
    /// In force from, inclusive. RFC 3339 or epoch seconds.
    #[serde(with = "instant")]
    pub valid_from: Option<Timestamp>,
    /// In force until, exclusive. RFC 3339 or epoch seconds.
    #[serde(with = "instant")]
    pub valid_until: Option<Timestamp>,
    /// Whom the agent may pay.
    pub payees: Payees,
    /// The currency of every amount here; `None` is INR.
    pub currency: Option<Currency>,
    /// Commit a held proposal by the broker itself once people agreed, for agents that have
    /// gone home.
    pub execute_on_approval: bool,
    /// What the agent may spend on models; `None` is no limit.
    pub llm: Option<LlmLimits>,
}

impl Policy {
    /// Whether the policy is in force at this instant.
    pub fn in_force(&self, now: Timestamp) -> bool {
        self.valid_from.is_none_or(|from| from <= now)
            && self.valid_until.is_none_or(|until| now < until)
    }

    /// Whether the agent may use a high-risk tool of this name.
    pub fn may_use(&self, tool: &str, moves_money: bool) -> bool {
        let Some(listed) = &self.allowed_tools else {
            return moves_money;
        };
        listed.iter().any(|entry| match entry.strip_suffix('*') {
            Some(start) => tool.starts_with(start),
            None => tool == entry,
        })
    }

    /// How many different people have to agree to what is held.
    pub fn people_needed(&self) -> u32 {
        let ruled = self.approval.as_ref().map_or(0, |rule| rule.needed);
        self.approvals_needed.max(ruled).max(1)
    }

    /// The currency its limits are in.
    pub fn currency(&self) -> Currency {
        self.currency.unwrap_or(Currency::INR)
    }
}

/// An instant as operators write it, in the stored form as well: a policy has one spelling.
mod instant {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use super::Timestamp;

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Spelling {
        Text(String),
        Secs(i64),
    }

    pub fn serialize<S: Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => to.serialize_str(&at.to_string()),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
        /// 31 December 9999: beyond it somebody wrote milliseconds.
        const LAST_SECOND: i64 = 253_402_207_200;
        let wrong = || de::Error::custom("an instant is RFC 3339 text or epoch seconds");
        match Option::<Spelling>::deserialize(from).map_err(|_| wrong())? {
            None => Ok(None),
            Some(Spelling::Text(text)) => Timestamp::parse(&text).map(Some).ok_or_else(wrong),
            Some(Spelling::Secs(secs)) if (0..=LAST_SECOND).contains(&secs) => {
                Ok(Some(Timestamp::from_secs(secs)))
            }
            Some(Spelling::Secs(_)) => Err(wrong()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_policy_reads_back_as_it_was_written() {
        let policy = Policy {
            daily_limit: Some(5),
            valid_until: Some(Timestamp::from_secs(1_000)),
            currency: Currency::parse("USD"),
            ..Policy::default()
        };
        let stored = serde_json::to_value(&policy).unwrap();
        assert_eq!(stored["valid_until"], "1970-01-01T00:16:40Z");
        assert_eq!(serde_json::from_value::<Policy>(stored).unwrap(), policy);
    }

    #[test]
    #[rustfmt::skip]
    fn a_list_of_tools_is_a_white_list() {
        //   listed                        tool              moves money  allowed
        let cases: &[(Option<&[&str]>, &str, bool, bool)] = &[
            (None,                         "transfer_funds", true,        true),
            (None,                         "delete_records", false,       false),
            (Some(&[]),                    "transfer_funds", true,        false),
            (Some(&["noop"]),              "transfer_funds", true,        false),
            (Some(&["noop"]),              "noop",           true,        true),
            (Some(&["delete_records"]),    "delete_records", false,       true),
            (Some(&["transfer_fund"]),     "transfer_funds", true,        false),
            (Some(&["transfer_funds_"]),   "transfer_funds", true,        false),
            (Some(&["transfer_*"]),        "transfer_funds", true,        true),
            (Some(&["transfer_*"]),        "transfer",       true,        false),
            (Some(&["*"]),                 "delete_records", false,       true),
            (Some(&["Transfer_funds"]),    "transfer_funds", true,        false),
        ];
        for (listed, tool, moves_money, allowed) in cases {
            let allowed_tools = listed.map(|names| names.iter().map(ToString::to_string).collect());
            let policy = Policy { allowed_tools, ..Policy::default() };
            assert_eq!(policy.may_use(tool, *moves_money), *allowed, "{listed:?} {tool}");
        }
    }

    #[test]
    fn what_is_misspelt_is_refused() {
        let read = |value| serde_json::from_value::<Policy>(value);
        let until = |value| read(json!({"valid_until": value})).map(|p| p.valid_until);
        assert_eq!(
            until(json!(1_000)).unwrap(),
            Some(Timestamp::from_secs(1_000))
        );
        assert_eq!(until(json!(null)).unwrap(), None);
        for bad in [
            json!("tomorrow"),
            json!(1_000_000_000_000_000_i64),
            json!(-1),
            json!(1.5),
        ] {
            assert!(until(bad.clone()).is_err(), "{bad}");
        }
        for bad in [
            json!({"dayly_limit": 1}),
            json!({"daily_limit": 1.5}),
            json!({"daily_limit": "1"}),
            json!({"currency": "inr"}),
            json!({"rate_limit": {"max": -1}}),
            json!({"duplicates": {"then": "allow"}}),
            json!({"approval_above": [{"amount": 1, "window_secs": 60}]}),
            json!({"approval_above": [{"amount": 1, "window_secs": 60, "per": "tool"}]}),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }
}
