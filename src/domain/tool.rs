//! A tool of the catalogue: what it takes, how risky it is, and what it can really move.
//!
//! Risk is the operator's word. An upstream's annotations may raise it, never lower it, and a
//! definition that changed since it was accepted is quarantined: nobody can propose with it.

use std::sync::Arc;

use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::canonical::Canonical;
use super::ids::ToolName;
use super::money::{Currency, Effective, Money};
use super::payee::{PayeeId, RegisteredPayee, folded};
use super::schema::Checker;
use super::tools::work::Registered;
use super::upstream::ToolRule;

/// Whether a call needs the two steps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    /// Read-only by the operator's word: passes through.
    Low,
    /// Everything else: propose, then commit.
    High,
}

/// Whether the definition on offer is the one an operator accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// Built in, or pinned and unchanged.
    Accepted,
    /// Offered by an upstream and never accepted.
    New,
    /// Differs from what was accepted.
    Changed,
    /// Accepted once, no longer offered.
    Gone,
    /// Accepted, and its upstream does not say at present what it offers.
    #[serde(rename = "upstream_unavailable")]
    Away,
    /// Registered, and switched off.
    Disabled,
    /// Accepted, and the operator's rules or its schema do not let it be used as they are now.
    Unusable,
}

/// Which connector translates the tool's calls.
#[derive(Clone, PartialEq, Debug)]
pub enum Executor {
    /// Done in process, no effect: the load test's tool.
    Noop,
    /// The bank, or the sandbox's, through our sidecar.
    Bank,
    /// A tool of a configured upstream MCP server.
    Upstream {
        /// The upstream's configured name.
        upstream: String,
        /// Its own name for the tool.
        tool: String,
        /// How the operator reads its answers.
        rule: Arc<ToolRule>,
    },
    /// A tool that an organisation registered, at one of its sources.
    Registered(Arc<Registered>),
}

/// How to read the effective amount out of arguments.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MoneyRule {
    /// Paths of amounts, in minor units; the largest counts. `a.b` descends, `a[].b` sums.
    pub amounts: Vec<String>,
    /// Path of the currency; absent in the arguments means `default_currency`.
    pub currency: Option<String>,
    /// Currency where the arguments name none; `None` is INR.
    pub default_currency: Option<Currency>,
    /// Paths of booleans that, when true, lift every bound on the amount.
    pub unbounded_if: Vec<String>,
    /// True if the tool moves money even when it names no amount (a full refund): unbounded then.
    pub always: bool,
}

impl MoneyRule {
    /// Whether a tool with this rule moves money, whatever one call of it names.
    pub fn moves_money(&self) -> bool {
        self.always || !self.amounts.is_empty() || !self.unbounded_if.is_empty()
    }
}

/// How to read who is paid out of arguments.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PayeeRule {
    /// Path of the account or id that is paid.
    pub account: Option<String>,
    /// Path of the vendor's name.
    pub name: Option<String>,
    /// Path of the vendor's URL.
    pub url: Option<String>,
}

/// Who is paid: as the arguments say, or, for a registered account, as the registry says.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Payee {
    /// The registered payee that the account belongs to; then name and URL are the registry's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<PayeeId>,
    /// Fund account or other id.
    pub account: Option<String>,
    /// Vendor name.
    pub name: Option<String>,
    /// Vendor URL.
    pub url: Option<String>,
}

impl Payee {
    /// Who is paid, as histories name them: registered payee, else account, else name, else
    /// domain, in the [one spelling](folded) of it.
    pub fn identity(&self) -> Option<String> {
        let id = self.id.as_ref().map(ToString::to_string);
        let named = id
            .or_else(|| self.account.clone())
            .or_else(|| self.name.clone());
        let named = named.or_else(|| {
            let url = url::Url::parse(self.url.as_deref()?).ok()?;
            url.host_str().map(str::to_owned)
        });
        named.as_deref().map(folded)
    }

    /// The vendor's name, as histories have it: not every store keeps a NUL.
    pub fn vendor(&self) -> Option<String> {
        self.name.as_ref().map(|name| name.replace('\0', ""))
    }

