//! Whom a registered tool pays, as its document says.
//!
//! Freezes, blocks, registered payees, duplicates and history go by it. A tool that moves money pays the
//! one argument that looks like a payee; where several do, its author says which, or an operator says
//! that they are none. Where none does, it pays the one that may be a payee in such a tool (`customer`,
//! `email`). A call in which nothing plain stands at that place is refused when it is proposed.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::invalid::Invalid;
use super::money::{Money, in_every_call, path};
use crate::domain::rules;
use crate::domain::tool::PayeeRule;

/// Words in the name of an argument that speak of somebody who is paid.
const WORDS: &[&str] = &[
    "account",
    "accounts",
    "acct",
    "beneficiaries",
    "beneficiary",
    "creditor",
    "destination",
    "iban",
    "merchant",
    "payee",
    "payees",
    "receiver",
    "receivers",
    "recipient",
    "recipients",
    "supplier",
    "suppliers",
    "upi",
    "vendor",
    "vendors",
    "vpa",
    "wallet",
    "wallets",
];
/// Words that speak of a person: of who is paid where nothing else does. The first found counts.
const PERSONS: &[&str] = &[
    "customer", "client", "employee", "contact", "person", "user", "email", "phone", "mobile",
];
/// What may follow `to` where it pays: `to_id`, and not `to_date`.
const TO_WHAT: &[&str] = &[
    "id", "address", "email", "name", "number", "phone", "ref", "user",
];
/// Last words of names that only speak about it: `account_type`.
const ABOUT: &[&str] = &[
    "type", "kind", "count", "mode", "status", "currency", "country",
];
/// First words of `to` that pay: `pay_to`, and not `valid_to`.
const PAYING: &[&str] = &["pay", "paid", "send", "sent", "transfer", "credit"];

/// Whom a tool pays.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum PaysTo {
    /// `"none"`: nobody, whatever its arguments look like.
    Nobody,
    /// Somebody whom the arguments name.
    Named(PayeePlaces),
}

/// Where the arguments say who is paid. A place is a JSON Pointer (`/to/iban`) or a path
/// (`to.iban`).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PayeePlaces {
    /// The account or id that is paid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The payee's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The payee's URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Arguments that look like a payee and are none, with all that is inside of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub none: Vec<String>,
}

impl PaysTo {
    /// How to read who is paid out of arguments.
    pub fn rule(&self) -> PayeeRule {
        let PaysTo::Named(places) = self else {
            return PayeeRule::default();
        };
        let read = |at: &Option<String>| at.as_deref().and_then(path);
        PayeeRule {
            account: read(&places.account),
            name: read(&places.name),
            url: read(&places.url),
        }
    }

    /// Whether it says of something that looks like a payee that it is none.
    pub(super) fn denies(&self) -> bool {
        match self {
            PaysTo::Nobody => true,
            PaysTo::Named(places) => !places.none.is_empty(),
        }
    }
}

impl PayeePlaces {
    fn places(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("/payee/account", &self.account),
            ("/payee/name", &self.name),
            ("/payee/url", &self.url),
        ];
        let all = all.into_iter();
        all.filter_map(|(pointer, at)| Some((pointer, at.as_deref()?)))
    }

    fn check(&self, schema: &Value) -> Result<(), Invalid> {
        if self.places().next().is_none() {
            let detail = "name `account`, `name` or `url`";
            return Err(Invalid::tool("/payee", detail));
        }
        for (pointer, at) in self.places() {
            let single = match at.contains("[]") {
                true => Err("must not lead through a list: a call pays one payee".to_owned()),
                false => in_every_call(schema, at),
            };
            single.map_err(|why| Invalid::tool(pointer, why))?;
        }
        Ok(())
    }
}

/// Checks what a tool that moves this says of whom it pays. One that is switched off pays nobody:
/// it is asked when it is enabled.
pub(super) fn check(
    payee: Option<&PaysTo>,
    money: Option<&Money>,
    enabled: bool,
    schema: &Value,
) -> Result<(), Invalid> {
    let (named, besides) = match payee {
        Some(PaysTo::Nobody) => return Ok(()),
        Some(PaysTo::Named(places)) => {
            places.check(schema)?;
            let named = places.places().filter_map(|(_, at)| path(at));
            let besides = places.none.iter();
            let besides = besides.map(|at| path(at).unwrap_or_else(|| at.clone()));
            (named.collect(), besides.collect())
        }
        None => (Vec::new(), Vec::new()),
    };
    let moves = matches!(money, Some(Money::Amounts(_)));
    if !moves || !enabled {
        return Ok(());
    }
    match rules::unspoken(schema, &named, &besides, looks_like_payee) {
        None => Ok(()),
        Some(argument) if payee.is_none() && is_many(schema, &argument) => {
            let detail = format!(
                "the argument `{argument}` looks like somebody who is paid and is a list or an object: \
                 name the plain text or number that says who, {{\"account\": ...}}, or let an operator \
                 say \"none\""
            );
            Err(Invalid::tool("/payee", detail))
        }
        // Nobody said, and there is only one that it can be.
        Some(_) if payee.is_none() && only(schema).is_some() => Ok(()),
        Some(argument) => {
            let detail = format!(
                "the argument `{argument}` looks like somebody who is paid: say \
                 {{\"account\": \"{argument}\"}}, or let an operator name it in `none`"
            );
            Err(Invalid::tool("/payee", detail))
        }
    }
}

