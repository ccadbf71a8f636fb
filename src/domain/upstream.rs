//! The operator's word about another MCP server's tools: how risky each is, what it moves, which
//! answers prove an effect, and who can be asked later.
//!
//! Nothing here is learned from the upstream. Where the operator is silent the careful reading
//! holds: high risk, an error proves nothing, nobody can be asked, nothing is sent twice.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::document::Document;
use super::names::{Identity, Wish, fitted};
use super::rules;
use super::schema::{self, Checker};
use super::time::Timestamp;
use super::tool::{Executor, MoneyRule, PayeeRule, Risk, Standing, Tool, at_path};

/// Memory for one compiled pattern.
const MAX_PATTERN_BYTES: usize = 1024 * 1024;

/// Variables of our own environment that a child process gets where they exist: what it needs to
/// run at all, to keep its files, and to reach the network as we do. No secret is among them.
pub const INHERITED: [&str; 5] = ["PATH", "HOME", "TMPDIR", "SSL_CERT_FILE", "HTTPS_PROXY"];

/// What the operator says about one upstream.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamRules {
    /// Put before the name of each of its tools. Without it a tool keeps its own name, unless
    /// another tool has that name already; then it is called `<upstream>_<name>`.
    pub prefix: Option<String>,
    /// Accept everything it offers at the very first contact, when nothing of it was ever
    /// accepted. What is new or changed later waits for an operator all the same.
    pub trust_on_first_use: bool,
    /// Leave out tools that have no rule below.
    pub only_listed: bool,
    /// It truncates fractions: a number in the arguments must be whole wherever its schemas name
    /// one.
    pub whole_numbers: bool,
    /// Patterns of arguments by their path, for every tool that has no other for that path.
    pub patterns: BTreeMap<String, Pattern>,
    /// What a final error looks like, for every tool that says nothing else.
    pub error_final: Option<Pattern>,
    /// Rules by the upstream's own tool names.
    pub tools: BTreeMap<String, ToolRule>,
    /// Stands for where it leads: its address or its program, and all that is given to it. Part of
    /// what a proposal binds, so that nothing that was approved goes elsewhere. Empty where nobody says.
    #[serde(skip)]
    pub place: String,
}

/// What the operator says about one tool.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ToolRule {
    /// `low` passes through, everything else takes two steps. The upstream's hints may raise it.
    pub risk: Option<Risk>,
    /// Every proposal waits for a person.
    pub hold: bool,
    /// What a call can move at most, or `"none"`: nothing, whatever its arguments look like.
    pub money: MoneyWord,
    /// Whom a call pays.
    pub payee: PayeeRule,
    /// Patterns that the texts at these paths (`a.b`, `a[].b`) must match in full.
    pub patterns: BTreeMap<String, Pattern>,
    /// A number in the arguments must be whole wherever the schema names one.
    pub whole_numbers: bool,
    /// Used instead of the upstream's schema of arguments.
    pub schema: Option<Value>,
    /// The name of an argument into which our reference goes. Callers may not give it.
    pub reference: Option<String>,
    /// Where a result that proves an effect carries the effect's id.
    pub result_id: Option<ResultId>,
    /// Where that result says how much left, in minor units. Without it the proposed amount is
    /// booked, and nothing where the amount was everything there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled_amount: Option<String>,
    /// What a result that proves an effect must repeat: path in the result -> what stands there.
    pub echoes: BTreeMap<String, Term>,
    /// Every error result is a clear no.
    pub errors_are_final: bool,
    /// An error result whose text matches this in full is a clear no.
    pub error_final: Option<Pattern>,
    /// How to ask whether an effect exists.
    pub readback: Option<Readback>,
    /// The upstream carries a repeated call with the same reference out once, for so many seconds.
    pub replay_secs: Option<i64>,
}

