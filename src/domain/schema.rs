//! Whether arguments are what a tool takes: its JSON Schema, made strict, and the operator's rules.
//!
//! A schema that an upstream advertises is often looser than what it does with it: unknown fields
//! are dropped, floats are truncated, ids end up in a URL. So [`strict`] closes every object that
//! lists its properties and makes money an integer, and [`validate`] checks the rest itself:
//! amounts are positive integers, ids are texts that match their pattern in full.
//!
//! Schemas come from outside too. They are held to [`bounds`] before anything walks them, and are
//! compiled when a tool is accepted, not before. Nothing is fetched, patterns run in linear time,
//! and what could be read in two ways (older drafts, references that go in circles) is refused as a
//! whole, so that a limit is never silently dropped. Messages name the field and never repeat its
//! value.

pub(crate) mod bounds;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::OnceLock;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{Draft, PatternOptions, ValidationError};
use serde_json::{Map, Value, json};

use super::strict::MAX_SAFE_INTEGER;
use super::tool::{MoneyRule, Tool, at_path};

/// Longest message handed back: names of unexpected fields are the caller's text.
const MAX_MESSAGE_CHARS: usize = 400;
/// Keywords whose meaning we would not keep: other drafts', or references beyond this document.
const REFUSED: [&str; 6] = [
    "$dynamicRef",
    "$recursiveRef",
    "$anchor",
    "$dynamicAnchor",
    "dependencies",
    "additionalItems",
];

/// A tool's compiled schema, made at its first use. A clone starts empty, so that a copy with
/// another schema never checks with the old one.
#[derive(Default)]
pub struct Checker(OnceLock<Result<jsonschema::Validator, String>>);

impl Clone for Checker {
    fn clone(&self) -> Self {
        Self::default()
    }
}

/// What was compiled adds nothing to the schema that it was compiled from.
impl PartialEq for Checker {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Checker")
    }
}

/// Checks arguments against the tool's strict schema, its money paths and its id patterns.
/// The error is a sentence that names the field.
pub fn validate(tool: &Tool, args: &Value) -> Result<(), String> {
    let compiled = tool
        .checker
        .0
        .get_or_init(|| compile(&tool.input_schema, &tool.money));
    let compiled = compiled.as_ref().map_err(|why| {
        format!("the schema of the tool cannot be used, so no arguments can be checked: {why}")
    })?;
    if let Err(error) = compiled.validate(args) {
        return Err(shortened(in_words(&error)));
    }
    for path in &tool.money.amounts {
        for value in at_path(args, path)? {
            let fits = |minor: i64| (1..=MAX_SAFE_INTEGER).contains(&minor);
            if !value.as_i64().is_some_and(fits) {
                let rule = "must be a whole number of minor units, at least 1";
                return Err(format!("`{path}` {rule}"));
            }
        }
    }
    one_currency(tool, args)?;
    tool.bad_pattern(args).map_or(Ok(()), Err)
}

/// Compiles a tool's schema, so that the first who uses it does not wait for that.
pub fn prepare(tool: &Tool) -> Result<(), String> {
    let compiled = tool
        .checker
        .0
        .get_or_init(|| compile(&tool.input_schema, &tool.money));
    compiled.as_ref().map(|_| ()).map_err(Clone::clone)
}

/// Amounts are compared with limits in one currency, so one that cannot be read, or that stands
/// beside a part and is another, would have foreign units counted as our own.
fn one_currency(tool: &Tool, args: &Value) -> Result<(), String> {
    let Some(path) = tool.money.currency.as_deref() else {
        return Ok(());
    };
    let named = at_path(args, path)?;
    let Some(whole) = tool.effective(args).currency() else {
        return Ok(());
    };
    let is_whole = |value: &&Value| value.as_str() == Some(whole.code());
    if !named.iter().all(is_whole) {
        return Err(format!(
            "`{path}` must be one currency that can be read: three upper-case letters, such as INR"
        ));
    }
    let name = path.rsplit('.').next().unwrap_or(path);
    let parts = tool.money.amounts.iter();
    let parts = parts.filter_map(|amount| amount.rsplit_once('.'));
    for (parent, _) in parts {
        let beside = format!("{parent}.{name}");
        for value in at_path(args, &beside)? {
            if beside != path && value.as_str() != Some(whole.code()) {
                return Err(format!(
                    "`{beside}` must be {whole}, as in the whole request"
                ));
            }
        }
    }
    Ok(())
}