    /// Every name that histories may have for whoever is paid, today's first. What was paid to an
    /// account before somebody registered it is under the account.
    pub fn names(&self, registered: Option<&RegisteredPayee>) -> Vec<String> {
        let accounts = registered
            .into_iter()
            .flat_map(|payee| &payee.fund_accounts);
        let mut names: Vec<String> = self.identity().into_iter().collect();
        for name in self.account.iter().chain(accounts) {
            // Older rows have it as it was written.
            for name in [folded(name), name.clone()] {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }
}

/// One tool of the catalogue.
#[derive(Clone, Debug)]
pub struct Tool {
    /// Its name here, unique in the catalogue.
    pub name: ToolName,
    /// What it does, for agents and approvers. An upstream's words are not trusted as markup.
    pub description: String,
    /// JSON Schema of the arguments; unknown fields are refused whatever it says.
    pub input_schema: Value,
    /// JSON Schema of the result, where known.
    pub output_schema: Option<Value>,
    /// Two steps, or straight through.
    pub risk: Risk,
    /// Who carries it out.
    pub executor: Executor,
    /// What it moves.
    pub money: MoneyRule,
    /// Whom it pays.
    pub payee: PayeeRule,
    /// Paths of ids and the pattern each must match in full.
    pub patterns: Vec<(String, Arc<Regex>)>,
    /// Every proposal waits for a person, whatever the policy says.
    pub hold: bool,
    /// Whether it may be used.
    pub standing: Standing,
    /// SHA-256 (hex) of the definition; bound into proposals so that a later change is seen.
    pub digest: String,
    /// The compiled schema, made at first use by [`schema::validate`](super::schema::validate).
    pub checker: Checker,
}

impl Tool {
    /// SHA-256 of what an upstream says about a tool: name, description, schemas, annotations.
    pub fn digest_of(definition: &Value) -> String {
        Canonical::of(definition).hash().to_string()
    }

    /// The server that carries it out; `None` for what is done in process.
    pub fn server(&self) -> Option<&str> {
        match &self.executor {
            Executor::Noop => None,
            Executor::Bank => Some("razorpay"),
            Executor::Upstream { upstream, .. } => Some(upstream),
            Executor::Registered(registered) => Some(&registered.def.source),
        }
    }

    /// What a call with these (schema-checked) arguments can move at most.
    pub fn effective(&self, args: &Value) -> Effective {
        let rule = &self.money;
        let named = rule.currency.as_deref().and_then(|path| read(args, path));
        let currency = match named {
            None | Some(Value::Null) => rule.default_currency.unwrap_or(Currency::INR),
            // What names a currency that nobody can read moves none that a policy is in.
            Some(named) => {
                let read = named.as_str().and_then(Currency::read);
                read.unwrap_or(Currency::NONE)
            }
        };
        let lifted = rule.unbounded_if.iter().filter_map(|path| read(args, path));
        if lifted.into_iter().any(|flag| flag.as_bool() != Some(false)) {
            return Effective::Unbounded(currency);
        }
        let largest = rule
            .amounts
            .iter()
            .filter_map(|path| total(args, path))
            .max();
        match largest {
            Some(minor) => Effective::Amount(Money { minor, currency }),
            None if rule.always => Effective::Unbounded(currency),
            None => Effective::Nothing,
        }
    }

    /// Whether a call names none of the amounts that the tool takes, so that only whoever carries
    /// it out knows what it moves. The load test's tool moves nothing.
    pub fn lacks_amount(&self, effective: Effective) -> bool {
        let takes = !self.money.amounts.is_empty() && !self.money.always;
        takes && self.executor != Executor::Noop && effective.minor() <= 0
    }

    /// Whom a call with these arguments pays.
    pub fn payee(&self, args: &Value) -> Payee {
        let text = |path: &Option<String>| {
            let value = read(args, path.as_deref()?)?;
            value.as_str().map(str::to_owned)
        };
        // Some servers number their accounts. One that were not read would be nobody's.
        let account = |path: &Option<String>| match read(args, path.as_deref()?)? {
            Value::Number(number) => Some(number.to_string()),
            Value::String(text) => Some(text.clone()),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        Payee {
            id: None,
            account: account(&self.payee.account),
            name: text(&self.payee.name),
            url: text(&self.payee.url),
        }
    }

    /// A name in the arguments of somebody else's tool that looks like money and that no schema has:
    /// an object in which a caller may put what it likes would carry an amount past all limits.
    pub fn unread_money(&self, args: &Value) -> Option<String> {
        match &self.executor {
            Executor::Noop | Executor::Bank => return None,
            Executor::Upstream { .. } | Executor::Registered(_) => {}
        }
        super::rules::unlisted_money(&self.input_schema, &self.money.amounts, args)
    }

    /// The argument that should say whom a call of somebody else's tool pays, where this call says
    /// it in no way that can be read: nothing is there, or no plain text or number. Whoever carries
    /// it out may read something else there, and nobody would have looked at it.
    pub fn lacks_payee(&self, args: &Value) -> Option<&str> {
        match &self.executor {
            Executor::Noop | Executor::Bank => return None,
            Executor::Upstream { .. } | Executor::Registered(_) => {}
        }
        let PayeeRule { account, name, url } = &self.payee;
        let path = account.as_deref().or(name.as_deref()).or(url.as_deref())?;
        let named = match read(args, path) {
            Some(Value::String(text)) => {
                !text.trim().is_empty() && !text.chars().any(super::visible::steers)
            }
            Some(Value::Number(_)) => account.is_some(),
            Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => false,
        };
        (!named).then_some(path)
    }

    /// The first id that is no text or does not match its pattern in full, as a sentence.
    pub fn bad_pattern(&self, args: &Value) -> Option<String> {
        self.patterns.iter().find_map(|(path, pattern)| {
            let matches = |value: &&Value| {
                let found = value
                    .as_str()
                    .and_then(|text| Some((text, pattern.find(text)?)));
                found.is_some_and(|(text, found)| found.range() == (0..text.len()))
            };
            match at_path(args, path) {
                Ok(values) if values.iter().all(matches) => None,
                Ok(_) => Some(format!("`{path}` must match {pattern}")),
                Err(why) => Some(why),
            }
        })
    }
}

/// Every value at `a.b` or `a[].b`; none where a step is absent. An error where a step has
/// another shape than the path says, because then nobody can tell what an upstream would read.
pub fn at_path<'a>(args: &'a Value, path: &str) -> Result<Vec<&'a Value>, String> {
    let mut here = vec![args];
    for step in path.split('.') {
        let (key, list) = match step.strip_suffix("[]") {
            Some(key) => (key, true),
            None => (step, false),
        };
        let mut next = Vec::with_capacity(here.len());
        for value in here {
            let Some(map) = value.as_object() else {
                return Err(format!("`{path}` leads through what is no object"));
            };
            match map.get(key) {
                None => {}
                Some(Value::Array(items)) if list => next.extend(items),
                Some(_) if list => return Err(format!("`{key}` must be a list")),
                Some(value) => next.push(value),
            }
        }
        here = next;
    }
    Ok(here)
}

/// The value at `a.b.c`.
pub fn read<'a>(args: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(args, |value, key| value.get(key))
}

