//! The mark of a store: which bank it belongs to, and with which keys it was written.
//!
//! A store that was filled against one bank must never be carried on against another: what is in
//! doubt there would be paid here, and policies made for play would approve real money. And a store
//! that was written with one set of keys must not be carried on with another, or its log is never
//! sealed again and half of its nodes refuse the tokens of the others. So a store is marked at its
//! first start, and every later start is compared with the mark.
//!
//! Everything here is pure: what a start brings, what the mark says, and whether they agree.

use serde::{Deserialize, Serialize};

use super::document::{Document, Single};

/// Digits of an account number that are shown.
const SHOWN_DIGITS: usize = 4;
/// Names of keys that a mark remembers; each is one rotation.
const REMEMBERED: usize = 100;

/// Whose money a commit moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The built-in sandbox bank: nobody's.
    Sandbox,
    /// A bank with a key for tests (`rzp_test_`): nobody's.
    Test,
    /// A bank with any other key: real money.
    Live,
}

impl Mode {
    /// The mode of a key at the bank; whatever is not marked as a key for tests is live.
    pub fn of_key(id: &str) -> Self {
        match id.starts_with("rzp_test_") {
            true => Mode::Test,
            false => Mode::Live,
        }
    }

    /// Its one spelling.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Sandbox => "sandbox",
            Mode::Test => "test",
            Mode::Live => "live",
        }
    }
}

/// The account that a store's payouts leave from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bank {
    /// Whose money.
    pub mode: Mode,
    /// The account number, as the bank spells it.
    pub account: String,
    /// Where the bank answers, in one spelling; `built-in` for the sandbox, whose port may change.
    pub api_base: String,
}

impl Bank {
    /// In which way another one is not this one; `None` where they are the same.
    pub fn differs_from(&self, other: &Bank) -> Option<&'static str> {
        if self.mode != other.mode {
            Some("mode")
        } else if self.account != other.account {
            Some("account")
        } else if self.api_base != other.api_base {
            Some("API base")
        } else {
            None
        }
    }
}

impl std::fmt::Display for Bank {
    /// For people; of the account only the last digits.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits: Vec<char> = self.account.chars().collect();
        let from = digits.len().saturating_sub(SHOWN_DIGITS);
        let end: String = digits[from..].iter().collect();
        match self.mode {
            Mode::Sandbox => write!(f, "the sandbox (account ...{end})"),
            Mode::Test => write!(f, "test keys (account ...{end} at {})", self.api_base),
            Mode::Live => write!(f, "live money (account ...{end} at {})", self.api_base),
        }
    }
}

/// The names of a key that may be rotated.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Names {
    /// The one in use.
    pub now: String,
    /// Those before it, oldest first.
    pub before: Vec<String>,
}

impl Names {
    fn of(now: &str) -> Self {
        Self {
            now: now.to_owned(),
            before: Vec::new(),
        }
    }

    /// Whether this key is, or was, the store's.
    pub fn knows(&self, name: &str) -> bool {
        self.now == name || self.before.iter().any(|before| before == name)
    }

    /// What the names are after a start that brings the keys `held` and uses `used`. Refused if the
    /// key in use is not among them. A key that was in use before is not news: in a rolling
    /// rotation some nodes still use it.
    fn after(&self, held: &[String], used: &str) -> Option<Self> {
        if !held.contains(&self.now) {
            return None;
        }
        if used.is_empty() || self.now == used || self.before.iter().any(|name| name == used) {
            return Some(self.clone());
        }
        let mut before = self.before.clone();
        before.push(self.now.clone());
        let surplus = before.len().saturating_sub(REMEMBERED);
        before.drain(..surplus);
        Some(Self {
            now: used.to_owned(),
            before,
        })
    }
}

/// The keys that a process holds, by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Held {
    /// Token keys, the spent ones too.
    pub tokens: Vec<String>,
    /// The one of them that seals.
    pub sealing: String,
    /// The key of the audit log.
    pub audit: String,
    /// Master keys, the newest first.
    pub masters: Vec<String>,
}

impl Held {
    fn master(&self) -> &str {
        self.masters.first().map_or("", String::as_str)
    }
}

/// The keys that a store was written with, by name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Keys {
    /// Sign commit tokens.
    pub token: Names,
    /// Signs the heads of the audit log. There is one for ever.
    pub audit: String,
    /// Guard what the store keeps secret.
    pub master: Names,
}

/// One of the three kinds of keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyKind {
    /// Signs commit tokens.
    Token,
    /// Signs the heads of the audit log.
    Audit,
    /// Guards what the store keeps secret.
    Master,
}

impl KeyKind {
    /// In the order in which they are told.
    pub const ALL: [KeyKind; 3] = [KeyKind::Token, KeyKind::Audit, KeyKind::Master];

    /// For people: `token key`.
    pub fn name(self) -> &'static str {
        match self {
            KeyKind::Token => "token key",
            KeyKind::Audit => "audit key",
            KeyKind::Master => "master key",
        }
    }

    /// The variable that gives it.
    pub fn variable(self) -> &'static str {
        match self {
            KeyKind::Token => "HUNDI_TOKEN_KEY",
            KeyKind::Audit => "HUNDI_AUDIT_KEY",
            KeyKind::Master => "HUNDI_MASTER_KEY",
        }
    }
}

/// A key that is not the store's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Foreign {
    /// Which.
    pub kind: KeyKind,
    /// The name that the store has.
    pub wanted: String,
    /// The name that the process has.
    pub found: String,
}

impl std::fmt::Display for Foreign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, wanted, found) = (self.kind.name(), &self.wanted, &self.found);
        write!(
            f,
            "the {name} of the store is {wanted}, and {found} is here"
        )
    }
}