/// The operator's word on what a tool moves.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum MoneyWord {
    /// Nobody said anything. Good enough only where no argument looks like money.
    #[default]
    Unsaid,
    /// `"none"`: it moves nothing.
    Nothing,
    /// It moves what this rule says.
    Moves(MoneyRule),
}

impl MoneyWord {
    /// How to read the amount out of arguments.
    pub fn rule(&self) -> MoneyRule {
        match self {
            MoneyWord::Unsaid | MoneyWord::Nothing => MoneyRule::default(),
            MoneyWord::Moves(rule) => rule.clone(),
        }
    }
}

impl TryFrom<Value> for MoneyWord {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::Null => Ok(MoneyWord::Unsaid),
            Value::String(word) if word == "none" => Ok(MoneyWord::Nothing),
            value @ Value::Object(_) => {
                let rule: MoneyRule =
                    serde_json::from_value(value).map_err(|error| error.to_string())?;
                if rule.moves_money() {
                    Ok(MoneyWord::Moves(rule))
                } else {
                    Err("money: name `amounts`, say `always = true`, or write \"none\"".to_owned())
                }
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err("money: a table like { amounts = [\"amount\"] } or \"none\"".to_owned())
            }
        }
    }
}

impl From<MoneyWord> for Value {
    fn from(word: MoneyWord) -> Value {
        match word {
            MoneyWord::Unsaid => Value::Null,
            MoneyWord::Nothing => json!("none"),
            MoneyWord::Moves(rule) => json!(rule),
        }
    }
}

/// Where a result carries the id of the effect.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResultId {
    /// Its path in the result.
    pub path: String,
    /// What it must look like.
    pub pattern: Pattern,
}

/// A read-only call that shows whether an effect exists.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Readback {
    /// The upstream's own tool.
    pub tool: String,
    /// Its arguments.
    #[serde(default)]
    pub arguments: BTreeMap<String, Term>,
    /// What its result shows if the effect exists.
    pub found_if: FoundIf,
}

/// A test of a result: one of the values at `path` equals `equals` or matches `pattern`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FoundIf {
    /// A path in the result, `items[].receipt` for lists.
    pub path: String,
    /// The value itself.
    #[serde(default)]
    pub equals: Option<Term>,
    /// What it looks like.
    #[serde(default)]
    pub pattern: Option<Pattern>,
}

/// A regular expression that a text must match from its first to its last character. Matching
/// takes linear time.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern {
    text: String,
    regex: Arc<Regex>,
}

impl Pattern {
    /// The compiled pattern, anchored at both ends.
    pub fn regex(&self) -> &Arc<Regex> {
        &self.regex
    }

    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let compiled = RegexBuilder::new(&format!("^(?:{text})$"))
            .size_limit(MAX_PATTERN_BYTES)
            .build();
        match compiled {
            Ok(regex) => Ok(Self {
                text,
                regex: Arc::new(regex),
            }),
            Err(error) => Err(format!("`{text}` is no usable pattern: {error}")),
        }
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> String {
        pattern.text
    }
}

/// A value in a rule: `"$args.a.b"` is taken from the order's arguments, `"$reference"` is our
/// reference, `"$$x"` is the text `$x`, and everything else is itself.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum Term {
    /// What the order's arguments say at this path.
    Argument(String),
    /// Our reference.
    Reference,
    /// This value.
    Literal(Value),
}

impl Term {
    /// The value for an order; `None` where its arguments have none.
    pub fn value(&self, args: &Value, reference: &str) -> Option<Value> {
        match self {
            Term::Argument(path) => {
                let values = at_path(args, path).ok()?;
                values.first().map(|value| (*value).clone())
            }
            Term::Reference => Some(Value::String(reference.to_owned())),
            Term::Literal(value) => Some(value.clone()),
        }
    }
}

