//! Who is paid, as operators know it.
//!
//! What the arguments say about a payee is the agent's word. A registered payee is the operators':
//! its name, its site, its legal entity and every account it is paid at. For an account that is
//! registered, this record is believed and the caller's words are only compared with it.
//!
//! A payee's id comes of its name, so that one name is one payee in an organisation without
//! anybody having to look first, and one that was removed and registered again keeps its past.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use unicode_normalization::UnicodeNormalization;

use super::document::Document;
use super::ids::{MalformedId, hex, unhex};
use super::legal_name::normalised;
use super::visible::steers;

/// Bytes of a digest that name a payee: within one organisation they never meet by chance.
const ID_BYTES: usize = 8;
/// How every payee's id begins.
const PREFIX: &str = "py_";

/// Names one registered payee: `py_` and sixteen hex digits.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PayeeId(String);

impl PayeeId {
    /// The id of whoever bears this name, however it and its legal form are spelt.
    pub fn of_name(name: &str) -> Self {
        let mut words = normalised(name);
        if words.is_empty() {
            // Nothing but signs: these are the name then.
            words = name.split_whitespace().collect::<Vec<_>>().join(" ");
        }
        let digest = Sha256::digest(words.as_bytes());
        Self(format!("{PREFIX}{}", hex(&digest[..ID_BYTES])))
    }

    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PayeeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for PayeeId {
    type Err = MalformedId;

    fn from_str(text: &str) -> Result<Self, MalformedId> {
        let digits = text.strip_prefix(PREFIX).ok_or(MalformedId)?;
        let well_formed = unhex::<ID_BYTES>(digits).is_some();
        well_formed
            .then(|| Self(text.to_owned()))
            .ok_or(MalformedId)
    }
}

impl TryFrom<String> for PayeeId {
    type Error = MalformedId;

    fn try_from(text: String) -> Result<Self, MalformedId> {
        text.parse()
    }
}

impl From<PayeeId> for String {
    fn from(id: PayeeId) -> String {
        id.0
    }
}

/// One spelling of an account, or of another id of somebody who is paid, for what stops or counts:
/// freezes, duplicates, sums, histories. Case, blanks and what is not seen make no other account,
/// because whoever pays it may well read past them. What is sent keeps its own spelling, and a
/// register of payees is asked for that one.
pub fn folded(account: &str) -> String {
    let seen = |c: &char| !steers(*c) && !c.is_whitespace() && *c != '\u{ad}';
    let lower = account.nfkc().filter(seen).flat_map(char::to_lowercase);
    lower.collect()
}

/// A payee that operators registered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RegisteredPayee {
    /// Comes of the name.
    pub id: PayeeId,
    /// As people read it.
    pub name: String,
    /// Its site, if it has one.
    pub vendor_url: Option<String>,
    /// Its legal entity identifier, if it is known: twenty upper-case letters and digits.
    pub lei: Option<String>,
    /// Every account it is paid at. An account belongs to one payee.
    pub fund_accounts: Vec<String>,
    /// The operators' own words about it.
    #[serde(default)]
    pub labels: Vec<String>,
}

impl Document for RegisteredPayee {
    const KIND: &'static str = "payee";
    const CACHED: bool = true;
    type Id = PayeeId;
}

/// Whose an account is: a copy of its payee, so that paying it takes one look. Named by the
/// account; the database sees to it that there is one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AccountOf(pub RegisteredPayee);

impl Document for AccountOf {
    const KIND: &'static str = "payee_account";
    const CACHED: bool = true;
    type Id = str;
}

/// The payees that are registered with one site. Named by the registrable host.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SiteOf(pub Vec<PayeeId>);

impl Document for SiteOf {
    const KIND: &'static str = "payee_site";
    const CACHED: bool = true;
    type Id = str;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_in_another_spelling_is_the_same_account() {
        for other in [
            "acct_Evil",
            " ACCT_EVIL ",
            "acct\u{200b}_evil",
            "ａcct_evil",
            "ac ct_evil",
        ] {
            assert_eq!(folded(other), "acct_evil", "{other:?}");
        }
        assert_ne!(folded("acct-evil"), folded("acct_evil"));
    }

    #[test]
    fn one_name_is_one_payee() {
        let acme = PayeeId::of_name("Acme Ltd");
        assert_eq!(PayeeId::of_name("  ACME\tltd "), acme);
        assert_eq!(PayeeId::of_name("Acme Ltd."), acme);
        assert_eq!(PayeeId::of_name("ACME LIMITED"), acme);
        assert_ne!(PayeeId::of_name("Acme Inc"), acme);
        assert_ne!(PayeeId::of_name("Acme"), acme);
        assert_ne!(PayeeId::of_name("???"), PayeeId::of_name("!!!"));
        assert_eq!(acme.as_str().parse(), Ok(acme.clone()));
        for bad in [
            "py_",
            "py_12",
            "acct_0123456789abcdef",
            "py_0123456789ABCDEF",
        ] {
            assert_eq!(bad.parse::<PayeeId>(), Err(MalformedId), "{bad}");
        }
    }
}