impl Keys {
    /// The keys of a store that begins with these.
    pub fn of(held: &Held) -> Self {
        Self {
            token: Names::of(&held.sealing),
            audit: held.audit.clone(),
            master: Names::of(held.master()),
        }
    }

    /// What the mark says after a start with these keys, or which of them are not the store's.
    pub fn after(&self, held: &Held) -> Result<Self, Vec<Foreign>> {
        let token = self.token.after(&held.tokens, &held.sealing);
        let master = self.master.after(&held.masters, held.master());
        let audit = (self.audit == held.audit).then(|| self.audit.clone());
        match (token, audit, master) {
            (Some(token), Some(audit), Some(master)) => Ok(Self {
                token,
                audit,
                master,
            }),
            (token, audit, master) => Err(KeyKind::ALL
                .into_iter()
                .filter_map(|kind| {
                    let (fits, wanted, found) = match kind {
                        KeyKind::Token => (token.is_some(), &self.token.now, &*held.sealing),
                        KeyKind::Audit => (audit.is_some(), &self.audit, &*held.audit),
                        KeyKind::Master => (master.is_some(), &self.master.now, held.master()),
                    };
                    let (wanted, found) = (wanted.clone(), found.to_owned());
                    (!fits).then_some(Foreign {
                        kind,
                        wanted,
                        found,
                    })
                })
                .collect()),
        }
    }
}

/// What a store says about itself. It belongs to the default organisation.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Mark {
    /// Whose money.
    pub bank: Bank,
    /// Written with these.
    pub keys: Keys,
}

impl Document for Mark {
    const KIND: &'static str = "meta";
    const CACHED: bool = true;
    type Id = str;
}

impl Single for Mark {
    const ID: &'static str = "mark";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(now: &str, before: &[&str]) -> Names {
        Names {
            now: now.to_owned(),
            before: before.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    #[rustfmt::skip]
    fn a_rolling_rotation_is_followed_and_a_stranger_is_not() {
        // What the mark says, what a start holds (the first is in use), what the mark says then.
        let cases = [
            (names("a", &[]),         &["a"][..],      Some(names("a", &[]))),
            // First every node knows the new key, then every node uses it, then the old one goes.
            (names("a", &[]),         &["a", "b"],     Some(names("a", &[]))),
            (names("a", &[]),         &["b", "a"],     Some(names("b", &["a"]))),
            (names("b", &["a"]),      &["a", "b"],     Some(names("b", &["a"]))),
            (names("b", &["a"]),      &["b"],          Some(names("b", &["a"]))),
            // A node that was left out, a node of somebody else, a node without any.
            (names("b", &["a"]),      &["a"],          None),
            (names("b", &["a"]),      &["x"],          None),
            (names("b", &["a"]),      &[],             None),
        ];
        for (mark, held, expected) in cases {
            let used = held.first().copied().unwrap_or("");
            let all: Vec<String> = held.iter().map(ToString::to_string).collect();
            assert_eq!(mark.after(&all, used), expected, "{mark:?} with {held:?}");
        }
    }

    #[test]
    fn what_is_remembered_of_rotations_ends_somewhere() {
        let mut mark = names("k0", &[]);
        for turn in 1..300 {
            let used = format!("k{turn}");
            mark = mark
                .after(&[used.clone(), mark.now.clone()], &used)
                .unwrap();
        }
        assert_eq!((mark.now.as_str(), mark.before.len()), ("k299", REMEMBERED));
    }

    #[test]
    fn every_key_that_is_not_the_stores_is_named() {
        let held = |token: &str, audit: &str, master: &str| Held {
            tokens: vec![token.to_owned()],
            sealing: token.to_owned(),
            audit: audit.to_owned(),
            masters: vec![master.to_owned()],
        };
        let keys = Keys::of(&held("t", "a", "m"));
        assert_eq!(keys.after(&held("t", "a", "m")), Ok(keys.clone()));
        for (token, audit, master, foreign) in [
            ("x", "a", "m", vec![KeyKind::Token]),
            ("t", "x", "m", vec![KeyKind::Audit]),
            ("t", "a", "x", vec![KeyKind::Master]),
            ("x", "x", "x", KeyKind::ALL.to_vec()),
        ] {
            let told = keys.after(&held(token, audit, master)).unwrap_err();
            let kinds: Vec<KeyKind> = told.iter().map(|foreign| foreign.kind).collect();
            assert_eq!(kinds, foreign);
            assert!(told.iter().all(|foreign| foreign.found == "x"));
        }
    }

    #[test]
    fn a_bank_is_another_by_mode_account_or_address() {
        let bank = |mode, account: &str, api_base: &str| Bank {
            mode,
            account: account.to_owned(),
            api_base: api_base.to_owned(),
        };
        let ours = bank(Mode::Live, "2323230041626905", "https://api.razorpay.com");
        assert_eq!(ours.differs_from(&ours), None);
        for (other, way) in [
            (bank(Mode::Test, &ours.account, &ours.api_base), "mode"),
            (bank(Mode::Sandbox, &ours.account, "built-in"), "mode"),
            (bank(Mode::Live, "4141", &ours.api_base), "account"),
            (bank(Mode::Live, &ours.account, "https://x"), "API base"),
        ] {
            assert_eq!(ours.differs_from(&other), Some(way));
        }
        assert!(ours.to_string().contains("...6905") && !ours.to_string().contains("26905"));
    }

    #[test]
    fn a_key_that_is_not_marked_as_one_for_tests_is_live() {
        for (id, mode) in [
            ("rzp_test_1", Mode::Test),
            ("rzp_live_1", Mode::Live),
            ("key_1", Mode::Live),
            ("RZP_TEST_1", Mode::Live),
        ] {
            assert_eq!(Mode::of_key(id), mode);
        }
    }
}