impl TryFrom<Value> for Term {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let Some(name) = value.as_str().and_then(|text| text.strip_prefix('$')) else {
            return Ok(Term::Literal(value));
        };
        if name.starts_with('$') {
            return Ok(Term::Literal(Value::String(name.to_owned())));
        }
        match name.strip_prefix("args.") {
            Some(path) if !path.is_empty() => Ok(Term::Argument(path.to_owned())),
            _ if name == "reference" => Ok(Term::Reference),
            _ => Err(format!(
                "`${name}` is neither `$args.<path>` nor `$reference`"
            )),
        }
    }
}

impl From<Term> for Value {
    fn from(term: Term) -> Value {
        match term {
            Term::Argument(path) => Value::String(format!("$args.{path}")),
            Term::Reference => Value::String("$reference".to_owned()),
            Term::Literal(Value::String(text)) if text.starts_with('$') => {
                Value::String(format!("${text}"))
            }
            Term::Literal(value) => value,
        }
    }
}

impl UpstreamRules {
    /// What is wrong with the rules, as sentences for whoever wrote them.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let plain = |text: &String| text.parse::<super::ids::ToolName>().is_ok();
        if self.prefix.as_ref().is_some_and(|prefix| !plain(prefix)) {
            problems.push("prefix: letters, digits and any of . _ / - belong here".to_owned());
        }
        for (name, rule) in &self.tools {
            let mut complain = |what: &str| problems.push(format!("tools.{name}: {what}"));
            if rule
                .readback
                .as_ref()
                .is_some_and(|rule| rule.found_if.is_empty())
            {
                complain("readback.found_if needs `equals` or `pattern`");
            }
            if rule.readback.as_ref().is_some_and(|rule| !rule.is_bound()) {
                complain(
                    "readback has to name `$reference` or `$args...`, or it finds anybody's effect",
                );
            }
            for (field, path) in rule.paths() {
                if path.is_empty() || path.starts_with(['/', '$']) {
                    let meant = path.trim_start_matches(['/', '$', '.']).replace('/', ".");
                    complain(&format!(
                        "{field} = {path:?} is no path: steps are parted by dots, such as {meant:?}"
                    ));
                }
            }
            let currency = rule.money.rule().default_currency;
            if currency.is_some_and(|code| code.decimals().is_none()) {
                complain("money.default_currency has to be a code of ISO 4217, such as INR");
            }
            if rule.replay_secs.is_some_and(|secs| secs <= 0) {
                complain("replay_secs counts seconds, at least 1");
            }
            if rule.replay_secs.is_some() && rule.reference.is_none() {
                complain(
                    "replay_secs needs `reference`, or the upstream cannot know the call again",
                );
            }
            if rule.risk == Some(Risk::Low) && rule.money.rule().moves_money() {
                complain("a tool that moves money cannot be low risk");
            }
        }
        problems
    }

    /// The rule for one tool, with what holds for all, if it may be in the catalogue at all.
    pub fn rule(&self, tool: &str) -> Option<ToolRule> {
        let mut rule = match self.tools.get(tool) {
            Some(rule) => rule.clone(),
            None if self.only_listed => return None,
            None => ToolRule::default(),
        };
        rule.whole_numbers |= self.whole_numbers;
        for (path, pattern) in &self.patterns {
            let own = rule.patterns.entry(path.clone());
            own.or_insert_with(|| pattern.clone());
        }
        if rule.error_final.is_none() {
            rule.error_final.clone_from(&self.error_final);
        }
        Some(rule)
    }
}

