//! What the operator's rules leave open or name in vain.
//!
//! A rule that matches nothing is a limit that is not there: a typo in a tool's name or in the path
//! of its amount would let everything through. So what a rule names has to exist, and an argument
//! that looks like money needs a word on what it moves. Nothing here is learned from an upstream
//! but the names of its tools and arguments.

mod unspoken;

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::nearest::nearest;
use super::schema::bounds;
use super::upstream::{Definition, MoneyWord, Term, ToolRule, UpstreamRules};
pub(super) use unspoken::{required, unspoken};

/// Words in the name of an argument that speak of money.
const MONEY_WORDS: &[&str] = &[
    "amount", "amounts", "amt", "sum", "total", "subtotal", "price", "prices", "cost", "costs",
    "fee", "fees", "money", "cash", "currency", "paise", "paisa", "rupees", "cents", "pence",
    "satoshis", "wei", "lamports", "inr", "usd", "eur", "gbp", "salary", "tip", "betrag",
    "montant", "importe", "importo", "monto", "bedrag", "kwota",
];
/// Words that speak of money where they name a number, or something that may hold anything.
const PAYING_WORDS: &[&str] = &[
    "pay",
    "payment",
    "payments",
    "payout",
    "payouts",
    "transfer",
    "transfers",
    "charge",
    "charges",
    "refund",
    "refunds",
    "deposit",
    "withdrawal",
    "withdraw",
    "donation",
    "debit",
    "credit",
    "credits",
    "wage",
    "wages",
    "bonus",
    "rent",
    "bid",
    "rupee",
    "dollar",
    "dollars",
    "euro",
    "euros",
    "pounds",
    "yen",
];
/// Names of what is handed on to somebody else as it is: it may hold anything, money too.
const PASSED_ON: &[&str] = &["body", "payload", "params", "request"];
/// Last words of names that only speak about it: `price_id`, `fee_bearer`, `total_count`.
const ABOUT: [&str; 8] = [
    "id", "ids", "type", "name", "count", "bearer", "mode", "status",
];
/// Words in the description of a number that speak of money.
const UNIT_WORDS: [&str; 6] = [
    "paise",
    "rupees",
    "cents",
    "pence",
    "minor units",
    "currency",
];
/// Words at the start of a description that speak of money: `Amount to pay`, `The total price`.
const TOLD_WORDS: [&str; 6] = ["amount", "price", "fee", "money", "salary", "cost"];
/// How many words the start is.
const FIRST_WORDS: usize = 3;
/// The key of [`ToolRule::reference`].
const REFERENCE: &str = "reference";
/// Most steps that following one path through a schema may take.
const MAX_STEPS: usize = 1_000;

/// Every rule of an upstream that matches nothing in its list of tools, as sentences.
pub fn unmatched<'a>(
    upstream: &str,
    rules: &UpstreamRules,
    offers: impl Iterator<Item = &'a Definition> + Clone,
) -> Vec<String> {
    let offered: BTreeSet<&str> = offers.clone().map(|offer| offer.name.as_str()).collect();
    let mut found = Vec::new();
    let mut look = |place: String, name: &str| {
        if !offered.contains(name) {
            let near = nearest(name, offered.iter().copied());
            let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            found.push(format!(
                "`{place}` names `{name}`, which is no tool of its list{hint}"
            ));
        }
    };
    for (tool, rule) in &rules.tools {
        look(format!("[upstream.{upstream}.tools.{tool}]"), tool);
        if let Some(readback) = &rule.readback {
            let place = format!("[upstream.{upstream}.tools.{tool}.readback]");
            look(place, &readback.tool);
        }
    }
    for path in rules.patterns.keys() {
        let fits = |offer: &Definition| leads(arguments(offer, rules), path).is_ok();
        if !offers.clone().any(fits) {
            found.push(format!(
                "`[upstream.{upstream}.patterns]` names `{path}`, which is an argument of no tool \
                 of its list"
            ));
        }
    }
    found
}

