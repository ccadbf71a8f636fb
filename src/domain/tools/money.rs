//! What a registered tool moves, as its document says, and whether that can be believed.
//!
//! Every argument that looks like money is either an amount that limits count, or somebody said
//! that it is none (an operator: see [`word`](super::word)). An amount has to be there in every
//! call, because of one that is left out nobody but the other side knows what it is.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::invalid::Invalid;
use super::pointer;
use crate::domain::money::Currency;
use crate::domain::rules;
use crate::domain::tool::{MoneyRule, Risk};

/// Most paths of each kind.
const MAX_PATHS: usize = 50;

/// What a tool moves.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum Money {
    /// `"none"`: nothing, whatever its arguments look like.
    Nothing,
    /// Amounts of minor units that stand in the arguments.
    Amounts(MoneyAmounts),
}

/// Where the arguments say how much. A place is a JSON Pointer (`/to/sum`) or a path (`to.sum`,
/// `lines[].sum`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoneyAmounts {
    /// The amount, a whole number of minor units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<String>,
    /// In its place: several, the largest of which counts. `lines[].sum` is the sum of a list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amounts: Vec<String>,
    /// JSON Pointer to the currency, or the currency itself.
    pub currency: String,
    /// Arguments that look like money and are none, with all that is inside of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub none: Vec<String>,
}

impl Money {
    /// How to read the effective amount out of arguments.
    pub fn rule(&self) -> MoneyRule {
        match self {
            Money::Nothing => MoneyRule::default(),
            Money::Amounts(amounts) => amounts.rule(),
        }
    }

    /// Whether it says of something that looks like money that it is none.
    pub(super) fn denies(&self) -> bool {
        match self {
            Money::Nothing => true,
            Money::Amounts(amounts) => !amounts.none.is_empty(),
        }
    }
}

impl MoneyAmounts {
    fn rule(&self) -> MoneyRule {
        let named = self.currency.starts_with('/');
        MoneyRule {
            amounts: self.places().filter_map(|(_, at)| path(at)).collect(),
            currency: path(&self.currency).filter(|_| named),
            default_currency: Currency::parse(&self.currency).filter(|_| !named),
            ..MoneyRule::default()
        }
    }

    /// Each amount, and where the document says it.
    fn places(&self) -> impl Iterator<Item = (String, &str)> {
        let one = self.amount.iter();
        let one = one.map(|at| ("/money/amount".to_owned(), at.as_str()));
        let all = self.amounts.iter().enumerate();
        let all = all.map(|(index, at)| (format!("/money/amounts/{index}"), at.as_str()));
        one.chain(all)
    }

    fn check(&self, schema: &Value) -> Result<(), Invalid> {
        let wrong = |at: &str, detail: &str| Err(Invalid::tool(at, detail));
        if self.amount.is_some() != self.amounts.is_empty() {
            return wrong("/money", "name either `amount` or `amounts`");
        }
        if self.amounts.len() > MAX_PATHS || self.none.len() > MAX_PATHS {
            return wrong("/money", "names more arguments than are looked at");
        }
        for (pointer, at) in self.places() {
            in_every_call(schema, at).map_err(|why| Invalid::tool(pointer, why))?;
        }
        if self.currency.starts_with('/') {
            let found = in_every_call(schema, &self.currency);
            found.map_err(|why| Invalid::tool("/money/currency", why))
        } else if Currency::parse(&self.currency).is_none_or(|code| code.decimals().is_none()) {
            let detail = "a JSON Pointer, or a code of ISO 4217, such as INR";
            wrong("/money/currency", detail)
        } else {
            Ok(())
        }
    }
}

/// Checks what a tool of this risk and schema says of money. One that is switched off moves
/// nothing: it is asked when it is enabled.
pub(super) fn check(
    money: Option<&Money>,
    risk: Risk,
    enabled: bool,
    schema: &Value,
) -> Result<(), Invalid> {
    let wrong = |detail: String| Err(Invalid::tool("/money", detail));
    let (named, besides) = match money {
        Some(Money::Nothing) => return Ok(()),
        None if !enabled => return Ok(()),
        None => (Vec::new(), Vec::new()),
        Some(Money::Amounts(_)) if risk == Risk::Low => {
            return wrong("a tool that moves money is of high risk".to_owned());
        }
        Some(Money::Amounts(amounts)) => {
            amounts.check(schema)?;
            let rule = amounts.rule();
            let named = rule.amounts.into_iter().chain(rule.currency).collect();
            let besides = amounts.none.iter();
            let besides = besides.map(|at| path(at).unwrap_or_else(|| at.clone()));
            (named, besides.collect())
        }
    };
    let unspoken = rules::unspoken(schema, &named, &besides, rules::is_money);
    let Some(argument) = unspoken else {
        return Ok(());
    };
    wrong(match (money, risk) {
        (Some(_), _) => format!(
            "the argument `{argument}` looks like money, too: name it in `amounts`, or let an \
             operator name it in `none`"
        ),
        (None, Risk::High) => format!(
            "the argument `{argument}` looks like money: say {{\"amounts\": [\"{argument}\"], \
             \"currency\": ...}}, or let an operator say \"none\""
        ),
        (None, Risk::Low) => format!(
            "the argument `{argument}` looks like money, and a tool that moves money is of high \
             risk: make it one, or let an operator say \"none\""
        ),
    })
}