/// Why somebody else's schema is too large to be looked at or leads in circles, or `Ok`. Cheap, and
/// for schemas of results as well.
pub fn readable(schema: &Value) -> Result<(), String> {
    bounds::check(schema)
}

/// Checks a result against the schema that its tool promises, as it is written. The error is a
/// sentence that names the field and never its value.
pub fn fits(checker: &Checker, schema: &Value, data: &Value) -> Result<(), String> {
    let compiled = checker.0.get_or_init(|| as_written(schema));
    let compiled = compiled.as_ref().map_err(Clone::clone)?;
    compiled
        .validate(data)
        .map_err(|error| shortened(in_words(&error)))
}

/// Why results cannot be held to a schema, or `Ok`.
pub fn promises(schema: &Value) -> Result<(), String> {
    as_written(schema).map(|_| ())
}

/// A schema that is made no stricter than its author wrote it.
fn as_written(schema: &Value) -> Result<jsonschema::Validator, String> {
    if !schema.is_object() {
        return Err("it is not an object".to_owned());
    }
    bounds::check(schema)?;
    understood(schema, true)?;
    build(schema)
}

/// Why a schema cannot be used, or `Ok`. Compiles it, so not before somebody accepts the tool, and
/// not where others wait. For accepting a tool: better refused then than at every
/// propose.
pub fn usable(schema: &Value, money: &MoneyRule) -> Result<(), String> {
    compile(schema, money).map(|_| ())
}

fn compile(schema: &Value, money: &MoneyRule) -> Result<jsonschema::Validator, String> {
    build(&strict(schema, money)?)
}

fn build(schema: &Value) -> Result<jsonschema::Validator, String> {
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .offline()
        .with_pattern_options(PatternOptions::regex().size_limit(bounds::MAX_PATTERN_BYTES))
        .build(schema)
        .map_err(|error| shortened(error.to_string()))
}

/// The schema as it is enforced: unknown fields refused wherever properties are listed, and
/// money an integer of at least 1. Making it strict twice changes nothing.
pub fn strict(schema: &Value, money: &MoneyRule) -> Result<Value, String> {
    if !schema.is_object() {
        return Err("it is not an object".to_owned());
    }
    bounds::check(schema)?;
    understood(schema, true)?;
    let mut closed = close(schema, Place::Root, schema);
    for path in &money.amounts {
        force_integer(&mut closed, path);
    }
    Ok(closed)
}