/// The schema that a tool's arguments are held to.
fn arguments<'a>(offer: &'a Definition, rules: &'a UpstreamRules) -> &'a Value {
    let rule = rules.tools.get(&offer.name);
    let written = rule.and_then(|rule| rule.schema.as_ref());
    written.unwrap_or(&offer.input_schema)
}

/// Why a tool cannot be used under its rule although its schema can: a path that leads nowhere, or
/// an argument that looks like money and that nobody has spoken of.
pub fn gaps(upstream: &str, offer: &Definition, rules: &UpstreamRules) -> Option<String> {
    let place = format!("[upstream.{upstream}.tools.{}]", offer.name);
    let schema = arguments(offer, rules);
    let rule = rules.tools.get(&offer.name);
    for (key, path) in rule.map(named_paths).unwrap_or_default() {
        // Our reference goes into what the server takes, whatever callers may give.
        let within = if key == REFERENCE {
            &offer.input_schema
        } else {
            schema
        };
        if let Err(near) = leads(within, path) {
            let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            return Some(format!(
                "`{key}` in `{place}` names `{path}`, which is no argument of it{hint}"
            ));
        }
    }
    if rule.is_some_and(|rule| rule.money != MoneyWord::Unsaid) {
        return None;
    }
    let argument = looks_like_money(schema)?;
    Some(format!(
        "its argument `{argument}` looks like money: say in `{place}` what it moves, \
         `money = {{ amounts = [\"{argument}\"] }}` for example, or that it moves nothing, \
         `money = \"none\"`"
    ))
}