impl ToolRule {
    /// Every path in it, each with the field that names it.
    fn paths(&self) -> Vec<(&'static str, String)> {
        let money = self.money.rule();
        let one = |field, path: Option<&String>| path.map(|path| (field, path.clone()));
        let result = self.result_id.as_ref().map(|rule| &rule.path);
        let found = self.readback.as_ref().map(|rule| &rule.found_if.path);
        let single = [
            one("settled_amount", self.settled_amount.as_ref()),
            one("result_id.path", result),
            one("readback.found_if.path", found),
            one("money.currency", money.currency.as_ref()),
            one("payee.account", self.payee.account.as_ref()),
            one("payee.name", self.payee.name.as_ref()),
            one("payee.url", self.payee.url.as_ref()),
        ];
        let echoes = self.echoes.keys().map(|path| ("echoes", path.clone()));
        let patterns = self.patterns.keys().map(|path| ("patterns", path.clone()));
        let amounts = money
            .amounts
            .into_iter()
            .map(|path| ("money.amounts", path));
        let unbounded = money.unbounded_if.into_iter();
        let unbounded = unbounded.map(|path| ("money.unbounded_if", path));
        let several = echoes.chain(patterns).chain(amounts).chain(unbounded);
        single.into_iter().flatten().chain(several).collect()
    }
}

impl Readback {
    /// Whether the question or the answer that is looked for is about one order.
    fn is_bound(&self) -> bool {
        let mut terms = self.arguments.values().chain(&self.found_if.equals);
        terms.any(|term| matches!(term, Term::Argument(_) | Term::Reference))
    }
}

impl FoundIf {
    fn is_empty(&self) -> bool {
        self.equals.is_none() && self.pattern.is_none()
    }
}

/// A tool as its upstream describes it: what an operator accepts, word by word.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Definition {
    /// Its name there.
    pub name: String,
    /// Its words.
    pub description: String,
    /// Its schema of arguments.
    pub input_schema: Value,
    /// Its schema of results, if it has one.
    pub output_schema: Option<Value>,
    /// Its hints, or null.
    pub annotations: Value,
}

impl Definition {
    /// SHA-256 (hex) over everything in it.
    pub fn digest(&self) -> String {
        Tool::digest_of(&json!(self))
    }

    /// Which parts differ from `other`, by name.
    pub fn differences(&self, other: &Definition) -> Vec<&'static str> {
        let parts = [
            ("name", self.name != other.name),
            ("description", self.description != other.description),
            ("input_schema", self.input_schema != other.input_schema),
            ("output_schema", self.output_schema != other.output_schema),
            ("annotations", self.annotations != other.annotations),
        ];
        let differing = parts.into_iter().filter(|(_, differs)| *differs);
        differing.map(|(part, _)| part).collect()
    }

    /// Whose tool it is and what it would like to be called; `None` if the rules leave it out.
    pub fn wish(&self, upstream: &str, rules: &UpstreamRules) -> Option<Wish> {
        rules.rule(&self.name)?;
        let prefix = rules.prefix.as_deref().unwrap_or_default();
        Some(Wish {
            of: Identity {
                upstream: upstream.to_owned(),
                tool: self.name.clone(),
            },
            wanted: format!("{prefix}{}", self.name),
        })
    }

    /// The tool of the catalogue that this definition and the operator's rules make, and why it
    /// cannot be used, if it cannot. Its name is the one it would like to have. `None` if the rules
    /// leave it out. Its schemas are held to their bounds and made strict; nothing is compiled.
    pub fn tool(
        &self,
        upstream: &str,
        rules: &UpstreamRules,
        standing: Standing,
    ) -> Option<(Tool, Option<String>)> {
        let rule = Arc::new(rules.rule(&self.name)?);
        let name = fitted(&self.wish(upstream, rules)?.wanted).parse().ok()?;
        let money = rule.money.rule();
        let written = rule.schema.as_ref().unwrap_or(&self.input_schema);
        let (input_schema, problem) = match enforced(written, &rule, &money) {
            Ok(strict) => {
                let outcome = self.output_schema.as_ref();
                let outcome = outcome.and_then(|schema| schema::readable(schema).err());
                let problem = outcome
                    .map(|why| format!("its schema of results cannot be used: {why}"))
                    .or_else(|| rules::gaps(upstream, self, rules));
                (strict, problem)
            }
            Err(why) => {
                let why = format!("its schema cannot be used: {why}");
                // Takes nothing, and is not what was too large to be looked at.
                (json!({"type": "object", "not": {}}), Some(why))
            }
        };
        let patterns = rule.patterns.iter();
        let patterns = patterns.map(|(path, pattern)| (path.clone(), pattern.regex().clone()));
        let mut identity = json!({"upstream": upstream, "definition": self, "rule": *rule});
        if !rules.place.is_empty() {
            identity["place"] = json!(rules.place);
        }
        let tool = Tool {
            name,
            description: self.description.clone(),
            input_schema,
            output_schema: self.output_schema.clone().filter(|_| problem.is_none()),
            risk: self.risk(rule.risk),
            money,
            payee: rule.payee.clone(),
            patterns: patterns.collect(),
            hold: rule.hold,
            standing,
            digest: Tool::digest_of(&identity),
            executor: Executor::Upstream {
                upstream: upstream.to_owned(),
                tool: self.name.clone(),
                rule,
            },
            checker: Checker::default(),
        };
        Some((tool, problem))
    }

    /// The risk of the tool: the operator's word, which its hints may only raise.
    pub fn risk(&self, word: Option<Risk>) -> Risk {
        let hint = |name: &str| self.annotations.get(name).and_then(Value::as_bool);
        let admits = hint("readOnlyHint") == Some(false) || hint("destructiveHint") == Some(true);
        match word {
            Some(Risk::Low) if !admits => Risk::Low,
            Some(Risk::Low | Risk::High) | None => Risk::High,
        }
    }
}