/// Refuses keywords that would not mean here what their author meant.
fn understood(node: &Value, root: bool) -> Result<(), String> {
    match node {
        Value::Object(map) => {
            if let Some(keyword) = REFUSED.iter().find(|keyword| map.contains_key(**keyword)) {
                return Err(format!("`{keyword}` is not supported"));
            }
            if !root && map.get("$id").is_some_and(Value::is_string) {
                return Err("a nested `$id` is not supported".to_owned());
            }
            for (key, value) in map {
                // Instances, not schemas: what looks like a keyword in them is none.
                if matches!(key.as_str(), "const" | "enum" | "default" | "examples") {
                    continue;
                }
                if matches!(key.as_str(), "properties" | "$defs" | "definitions") {
                    // Here the keys are names.
                    let schemas = value.as_object().into_iter().flatten();
                    for (_, schema) in schemas {
                        understood(schema, false)?;
                    }
                    continue;
                }
                understood(value, false)?;
            }
            Ok(())
        }
        Value::Array(items) => items.iter().try_for_each(|item| understood(item, false)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The arguments: always closed.
    Root,
    /// A value inside: closed if its properties are listed.
    Value,
    /// One of several schemas of one value: only the outermost may close it.
    Branch,
}

fn close(node: &Value, place: Place, doc: &Value) -> Value {
    let Some(map) = node.as_object() else {
        return node.clone();
    };
    let listed = lists_properties(node, doc, &mut BTreeSet::new());
    let mut out = Map::new();
    for (key, value) in map {
        let closed = match key.as_str() {
            // Both would pull in rules of another dialect or document.
            "$schema" | "$id" => continue,
            "properties" | "patternProperties" => each(value, Place::Value, doc),
            "items" | "unevaluatedItems" | "additionalProperties" | "unevaluatedProperties" => {
                close(value, Place::Value, doc)
            }
            "prefixItems" => each(value, Place::Value, doc),
            "allOf" | "anyOf" | "oneOf" | "dependentSchemas" | "$defs" | "definitions" => {
                each(value, Place::Branch, doc)
            }
            "then" | "else" => close(value, Place::Branch, doc),
            // `not`, `if` and `contains` ask a question: a stricter question is a looser rule.
            _ => value.clone(),
        };
        out.insert(key.clone(), closed);
    }
    for keyword in ["additionalProperties", "unevaluatedProperties"] {
        if out.get(keyword).is_some_and(says_anything_goes) {
            out.remove(keyword);
        }
    }
    if place == Place::Root {
        out.insert("type".to_owned(), json!("object"));
    }
    let closes = place == Place::Root || (place == Place::Value && listed);
    let open =
        !out.contains_key("additionalProperties") && !out.contains_key("unevaluatedProperties");
    if closes && open {
        let composed = out.contains_key("$ref") || bounds::branches(&out).next().is_some();
        let keyword = if composed {
            "unevaluatedProperties"
        } else {
            "additionalProperties"
        };
        out.insert(keyword.to_owned(), json!(false));
    }
    Value::Object(out)
}

fn each(value: &Value, place: Place, doc: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| close(item, place, doc)).collect(),
        Value::Object(map) => {
            let closed = map
                .iter()
                .map(|(key, item)| (key.clone(), close(item, place, doc)));
            Value::Object(closed.collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn says_anything_goes(value: &Value) -> bool {
    *value == Value::Bool(true) || *value == json!({})
}

/// Whether the schema names properties, itself or by one of its branches or references. An
/// object that names none is free-form on purpose (notes, metadata) and stays so.
fn lists_properties<'a>(node: &'a Value, doc: &'a Value, seen: &mut BTreeSet<&'a str>) -> bool {
    let Some(map) = node.as_object() else {
        return false;
    };
    let named = map.get("properties").and_then(Value::as_object);
    if named.is_some_and(|named| !named.is_empty()) {
        return true;
    }
    if let Some(reference) = map.get("$ref").and_then(Value::as_str)
        && seen.insert(reference)
        && let Ok(target) = bounds::resolve(doc, reference)
        && lists_properties(target, doc, seen)
    {
        return true;
    }
    bounds::branches(map).any(|branch| lists_properties(branch, doc, seen))
}

/// Says `integer`, at least 1, where the path leads. What is shown to agents; [`validate`] holds
/// amounts to it wherever a schema hides them.
fn force_integer(schema: &mut Value, path: &str) {
    let mut here = schema;
    for step in path.split('.') {
        let (key, list) = match step.strip_suffix("[]") {
            Some(key) => (key, true),
            None => (step, false),
        };
        let property = here
            .get_mut("properties")
            .and_then(|named| named.get_mut(key));
        let inner = match property {
            Some(property) if list => property.get_mut("items"),
            other => other,
        };
        match inner {
            Some(inner) => here = inner,
            None => return,
        }
    }
    if let Some(map) = here.as_object_mut() {
        map.insert("type".to_owned(), json!("integer"));
        let bounded = map.get("minimum").and_then(Value::as_f64);
        if !bounded.is_some_and(|least| least >= 1.0) {
            map.insert("minimum".to_owned(), json!(1));
        }
    }
}

/// `/transfers/0/amount` as people write it.
/// What is wrong, without the values: a field too many or too few is told of the field.
fn in_words(error: &ValidationError<'_>) -> String {
    let place = field_name(error.instance_path().as_str());
    if let ValidationErrorKind::AdditionalProperties { unexpected } = error.kind() {
        return format!("there is no field `{}` in {place}", unexpected.join("`, `"));
    }
    if let ValidationErrorKind::Required { property } = error.kind() {
        let name = property.as_str().unwrap_or_default();
        return format!("`{name}` is missing in {place}");
    }
    format!("{place}: {}", error.masked())
}

fn field_name(pointer: &str) -> String {
    if pointer.is_empty() {
        return "the arguments".to_owned();
    }
    let mut name = String::new();
    for step in pointer.split('/').skip(1) {
        let step = step.replace("~1", "/").replace("~0", "~");
        if step.bytes().all(|b| b.is_ascii_digit()) {
            name.push_str(&format!("[{step}]"));
        } else {
            if !name.is_empty() {
                name.push('.');
            }
            name.push_str(&step);
        }
    }
    format!("`{name}`")
}

fn shortened(text: String) -> String {
    match text.char_indices().nth(MAX_MESSAGE_CHARS) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::tool::{Executor, PayeeRule, Risk, Standing};

    fn tool(schema: Value, amounts: &[&str], patterns: &[(&str, &str)]) -> Tool {
        Tool {
            name: "t".parse().unwrap(),
            description: String::new(),
            input_schema: schema,
            output_schema: None,
            risk: Risk::High,
            executor: Executor::Noop,
            money: MoneyRule {
                amounts: amounts.iter().map(|path| (*path).to_owned()).collect(),
                ..MoneyRule::default()
            },
            payee: PayeeRule::default(),
            patterns: patterns
                .iter()
                .map(|(path, pattern)| {
                    let pattern = regex::Regex::new(pattern).unwrap();
                    ((*path).to_owned(), Arc::new(pattern))
                })
                .collect(),
            hold: false,
            standing: Standing::Accepted,
            digest: String::new(),
            checker: Checker::default(),
        }
    }

    fn order() -> Value {
        json!({
            "type": "object",
            "required": ["amount"],
            "properties": {
                "amount": {"type": "number", "minimum": 100},
                "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
                "notes": {"type": "object", "properties": {}, "maxProperties": 2},
                "transfers": {"type": "array", "items": {
                    "type": "object",
                    "required": ["account", "amount"],
                    "properties": {"account": {"type": "string"}, "amount": {"type": "number"}},
                }},
                "token": {"type": "object", "properties": {}},
            },
        })
    }

    #[test]
    #[rustfmt::skip]
    fn what_an_upstream_would_drop_truncate_or_misread_is_refused() {
        let tool = tool(order(), &["amount", "transfers[].amount", "token.max_amount"], &[
            ("transfers[].account", "acc_[A-Za-z0-9]{14}"),
        ]);
        let good = [
            json!({"amount": 100}),
            json!({"amount": 100, "notes": {"anything": "goes"}}),
            json!({"amount": 9_007_199_254_740_991_i64}),
            json!({"amount": 100, "transfers": [{"account": "acc_ABCDEFGHIJKLMN", "amount": 1}]}),
            json!({"amount": 100, "token": {"max_amount": 1, "frequency": "monthly"}}),
        ];
        for args in good {
            assert_eq!(validate(&tool, &args), Ok(()), "{args}");
        }
        let bad = [
            (json!({}),                                                          "`amount` is missing in the arguments"),
            (json!({"amount": 100, "x": 1}),                                     "no field `x` in the arguments"),
            (json!([]),                                                          "the arguments"),
            (json!({"amount": 99}),                                              "`amount`"),
            (json!({"amount": 100.9}),                                           "`amount`"),
            (json!({"amount": 100.0}),                                           "`amount`"),
            (json!({"amount": "100"}),                                           "`amount`"),
            (json!({"amount": null}),                                            "`amount`"),
            (json!({"amount": -500}),                                            "`amount`"),
            (json!({"amount": 9_007_199_254_740_992_i64}),                       "`amount`"),
            (json!({"amount": 100, "Amount": 100_000}),                          "Amount"),
            (json!({"amount": 100, "currency": "inr"}),                          "`currency`"),
            (json!({"amount": 100, "notes": {"a": 1, "b": 2, "c": 3}}),          "`notes`"),
            (json!({"amount": 100, "transfers": [{"account": "acc_ABCDEFGHIJKLMN", "amount": 0}]}), "amount"),
            (json!({"amount": 100, "transfers": [{"account": "acc_ABCDEFGHIJKLMN", "amount": 1, "on_hold": true}]}), "`transfers[0]`"),
            (json!({"amount": 100, "transfers": [{"account": "../acc_ABCDEFGHIJKLMN", "amount": 1}]}), "transfers[].account"),
            (json!({"amount": 100, "token": {"max_amount": 0.5}}),               "token.max_amount"),
            (json!({"amount": 100, "token": {"max_amount": "1"}}),               "token.max_amount"),
            (json!({"amount": 100, "token": {"max_amount": null}}),              "token.max_amount"),
        ];
        for (args, field) in bad {
            let why = validate(&tool, &args).expect_err(&args.to_string());
            assert!(why.contains(field), "{args}: {why}");
        }
    }

    #[test]
    fn money_and_ids_are_held_to_their_rules_where_the_schema_says_nothing() {
        let open = json!({"type": "object", "additionalProperties": {"type": ["object", "array", "string"]}});
        let tool = tool(open, &["split[].minor"], &[("payment_id", "pay_[A-Z]+")]);
        for good in [
            json!({}),
            json!({"split": [{"minor": 5}]}),
            json!({"payment_id": "pay_A"}),
        ] {
            assert_eq!(validate(&tool, &good), Ok(()), "{good}");
        }
        for bad in [
            json!({"split": {"minor": 5}}),
            json!({"split": ["5"]}),
            json!({"payment_id": ["pay_A"]}),
            json!({"payment_id": "pay_A/../capture"}),
            json!({"payment_id": "xpay_A"}),
        ] {
            assert!(validate(&tool, &bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_part_is_in_the_currency_of_the_whole() {
        let schema = json!({"type": "object", "properties": {
            "amount": {"type": "integer"}, "currency": {"type": "string"},
            "transfers": {"type": "array", "items": {"type": "object", "properties": {
                "amount": {"type": "integer"}, "currency": {"type": "string"},
            }}},
        }});
        let mut tool = tool(schema, &["amount", "transfers[].amount"], &[]);
        tool.money.currency = Some("currency".to_owned());
        let order = |whole: &str, part: &str| json!({"amount": 9, "currency": whole, "transfers": [{"amount": 9, "currency": part}]});
        assert_eq!(validate(&tool, &order("INR", "INR")), Ok(()));
        assert_eq!(
            validate(&tool, &json!({"amount": 9, "transfers": [{"amount": 9}]})),
            Ok(())
        );
        for (whole, part) in [
            ("INR", "USD"),
            ("USD", "INR"),
            ("inr", "inr"),
            ("US$", "INR"),
        ] {
            assert!(
                validate(&tool, &order(whole, part)).is_err(),
                "{whole} {part}"
            );
        }
        tool.money.currency = Some("transfers[].currency".to_owned());
        assert_eq!(validate(&tool, &order("INR", "INR")), Ok(()));
        assert!(
            validate(&tool, &order("INR", "USD")).is_err(),
            "not counted as the default"
        );
        tool.money.currency = Some("currency".to_owned());
        let unsaid = json!({"amount": 9, "transfers": [{"amount": 9, "currency": "USD"}]});
        assert!(validate(&tool, &unsaid).is_err());
    }

    #[test]
    fn strict_closes_what_is_listed_and_shows_money_as_an_integer() {
        let money = MoneyRule {
            amounts: vec!["amount".into(), "transfers[].amount".into()],
            ..MoneyRule::default()
        };
        let strict_once = strict(&order(), &money).unwrap();
        assert_eq!(strict_once["additionalProperties"], json!(false));
        let named = &strict_once["properties"];
        assert_eq!(named["amount"], json!({"type": "integer", "minimum": 100}));
        assert_eq!(named["notes"].get("additionalProperties"), None);
        let item = &named["transfers"]["items"];
        assert_eq!(item["additionalProperties"], json!(false));
        assert_eq!(
            item["properties"]["amount"],
            json!({"type": "integer", "minimum": 1})
        );
        assert_eq!(strict(&strict_once, &money).unwrap(), strict_once);
    }

    #[test]
    fn branches_and_references_are_closed_around_and_not_inside() {
        let schema = json!({
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "additionalProperties": true,
            "allOf": [
                {"properties": {"a": {"type": "string"}}, "additionalProperties": true},
                {"properties": {"b": {"$ref": "#/$defs/inner"}}},
            ],
            "$defs": {"inner": {"type": "object", "properties": {"c": {"type": "integer"}}}},
        });
        let tool = tool(schema, &[], &[]);
        assert_eq!(validate(&tool, &json!({"a": "x", "b": {"c": 1}})), Ok(()));
        for bad in [
            json!({"a": "x", "d": 1}),
            json!({"b": {"c": 1, "d": 2}}),
            json!({"a": 1}),
        ] {
            assert!(validate(&tool, &bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_schema_that_could_be_read_two_ways_is_refused_whole() {
        let bad = [
            json!(true),
            json!({"$ref": "https://example.com/schema.json"}),
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
            json!({"properties": {"x": {"allOf": [{"$ref": "#/properties/x"}]}}}),
            json!({"$ref": "#"}),
            json!({"properties": {"a": {"dependencies": {"b": ["c"]}}}}),
            json!({"properties": {"a": {"type": "string", "pattern": "(?=x)y"}}}),
            json!({"properties": {"a": {"type": "array", "items": [{"type": "string"}]}}}),
            json!({"properties": {"a": {"minimum": 1, "exclusiveMinimum": true}}}),
            json!({"properties": {"a": {"type": "decimal"}}}),
            json!({"properties": {"a": {"$id": "x", "properties": {}}}}),
        ];
        for schema in bad {
            let why = usable(&schema, &MoneyRule::default());
            assert!(why.is_err(), "{schema}");
            assert!(validate(&tool(schema, &[], &[]), &json!({})).is_err());
        }
        let named_like_keywords = json!({"properties": {"$id": {"type": "string"},
            "dependencies": {"type": "string"}, "x": {"enum": [{"$anchor": "y"}]}}});
        assert_eq!(usable(&named_like_keywords, &MoneyRule::default()), Ok(()));
        let tree = json!({"properties": {"child": {"$ref": "#"}}});
        assert_eq!(usable(&tree, &MoneyRule::default()), Ok(()));
    }

    #[test]
    fn messages_never_repeat_a_value() {
        let tool = tool(order(), &["amount"], &[("currency", "INR")]);
        for args in [
            json!({"amount": 100, "currency": "sekrit"}),
            json!({"amount": "sekrit"}),
            json!({"amount": 100, "currency": "SEK", "notes": "sekrit"}),
        ] {
            let why = validate(&tool, &args).unwrap_err();
            assert!(!why.contains("sekrit") && !why.contains("SEK"), "{why}");
        }
        let long = json!({"amount": 100, "x".repeat(10_000): 1});
        assert!(validate(&tool, &long).unwrap_err().len() < 500);
    }

    /// What a worker of the runtime has.
    const STACK: usize = 2 * 1024 * 1024;

    #[test]
    fn the_deepest_that_is_let_through_fits_the_stack() {
        let mut defs = Map::new();
        let to = |n: usize| json!({"$ref": format!("#/$defs/d{n}")});
        for n in 0..7 {
            defs.insert(format!("d{n}"), json!({"allOf": [to(n + 1)]}));
        }
        defs.insert("d7".into(), json!({"properties": {"a": to(0)}}));
        let schema = json!({"properties": {"a": to(0)}, "$defs": defs});
        let one_more =
            json!({"properties": {"a": {"allOf": [{"allOf": [to(0)]}]}}, "$defs": schema["$defs"]});
        assert!(strict(&one_more, &MoneyRule::default()).is_err());
        let tool = tool(schema, &[], &[]);
        let mut args = json!({});
        for _ in 0..100 {
            args = json!({"a": args});
        }
        let thread = std::thread::Builder::new().stack_size(STACK);
        let checked = thread.spawn(move || validate(&tool, &args)).unwrap();
        assert_eq!(checked.join().unwrap(), Ok(()));
    }
}