/// The integer at a path, or the sum over `list[].field`. Saturates rather than wraps.
fn total(args: &Value, path: &str) -> Option<i64> {
    match path.split_once("[].") {
        None => read(args, path)?.as_i64(),
        Some((list, rest)) => {
            let items = read(args, list)?.as_array()?;
            let amounts = items.iter().filter_map(|item| total(item, rest));
            Some(amounts.fold(0, i64::saturating_add))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tool(money: MoneyRule) -> Tool {
        Tool {
            name: "t".parse().unwrap(),
            description: String::new(),
            input_schema: json!({}),
            output_schema: None,
            risk: Risk::High,
            executor: Executor::Noop,
            money,
            payee: PayeeRule::default(),
            patterns: Vec::new(),
            hold: false,
            standing: Standing::Accepted,
            digest: String::new(),
            checker: Checker::default(),
        }
    }

    #[test]
    #[rustfmt::skip]
    fn what_counts_is_what_can_leave() {
        let rule = MoneyRule {
            amounts: vec!["amount".into(), "transfers[].amount".into(), "token.max_amount".into()],
            currency: Some("currency".into()),
            unbounded_if: vec!["settle_full_balance".into()],
            ..MoneyRule::default()
        };
        let inr = |minor| Effective::Amount(Money { minor, currency: Currency::INR });
        let cases = [
            (json!({"amount": 200}),                                          inr(200)),
            (json!({"amount": 200, "settle_full_balance": false}),            inr(200)),
            (json!({"amount": 200, "settle_full_balance": true}),             Effective::Unbounded(Currency::INR)),
            (json!({"amount": 200, "settle_full_balance": "yes"}),            Effective::Unbounded(Currency::INR)),
            (json!({"amount": 5, "transfers": [{"amount": 4}, {"amount": 7}]}), inr(11)),
            (json!({"amount": 5, "token": {"max_amount": 900}}),              inr(900)),
            (json!({"note": "x"}),                                            Effective::Nothing),
            (json!({"amount": 2, "currency": null}),                          inr(2)),
            (json!({"amount": 2, "currency": "inr"}),                         inr(2)),
            (json!({"amount": 2, "currency": "usd"}),                         Effective::Amount(Money { minor: 2, currency: Currency::parse("USD").unwrap() })),
            (json!({"amount": 2, "currency": "rupees"}),                      Effective::Amount(Money { minor: 2, currency: Currency::NONE })),
            (json!({"amount": 2, "currency": 356}),                           Effective::Amount(Money { minor: 2, currency: Currency::NONE })),
        ];
        for (args, expected) in cases {
            assert_eq!(tool(rule.clone()).effective(&args), expected, "{args}");
        }
        let refund = tool(MoneyRule { always: true, ..rule });
        assert_eq!(refund.effective(&json!({})), Effective::Unbounded(Currency::INR));
    }
}