/// Checks what a tool that moves money sends in every call: somebody who is paid and is no argument
/// is seen by no freeze.
pub(super) fn check_constants(
    payee: Option<&PaysTo>,
    money: Option<&Money>,
    schema: &Value,
    sent: &[(Vec<&str>, Value)],
) -> Result<(), Invalid> {
    let moves = matches!(money, Some(Money::Amounts(_)));
    if !moves || payee.is_some() || only(schema).is_some() {
        return Ok(());
    }
    let text = json!({"type": "string"});
    let paid = |at: &Vec<&str>| at.last().is_some_and(|name| looks_like_payee(name, &text));
    match sent.iter().find(|(at, _)| paid(at)) {
        None => Ok(()),
        Some((at, _)) => {
            let detail = format!(
                "every call sends `{}`, which looks like somebody who is paid: make it an argument, \
                 or let an operator say \"none\"",
                at.join(".")
            );
            Err(Invalid::tool("/payee", detail))
        }
    }
}

/// The one argument that looks like a payee, where there is one and no other; else the first that
/// names a person in every call.
pub(super) fn only(schema: &Value) -> Option<String> {
    let Some(first) = rules::unspoken(schema, &[], &[], looks_like_payee) else {
        return person(schema);
    };
    let place = path(&first)?;
    let others = rules::unspoken(schema, std::slice::from_ref(&place), &[], looks_like_payee);
    others.is_none().then_some(place)
}

/// The first of the words for persons that names a plain argument of every call.
fn person(schema: &Value) -> Option<String> {
    let named = schema.get("properties").and_then(Value::as_object)?;
    let is = |word: &&str, name: &String, what: &Value| {
        let words = rules::words(name);
        let about = words
            .last()
            .is_some_and(|last| ABOUT.contains(&last.as_str()));
        words.iter().any(|one| one == word) && !about && what["type"] == "string"
    };
    PERSONS.iter().find_map(|word| {
        let found = named
            .iter()
            .find(|(name, what)| is(word, name, what) && in_every_call(schema, name).is_ok());
        path(found?.0)
    })
}

fn looks_like_payee(name: &str, what: &Value) -> bool {
    let words = rules::words(name);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let last = words.last().copied().unwrap_or_default();
    if ABOUT.contains(&last) || what.get("type").is_some_and(|kind| kind == "boolean") {
        return false;
    }
    let to = match words.as_slice() {
        ["to"] => true,
        ["to", what] => TO_WHAT.contains(what),
        [first, .., "to"] => PAYING.contains(first),
        _ => false,
    };
    let named = to || words.iter().any(|word| WORDS.contains(word));
    // What holds somebody who is paid is asked of what it holds.
    let inside = || {
        ["properties", "items"]
            .iter()
            .filter_map(|word| what.get(*word))
    };
    named && !inside().any(holds_payee)
}

/// Whether an argument is within a list, or is a list or an object at the top: nothing plain.
fn is_many(schema: &Value, argument: &str) -> bool {
    if argument.contains("[]") {
        return true;
    }
    let named = schema.get("properties");
    let kind = named.and_then(|named| named.get(argument)?.get("type"));
    kind.is_some_and(|kind| kind == "array" || kind == "object")
}

/// Whether something in a schema names somebody who is paid.
fn holds_payee(schema: &Value) -> bool {
    rules::first(schema, &mut looks_like_payee).is_some()
        || schema.as_object().is_some_and(|named| {
            named
                .iter()
                .any(|(name, what)| what.is_object() && looks_like_payee(name, what))
        })
}

impl TryFrom<Value> for PaysTo {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::String(word) if word == "none" => Ok(PaysTo::Nobody),
            Value::Object(_) => serde_json::from_value(value)
                .map(PaysTo::Named)
                .map_err(|error| error.to_string()),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => {
                let known = "{\"account\": \"/pointer\"} or \"none\"";
                Err(format!("here belongs {known}"))
            }
        }
    }
}

impl From<PaysTo> for Value {
    fn from(payee: PaysTo) -> Value {
        match payee {
            PaysTo::Nobody => json!("none"),
            PaysTo::Named(places) => json!(places),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_one_that_looks_like_a_payee_is_who_is_paid() {
        let schema = |names: &[&str]| {
            let all = names
                .iter()
                .map(|name| (name.to_string(), json!({"type": "string"})));
            json!({"type": "object", "properties": Value::Object(all.collect())})
        };
        assert_eq!(only(&schema(&["note", "to"])).as_deref(), Some("to"));
        assert_eq!(only(&schema(&["iban", "vendor_name"])), None);
        assert_eq!(only(&schema(&["note"])), None);
        let mut refund = schema(&["customer", "email", "note"]);
        assert_eq!(only(&refund), None, "it may be left out");
        refund["required"] = json!(["customer", "email"]);
        assert_eq!(only(&refund).as_deref(), Some("customer"));
    }

    #[test]
    #[rustfmt::skip]
    fn what_looks_like_a_payee() {
        let text = json!({"type": "string"});
        for (name, what, looks) in [
            ("to",                &text,                      true),
            ("pay_to",            &text,                      true),
            ("valid_to",          &text,                      false),
            ("beneficiaryVpa",    &text,                      true),
            ("fund_account_id",   &json!({"type": "integer"}), true),
            ("IBAN",              &text,                      true),
            ("account_type",      &text,                      false),
            ("account",           &json!({"type": "object"}), true),
            ("to",                &json!({"properties": {}}), true),
            ("to",                &json!({"type": "array", "items": {"type": "string"}}), true),
            ("to",                &json!({"type": "object", "properties": {"x": {}}}), true),
            ("account",           &json!({"type": "object", "properties": {"iban": {}}}), false),
            ("to_id",             &text,                      true),
            ("to_date",           &text,                      false),
            ("beneficiaries",     &json!({"type": "array"}),  true),
            ("customer",          &text,                      false),
            ("note",              &text,                      false),
            ("total",             &text,                      false),
        ] {
            assert_eq!(looks_like_payee(name, what), looks, "{name} {what}");
        }
    }
}