/// The paths in arguments that a rule speaks of, and as what.
fn named_paths(rule: &ToolRule) -> Vec<(&'static str, &str)> {
    let mut paths: Vec<(&'static str, &str)> = Vec::new();
    if let MoneyWord::Moves(money) = &rule.money {
        let amounts = money.amounts.iter();
        paths.extend(amounts.map(|path| ("money.amounts", path.as_str())));
        let lifts = money.unbounded_if.iter();
        paths.extend(lifts.map(|path| ("money.unbounded_if", path.as_str())));
        let currency = money.currency.as_deref();
        paths.extend(currency.map(|path| ("money.currency", path)));
    }
    let single = [
        ("payee.account", &rule.payee.account),
        ("payee.name", &rule.payee.name),
        ("payee.url", &rule.payee.url),
        (REFERENCE, &rule.reference),
    ];
    let single = single.into_iter();
    paths.extend(single.filter_map(|(key, path)| Some((key, path.as_deref()?))));
    let patterns = rule.patterns.keys();
    paths.extend(patterns.map(|path| ("patterns", path.as_str())));
    let echoes = rule.echoes.values().map(|term| ("echoes", term));
    let readback = rule.readback.iter();
    let readback = readback.flat_map(|readback| {
        let terms = readback.arguments.values().chain(&readback.found_if.equals);
        terms.map(|term| ("readback", term))
    });
    paths.extend(echoes.chain(readback).filter_map(|(key, term)| match term {
        Term::Argument(path) => Some((key, path.as_str())),
        Term::Reference | Term::Literal(_) => None,
    }));
    paths
}

/// Whether a path of arguments (`a.b`, `a[].b`) can lead somewhere. `Err` with the nearest name
/// there is, if one is near. Where a schema leaves open what there may be, it can, unless a name
/// that it has is almost this one.
pub(super) fn leads(schema: &Value, path: &str) -> Result<(), Option<String>> {
    let mut here = vec![schema];
    for step in path.split('.') {
        let (key, list) = match step.strip_suffix("[]") {
            Some(key) => (key, true),
            None => (step, false),
        };
        let all = applied(schema, &here);
        let mut next: Vec<&Value> = Vec::new();
        let mut known: Vec<&str> = Vec::new();
        let mut open = here.is_empty();
        for map in all.iter().filter_map(|node| node.as_object()) {
            let named = map.get("properties").and_then(Value::as_object);
            known.extend(named.into_iter().flat_map(Map::keys).map(String::as_str));
            next.extend(named.and_then(|named| named.get(key)));
            open |= ["additionalProperties", "unevaluatedProperties"]
                .iter()
                .any(|word| map.get(*word).is_some_and(is_a_schema));
            open |= map.contains_key("patternProperties");
        }
        // What lists nothing is free-form.
        let open = open || (known.is_empty() && here.first() != Some(&schema));
        if next.is_empty() {
            // What is open may have this name, but hardly beside one that is almost the same.
            let near = nearest(key, known.into_iter());
            return if open && near.is_none() {
                Ok(())
            } else {
                Err(near.map(str::to_owned))
            };
        }
        if list {
            let lists = applied(schema, &next);
            let items = lists.iter().filter_map(|node| node.get("items"));
            next = items.collect();
            if next.is_empty() {
                return Ok(());
            }
        }
        here = next;
    }
    Ok(())
}

fn is_a_schema(value: &Value) -> bool {
    value.is_object() && value.as_object().is_some_and(|map| !map.is_empty())
}

/// The schemas that apply to the same value as these, references followed.
fn applied<'a>(doc: &'a Value, nodes: &[&'a Value]) -> Vec<&'a Value> {
    let mut all: Vec<&Value> = Vec::new();
    let mut open: Vec<&Value> = nodes.to_vec();
    while let Some(node) = open.pop() {
        if all.len() >= MAX_STEPS {
            break;
        }
        if let Some(map) = node.as_object() {
            let reference = map.get("$ref").and_then(Value::as_str);
            open.extend(reference.and_then(|name| bounds::resolve(doc, name).ok()));
            open.extend(bounds::branches(map));
        }
        all.push(node);
    }
    all
}

/// The first argument, at any depth, whose name, words or unit speak of money, or in which a caller
/// may put what it likes under a name that speaks of paying.
pub fn looks_like_money(schema: &Value) -> Option<String> {
    first(schema, &mut is_money)
}

/// The path of a number in arguments that looks like money, that is none of the `named` amounts, and
/// that `schema` does not list there.
pub fn unlisted_money(schema: &Value, named: &[String], args: &Value) -> Option<String> {
    let text = |value: &str| value.trim().parse::<f64>().is_ok();
    let number = serde_json::json!({"type": "integer"});
    let mut open = vec![(String::new(), args)];
    while let Some((at, value)) = open.pop() {
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    let path = match at.as_str() {
                        "" => name.clone(),
                        at => format!("{at}.{name}"),
                    };
                    let amount = value.is_number() || value.as_str().is_some_and(text);
                    if amount
                        && is_money(name, &number)
                        && !named.contains(&path)
                        && !lists(schema, &path)
                    {
                        return Some(path);
                    }
                    open.push((path, value));
                }
            }
            Value::Array(items) => {
                open.extend(items.iter().map(|item| (format!("{at}[]"), item)));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    None
}

/// Whether a schema has a property of its own at a path, on one of its branches.
fn lists(schema: &Value, path: &str) -> bool {
    let mut here = vec![schema];
    for step in path.split('.') {
        let (key, list) = match step.strip_suffix("[]") {
            Some(key) => (key, true),
            None => (step, false),
        };
        let all = applied(schema, &here);
        let named = all
            .iter()
            .filter_map(|node| node.get("properties")?.get(key));
        here = named.collect();
        if list {
            let lists = applied(schema, &here);
            here = lists.iter().filter_map(|node| node.get("items")).collect();
        }
    }
    !here.is_empty()
}

/// The name of the first argument, at any depth, that `looks` is true of.
pub(super) fn first(schema: &Value, looks: &mut dyn FnMut(&str, &Value) -> bool) -> Option<String> {
    let mut open = vec![schema];
    while let Some(node) = open.pop() {
        match node {
            Value::Object(map) => {
                // The name of an argument may be a pattern as well, or the caller's own.
                let named = ["properties", "patternProperties"].into_iter();
                let named = named.filter_map(|word| map.get(word)?.as_object());
                let unnamed = ["items", "additionalProperties"].into_iter();
                let unnamed = unnamed.filter_map(|word| map.get_key_value(word));
                let mut named = named.flatten().chain(unnamed);
                if let Some((name, _)) = named.find(|(name, what)| looks(name, what)) {
                    return Some(name.chars().take(64).collect());
                }
                open.extend(map.values());
            }
            Value::Array(items) => open.extend(items),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    None
}

/// Whether an argument of this name and schema looks like money.
pub(super) fn is_money(name: &str, what: &Value) -> bool {
    let kind = what.get("type").and_then(Value::as_str);
    if kind == Some("boolean") {
        return false;
    }
    let words = words(name);
    if words
        .last()
        .is_some_and(|word| ABOUT.contains(&word.as_str()))
    {
        return false;
    }
    let names = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    let number = is_number(what);
    names(MONEY_WORDS)
        || (names(PAYING_WORDS) && (number || is_free(what)))
        || (names(PASSED_ON) && is_free(what))
        || is_told(what, number)
}

/// Whether its title or description begins by saying that it is money, or names the unit of a
/// number.
fn is_told(what: &Value, number: bool) -> bool {
    let said = ["title", "description"].into_iter();
    said.filter_map(|word| what.get(word)?.as_str())
        .any(|said| {
            let words = words(said).into_iter().filter(|word| !word.is_empty());
            let mut words = words.take(FIRST_WORDS);
            let lower = said.to_lowercase();
            words.any(|word| TOLD_WORDS.contains(&word.as_str()))
                || (number && UNIT_WORDS.iter().any(|unit| lower.contains(unit)))
        })
}

fn is_number(what: &Value) -> bool {
    let kind = |kind: &Value| matches!(kind.as_str(), Some("number" | "integer"));
    match what.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(kind),
        Some(one) => kind(one),
        None => false,
    }
}

/// Whether it takes arguments that nobody has listed: an object that lists none, or one that has a
/// schema for others.
fn is_free(what: &Value) -> bool {
    let Some(map) = what.as_object() else {
        return what == &Value::Bool(true);
    };
    let holds = |kind: &str| match map.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(|one| one == kind),
        Some(one) => one == kind,
        // What says nothing takes everything.
        None => map.keys().all(|key| key == "description" || key == "title"),
    };
    let lists = map.contains_key("properties") || map.contains_key("patternProperties");
    holds("object")
        && (adds_its_own(what) || !lists)
        && map.get("additionalProperties") != Some(&Value::Bool(false))
}

/// Whether it has a schema for arguments that it does not name.
fn adds_its_own(what: &Value) -> bool {
    ["additionalProperties", "unevaluatedProperties"]
        .iter()
        .any(|word| what.get(*word).is_some_and(is_a_schema))
}

/// `maxAmount_inr` is `max`, `amount`, `inr`.
pub(super) fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in name.chars() {
        let begins = !c.is_alphanumeric() || (c.is_uppercase() && before.is_lowercase());
        if begins {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| c.is_alphanumeric()) {
            word.extend(c.to_lowercase());
        }
        before = c;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema(properties: Value) -> Value {
        json!({"type": "object", "properties": properties})
    }

    #[test]
    #[rustfmt::skip]
    fn what_looks_like_money() {
        let number = json!({"type": "integer"});
        let cases = [
            ("amount",          &number,                                   true),
            ("Amount",          &number,                                   true),
            ("amount_paise",    &number,                                   true),
            ("maxAmount",       &json!({"type": "string"}),                true),
            ("refund-fee",      &json!({}),                                true),
            ("priceINR",        &number,                                   true),
            ("value",           &json!({"type": "integer", "description": "In paise."}), true),
            ("total",           &json!({"type": "number"}),                true),
            ("count",           &number,                                   false),
            ("payment_id",      &json!({"type": "string"}),                false),
            ("price_id",        &json!({"type": "string"}),                false),
            ("to",              &json!({"type": "string"}),                false),
            ("amount_is_exact", &json!({"type": "boolean"}),               false),
            ("summary",         &json!({"type": "string"}),                false),
            ("percent",         &number,                                   false),
            // Words of others, and of paying.
            ("montant",         &number,                                   true),
            ("deposit",         &number,                                   true),
            ("deposit",         &json!({"type": "string"}),                false),
            ("credits",         &json!({"type": ["integer", "null"]}),     true),
            // What is told of it.
            ("value",           &json!({"type": "number", "description": "The amount to transfer"}), true),
            ("value",           &json!({"type": "string", "description": "Amount to pay, decimal"}), true),
            ("value",           &json!({"type": "string", "title": "Amount"}), true),
            ("note",            &json!({"type": "string", "description": "Why, beside the amount"}), false),
            ("limit",           &json!({"type": "integer", "description": "Total number of rows"}), false),
            // What may hold anything, under a name of paying or of what is passed on.
            ("payment",         &json!({"type": "object"}),                true),
            ("payment",         &json!({"type": "object", "additionalProperties": true}), true),
            ("payouts",         &json!({"type": "object", "additionalProperties": {"type": "integer"}}), true),
            ("transfer",        &json!({"type": "object", "properties": {}, "additionalProperties": {"type": "integer"}}), true),
            ("payment",         &json!({}),                                true),
            ("payment",         &json!({"type": "string"}),                false),
            ("payment",         &json!({"type": "object", "properties": {"id": {"type": "string"}}}), false),
            ("payment",         &json!({"type": "object", "additionalProperties": false}), false),
            ("body",            &json!({"type": ["object", "null"]}),      true),
            ("body",            &json!({"type": "string"}),                false),
            ("metadata",        &json!({"type": "object"}),                false),
            ("each",            &json!({"type": "array", "items": {"type": "integer", "description": "in paise"}}), true),
            ("each",            &json!({"type": "object", "additionalProperties": {"type": "integer", "description": "in paise"}}), true),
        ];
        for (name, what, expected) in cases {
            let inside = schema(json!({"a": {"items": schema(json!({name: what}))}}));
            let by_pattern = json!({"type": "object", "patternProperties": {format!("^{name}"): what}});
            for schema in [schema(json!({name: what})), inside, by_pattern] {
                assert_eq!(looks_like_money(&schema).is_some(), expected, "{name} {what}");
            }
        }
    }

    #[test]
    fn a_path_leads_somewhere_or_says_what_is_near() {
        let whole = json!({
            "type": "object",
            "properties": {
                "amount": {"type": "integer"},
                "free": {"type": "object"},
                "to": {"$ref": "#/$defs/to"},
                "parts": {"type": "array", "items": {"$ref": "#/$defs/to"}},
            },
            "allOf": [{"properties": {"tip": {}}}],
            "$defs": {"to": {"type": "object", "properties": {"account": {"type": "string"}}}},
        });
        for good in ["amount", "free.x.y", "to.account", "parts[].account", "tip"] {
            assert_eq!(leads(&whole, good), Ok(()), "{good}");
        }
        let bad = [
            ("amuont", Some("amount")),
            ("to.acount", Some("account")),
            ("parts[].acount", Some("account")),
            ("nothing_like_it", None),
        ];
        for (path, near) in bad {
            assert_eq!(leads(&whole, path), Err(near.map(str::to_owned)), "{path}");
        }
        assert!(leads(&json!({"type": "object"}), "amount").is_err());
        let open = json!({
            "type": "object",
            "properties": {"amount": {"type": "integer"}},
            "patternProperties": {"^x_": {}},
        });
        assert_eq!(leads(&open, "x_more"), Ok(()));
        let near = Some("amount".to_owned());
        assert_eq!(leads(&open, "amuont"), Err(near), "open, and yet a slip");
    }
}