/// Checks where arguments go: what is an amount to the other side counts as one here, whatever the
/// argument is called.
pub(super) fn check_places(money: Option<&Money>, places: &[(&str, &str)]) -> Result<(), Invalid> {
    let (named, besides) = match money {
        Some(Money::Nothing) => return Ok(()),
        Some(Money::Amounts(amounts)) => {
            let rule = amounts.rule();
            let named: Vec<String> = rule.amounts.into_iter().chain(rule.currency).collect();
            (named, amounts.none.as_slice())
        }
        None => (Vec::new(), [].as_slice()),
    };
    let spoken = |pointer: &str| {
        let at = path(pointer).unwrap_or_default();
        let within = |spoken: &String| {
            let spoken = path(spoken).unwrap_or_else(|| spoken.clone());
            at == spoken
                || at
                    .strip_prefix(&spoken)
                    .is_some_and(|rest| rest.starts_with('.'))
        };
        // A list is handed on as a whole.
        let inside = |amount: &String| {
            amount
                .strip_prefix(&at)
                .is_some_and(|rest| rest.starts_with(['.', '[']))
        };
        named.contains(&at) || named.iter().any(inside) || besides.iter().any(within)
    };
    let text = json!({"type": "string"});
    let looks = |name: &str| rules::is_money(name, &text);
    match places.iter().find(|(name, at)| looks(name) && !spoken(at)) {
        None => Ok(()),
        Some((name, at)) => {
            let detail = format!(
                "the argument `{at}` is sent as `{name}`, which looks like money: name it in \
                 `amounts`, or let an operator say \"none\""
            );
            Err(Invalid::tool("/money", detail))
        }
    }
}

/// Checks what a tool sends in every call: an amount among it is under no limit, because no argument
/// says it.
pub(super) fn check_constants(
    money: Option<&Money>,
    sent: &[(Vec<&str>, Value)],
) -> Result<(), Invalid> {
    let besides: &[String] = match money {
        Some(Money::Nothing) => return Ok(()),
        Some(Money::Amounts(amounts)) => &amounts.none,
        None => &[],
    };
    let spoken = |name: &str| besides.iter().any(|at| at.trim_start_matches('/') == name);
    let is_amount = |at: &[&str], value: &Value| {
        let number = match value {
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => text.parse::<f64>().is_ok_and(|number| number != 0.0),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
        };
        let within = at
            .iter()
            .any(|name| rules::is_money(name, &json!({"type": "string"})));
        let last = at.last();
        number
            && (within
                || last.is_some_and(|name| rules::is_money(name, &json!({"type": "integer"}))))
    };
    let found = sent
        .iter()
        .find(|(at, value)| is_amount(at, value) && !spoken(&at.join(".")));
    let Some((at, value)) = found else {
        return Ok(());
    };
    let name = at.join(".");
    let detail = format!(
        "every call sends `{name}`: {value}, which looks like money and is no argument that limits \
         could count: make it an argument, or let an operator say \"none\" (or name `{name}` in `none`)"
    );
    Err(Invalid::tool("/money", detail))
}

pub(super) fn in_every_call(schema: &Value, at: &str) -> Result<(), String> {
    let Some(path) = path(at) else {
        return Err("must lead through plain names, and not end in a list".to_owned());
    };
    if let Err(near) = rules::leads(schema, &path) {
        let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        return Err(format!("`{at}` is no argument of `input_schema`{hint}"));
    }
    match rules::required(schema, &path) {
        true => Ok(()),
        false => Err(format!(
            "`{at}` must be required in every branch of `input_schema`: nobody knows what a call \
             moves that leaves it out"
        )),
    }
}

/// A place as rules about money are written: `/a/b` is `a.b`, and a path is itself; `None` where
/// that would say another thing.
pub(super) fn path(at: &str) -> Option<String> {
    if at.starts_with('/') {
        return dotted(at);
    }
    let plain = |step: &str| {
        let name = step.strip_suffix("[]").unwrap_or(step);
        !name.is_empty() && !name.contains(['[', ']'])
    };
    (at.split('.').all(plain) && !at.ends_with("[]")).then(|| at.to_owned())
}

fn dotted(pointer: &str) -> Option<String> {
    let steps = pointer::steps(pointer)?;
    let plain = |step: &String| {
        let digits = step.bytes().all(|byte| byte.is_ascii_digit());
        !digits && !step.contains(['.', '[', ']'])
    };
    match !steps.is_empty() && steps.iter().all(plain) {
        true => Some(steps.join(".")),
        false => None,
    }
}

impl TryFrom<Value> for Money {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        match value {
            Value::String(word) if word == "none" => Ok(Money::Nothing),
            Value::Object(_) => serde_json::from_value(value)
                .map(Money::Amounts)
                .map_err(|error| error.to_string()),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => {
                let known = "{\"amount\": \"/pointer\", \"currency\": \"INR\"} or \"none\"";
                Err(format!("here belongs {known}"))
            }
        }
    }
}

impl From<Money> for Value {
    fn from(money: Money) -> Value {
        match money {
            Money::Nothing => json!("none"),
            Money::Amounts(amounts) => json!(amounts),
        }
    }
}