/// The schema of a tool's arguments as it is held to. Looked at for its size before anything walks
/// it.
fn enforced(written: &Value, rule: &ToolRule, money: &MoneyRule) -> Result<Value, String> {
    schema::readable(written)?;
    let mut schema = written.clone();
    if let Some(field) = &rule.reference {
        withhold(&mut schema, field);
    }
    if rule.whole_numbers {
        make_whole(&mut schema);
    }
    schema::strict(&schema, money)
}

/// Takes an argument out of a schema, so that a caller who gives it is refused.
fn withhold(schema: &mut Value, field: &str) {
    if let Some(named) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        named.remove(field);
    }
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| name != field);
    }
}

/// Says `integer` wherever a schema says `number`.
fn make_whole(schema: &mut Value) {
    let whole = |kind: &mut Value| {
        if *kind == "number" {
            *kind = json!("integer");
        }
    };
    match schema {
        Value::Object(map) => {
            match map.get_mut("type") {
                Some(Value::Array(kinds)) => kinds.iter_mut().for_each(whole),
                Some(kind) => whole(kind),
                None => {}
            }
            map.values_mut().for_each(make_whole);
        }
        Value::Array(items) => items.iter_mut().for_each(make_whole),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What an operator accepted, and when. Named by its upstream and its tool.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Pin {
    /// Digest of the definition.
    pub digest: String,
    /// The definition itself, so that a change can be shown.
    pub definition: Definition,
    /// Who accepted it.
    pub accepted_by: String,
    /// When.
    pub accepted_at: Timestamp,
    /// The latest other definition that was reported, by its digest, so that each is told once.
    #[serde(default)]
    pub reported: Option<String>,
}

impl Document for Pin {
    const KIND: &'static str = "pin";
    const CACHED: bool = true;
    type Id = Identity;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(annotations: Value) -> Definition {
        Definition {
            name: "x".into(),
            description: "does x".into(),
            input_schema: json!({"type": "object"}),
            output_schema: None,
            annotations,
        }
    }

    #[test]
    #[rustfmt::skip]
    fn hints_only_raise_the_risk() {
        let cases = [
            (Some(Risk::Low),  json!(null),                          Risk::Low),
            (Some(Risk::Low),  json!({"readOnlyHint": true}),        Risk::Low),
            (Some(Risk::Low),  json!({"readOnlyHint": false}),       Risk::High),
            (Some(Risk::Low),  json!({"destructiveHint": true}),     Risk::High),
            (Some(Risk::Low),  json!({"destructiveHint": true, "readOnlyHint": true}), Risk::High),
            (Some(Risk::High), json!({"readOnlyHint": true}),        Risk::High),
            (None,             json!({"readOnlyHint": true}),        Risk::High),
            (None,             json!({"destructiveHint": false}),    Risk::High),
        ];
        for (word, hints, risk) in cases {
            assert_eq!(definition(hints.clone()).risk(word), risk, "{word:?} {hints}");
        }
    }

    #[test]
    fn the_tool_is_as_strict_as_the_rules_and_its_reference_is_not_the_callers() {
        let mut definition = definition(json!({"readOnlyHint": true}));
        definition.input_schema = json!({
            "type": "object",
            "properties": {"amount": {"type": "number"}, "receipt": {"type": "string"}},
            "required": ["amount", "receipt"],
        });
        let mut rules: UpstreamRules = serde_json::from_value(json!({
            "prefix": "bank_",
            "tools": {"x": {"money": {"amounts": ["amount"]}, "reference": "receipt"}},
        }))
        .unwrap();
        let (tool, problem) = definition.tool("u", &rules, Standing::New).unwrap();
        assert_eq!((tool.name.as_str(), problem), ("bank_x", None));
        assert_eq!(schema::validate(&tool, &json!({"amount": 5})), Ok(()));
        for bad in [
            json!({"amount": 5, "receipt": "mine"}),
            json!({"amount": 5.5}),
            json!({}),
        ] {
            assert!(schema::validate(&tool, &bad).is_err(), "{bad}");
        }
        let digest = tool.digest;
        let MoneyWord::Moves(money) = &mut rules.tools.get_mut("x").unwrap().money else {
            panic!("it has a rule");
        };
        money.always = true;
        let (tool, _) = definition.tool("u", &rules, Standing::New).unwrap();
        assert_ne!(tool.digest, digest, "another rule is another tool");

        definition.input_schema = json!({"$ref": "https://example.com/x"});
        let (tool, problem) = definition.tool("u", &rules, Standing::New).unwrap();
        assert!(problem.is_some() && schema::validate(&tool, &json!({"amount": 5})).is_err());
        rules.only_listed = true;
        definition.name = "y".into();
        assert!(definition.tool("u", &rules, Standing::New).is_none());
    }

    #[test]
    fn what_holds_for_all_tools_holds_where_a_tool_says_nothing_else() {
        let rules: UpstreamRules = serde_json::from_value(json!({
            "whole_numbers": true,
            "patterns": {"id": "x_[0-9]+", "other": "y"},
            "error_final": "no",
            "tools": {"own": {"patterns": {"id": "z"}, "error_final": "never"}},
        }))
        .unwrap();
        let text = |pattern: &Pattern| String::from(pattern.clone());
        let own = rules.rule("own").unwrap();
        assert_eq!(
            (text(&own.patterns["id"]), text(&own.patterns["other"])),
            ("z".into(), "y".into())
        );
        assert_eq!(own.error_final.as_ref().map(text), Some("never".into()));
        let any = rules.rule("any").unwrap();
        assert_eq!(
            (
                text(&any.patterns["id"]),
                any.error_final.as_ref().map(text)
            ),
            ("x_[0-9]+".into(), Some("no".into()))
        );

        let mut definition = definition(json!(null));
        definition.input_schema = json!({"properties": {
            "count": {"type": "number"}, "size": {"type": ["number", "null"]},
            "number": {"type": "string"},
        }});
        let (tool, _) = definition.tool("u", &rules, Standing::New).unwrap();
        for good in [
            json!({"count": 2, "size": null, "number": "1.5"}),
            json!({"size": 3}),
        ] {
            assert_eq!(schema::validate(&tool, &good), Ok(()), "{good}");
        }
        for bad in [
            json!({"count": 2.5}),
            json!({"size": 0.1}),
            json!({"id": "x_1/../y"}),
        ] {
            assert!(schema::validate(&tool, &bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_part_of_a_definition_is_in_its_digest() {
        let base = definition(json!(null));
        let mut others = vec![base.clone(); 5];
        others[0].name = "y".into();
        others[1].description = "does y".into();
        others[2].input_schema = json!({"type": "object", "properties": {}});
        others[3].output_schema = Some(json!({}));
        others[4].annotations = json!({"readOnlyHint": true});
        let parts = [
            "name",
            "description",
            "input_schema",
            "output_schema",
            "annotations",
        ];
        for (other, part) in others.iter().zip(parts) {
            assert_ne!(other.digest(), base.digest(), "{part}");
            assert_eq!(other.differences(&base), [part]);
        }
        assert_eq!(base.digest(), definition(json!(null)).digest());
    }

    #[test]
    fn a_term_is_a_path_our_reference_or_itself() {
        let args = json!({"a": {"b": 7}});
        let value = |text: Value| {
            let term: Term = serde_json::from_value(text).unwrap();
            let again = serde_json::from_value(serde_json::to_value(&term).unwrap());
            assert_eq!(term, again.unwrap());
            term.value(&args, "ref")
        };
        assert_eq!(value(json!("$args.a.b")), Some(json!(7)));
        assert_eq!(value(json!("$args.a.c")), None);
        assert_eq!(value(json!("$reference")), Some(json!("ref")));
        assert_eq!(value(json!("$$args.a")), Some(json!("$args.a")));
        assert_eq!(value(json!({"n": 1})), Some(json!({"n": 1})));
        for bad in ["$arg.a", "$args.", "$", "$Reference"] {
            assert!(serde_json::from_value::<Term>(json!(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pattern_covers_the_whole_text_and_alternatives_do_not_escape_it() {
        let pattern = |text: &str| Pattern::try_from(text.to_owned());
        let either = pattern("pay_[0-9]+|order_[0-9]+").unwrap();
        assert!(either.matches("pay_1") && either.matches("order_1"));
        for bad in ["xpay_1", "order_1/../x", "pay_1\n", "pay_1x", ""] {
            assert!(!either.matches(bad), "{bad:?}");
        }
        assert!(pattern("(").is_err() && pattern("(?=a)b").is_err());
    }

    #[test]
    fn rules_that_would_weaken_a_promise_are_named() {
        let rules: UpstreamRules = serde_json::from_value(json!({
            "prefix": "a b",
            "tools": {
                "ask": {"readback": {"tool": "get", "found_if": {"path": "id"}}},
                "pay": {"replay_secs": 0},
                "see": {"risk": "low", "money": {"always": true}},
                "fine": {"replay_secs": 60, "reference": "receipt", "settled_amount": "a.b"},
                "settle": {"settled_amount": "/settled"},
                "echo": {"echoes": {"$.id": "$reference"}},
                "whom": {"payee": {"account": "/to"}},
                "what": {"money": {"amounts": ["/amount"]}},
                "coin": {"money": {"amounts": ["amount"], "default_currency": "XXZ"}},
            },
        }))
        .unwrap();
        let problems = rules.problems();
        let wrong = [
            "prefix",
            "tools.ask",
            "tools.pay",
            "tools.see",
            "tools.settle",
            "tools.echo",
            "tools.whom",
            "tools.what",
            "tools.coin",
        ];
        for part in wrong {
            assert!(
                problems.iter().any(|problem| problem.starts_with(part)),
                "{part}"
            );
        }
        assert!(
            !problems
                .iter()
                .any(|problem| problem.starts_with("tools.fine"))
        );
        let unknown = serde_json::from_value::<UpstreamRules>(json!({"tool": {}}));
        assert!(unknown.unwrap_err().to_string().contains("unknown field"));
    }
}
