//! Any tool of any upstream MCP server, read by the operator's rules.
//!
//! A generic tool tells little: many servers answer `{}` to what they never did, call failures
//! results and timeouts errors, and fail with an error of the protocol after they have paid. So
//! without a rule only a result that says something counts as a yes, and only a request that was
//! turned away before anything began as a no. The operator's rule can demand an id, demand that the
//! result repeats what was ordered, name the errors that are final, and name a call that can be
//! asked later.
//!
//! The call is the order's arguments, with our reference where the operator has a place for it.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::reading::{Shown, id_of, look, same, whole};
use super::{Connector, Malformed};
use crate::domain::call::{
    Call, HTTP_CODE, Order, Outcome, ProviderError, Receipt, RecoveryContract, Reply, Sighting,
};
use crate::domain::strict::MAX_SAFE_INTEGER as MAX_SAFE;
use crate::domain::tool::at_path;
use crate::domain::upstream::ToolRule;

/// Longest description that is kept of an upstream's error.
const MAX_WORDS: usize = 500;

/// One tool of one upstream.
pub struct UpstreamTool {
    upstream: String,
    tool: String,
    rule: Arc<ToolRule>,
}

impl UpstreamTool {
    /// The tool named `tool` there, read by `rule`.
    pub fn new(upstream: &str, tool: &str, rule: Arc<ToolRule>) -> Self {
        Self {
            upstream: upstream.to_owned(),
            tool: tool.to_owned(),
            rule,
        }
    }

    /// What a result that is no error proves.
    fn accomplished(&self, order: &Order, content: &Value) -> Result<Receipt, String> {
        let provider_id = match &self.rule.result_id {
            Some(rule) => Some(id_of(rule, content)?),
            None if says_nothing(content) => {
                return Err("the answer says nothing about what was done".to_owned());
            }
            None => None,
        };
        let args = order.args.value();
        for (path, term) in &self.rule.echoes {
            let Some(expected) = term.value(&args, &order.reference()) else {
                continue;
            };
            let told = at_path(content, path).unwrap_or_default();
            if told.is_empty() || told.iter().any(|value| !same(value, &expected)) {
                return Err(format!("the answer's `{path}` is not what was ordered"));
            }
        }
        let settled_minor = self.settled(content);
        Ok(Receipt {
            settled_minor,
            settled_unreadable: self.rule.settled_amount.is_some() && settled_minor.is_none(),
            ..receipt(provider_id, content)
        })
    }

    /// How much left, where the rule says that the answer tells. Digits in a text count as well,
    /// and what is more than any account holds is the most there is: told, and not passed over.
    fn settled(&self, content: &Value) -> Option<i64> {
        let values = at_path(content, self.rule.settled_amount.as_deref()?).ok()?;
        match values.as_slice() {
            // More than any account holds, and more than a whole number here can be.
            [Value::Number(minor)] if minor.as_f64().is_some_and(|minor| minor >= 1e16) => {
                Some(MAX_SAFE)
            }
            [Value::Number(minor)] => {
                let minor = whole(minor).filter(|minor| *minor >= 0)?;
                Some(i64::try_from(minor).map_or(MAX_SAFE, |minor| minor.min(MAX_SAFE)))
            }
            [Value::String(digits)] => {
                let all = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
                let minor = || {
                    digits
                        .parse()
                        .map_or(MAX_SAFE, |minor: i64| minor.min(MAX_SAFE))
                };
                all.then(minor)
            }
            _ => None,
        }
    }

    fn is_final(&self, words: &str) -> bool {
        let named = self.rule.error_final.as_ref();
        self.rule.errors_are_final || named.is_some_and(|pattern| pattern.matches(words))
    }
}

impl Connector for UpstreamTool {
    fn call(&self, order: &Order) -> Result<Call, Malformed> {
        let Value::Object(mut fields) = order.args.value() else {
            return Err(Malformed("the arguments are not an object".to_owned()));
        };
        if let Some(field) = &self.rule.reference {
            let given = fields.insert(field.clone(), order.reference().into());
            if given.is_some() {
                return Err(Malformed(format!(
                    "`{field}` is not the caller's to choose"
                )));
            }
        }
        let arguments = Value::Object(fields);
        Ok(Call::new(&self.upstream, &self.tool, &arguments))
    }

    fn enquiry(&self, order: &Order) -> Option<Call> {
        let rule = self.rule.readback.as_ref()?;
        let args = order.args.value();
        let mut fields = Map::new();
        for (name, term) in &rule.arguments {
            // A question with a hole in it could find another effect than ours.
            fields.insert(name.clone(), term.value(&args, &order.reference())?);
        }
        Some(Call::new(
            &self.upstream,
            &rule.tool,
            &Value::Object(fields),
        ))
    }

    fn outcome(&self, order: &Order, reply: &Reply) -> Outcome {
        match reply {
            Reply::Result {
                content,
                is_error: false,
            } => match self.accomplished(order, content) {
                Ok(receipt) => Outcome::Executed(receipt),
                Err(why) => Outcome::Unknown(why),
            },
            Reply::Result {
                content,
                is_error: true,
            } => {
                let words = words_of(content);
                if self.is_final(&words) {
                    Outcome::Refused(refusal("upstream_error", &words))
                } else {
                    Outcome::Unknown(format!("it called it an error: {}", shortened(&words)))
                }
            }
            // No code proves that nothing was done: servers check their own output after the
            // effect, and proxies pass on what others said.
            Reply::RpcError { code, message } => {
                let words = format!("error {code}: {message}");
                if self.is_final(message) {
                    Outcome::Refused(refusal("upstream_error", &words))
                } else {
                    Outcome::Unknown(shortened(&words))
                }
            }
            Reply::TurnedAway { status, words } => {
                Outcome::Refused(refusal(&format!("{HTTP_CODE}{status}"), words))
            }
            Reply::NotSent(why) => Outcome::NotSent(why.clone()),
            Reply::TooLarge { .. } => Outcome::Unknown(reply.why()),
            Reply::Lost(why) => Outcome::Unknown(why.clone()),
        }
    }

    fn sighting(&self, order: &Order, reply: &Reply) -> Sighting {
        let Some(rule) = &self.rule.readback else {
            return Sighting::Unclear("nobody can be asked about it".to_owned());
        };
        match reply {
            Reply::Result {
                content,
                is_error: false,
            } => match look(&self.rule, rule, order, content) {
                Shown::Ours(record) => {
                    let id = self.rule.result_id.as_ref();
                    let id = id.and_then(|rule| id_of(rule, record).ok());
                    Sighting::Found(receipt(id, record))
                }
                Shown::Nothing => Sighting::Absent,
                Shown::Unclear(why) => Sighting::Unclear(why),
            },
            Reply::Result { content, .. } => {
                let words = words_of(content);
                Sighting::Unclear(format!("it called it an error: {}", shortened(&words)))
            }
            Reply::RpcError { .. }
            | Reply::TurnedAway { .. }
            | Reply::NotSent(_)
            | Reply::TooLarge { .. }
            | Reply::Lost(_) => Sighting::Unclear(shortened(&reply.why())),
        }
    }

    fn recovery(&self) -> RecoveryContract {
        RecoveryContract {
            lookup: self.rule.readback.is_some(),
            replay_secs: self.rule.replay_secs,
        }
    }
}

fn receipt(provider_id: Option<String>, content: &Value) -> Receipt {
    let state = content.get("status").and_then(Value::as_str);
    Receipt {
        provider_id,
        provider_state: state.map(str::to_owned),
        reversed: false,
        settled_unreadable: false,
        settled_minor: None,
        result: content.clone(),
        blocks: Value::Null,
    }
}

fn says_nothing(content: &Value) -> bool {
    match content {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// An error result as one text: its words, those of its blocks, or its JSON.
fn words_of(content: &Value) -> String {
    let block = |block: &Value| Some(block.get("text")?.as_str()?.to_owned());
    let blocks = content.as_array().map(|blocks| blocks.iter().map(block));
    match (
        content,
        blocks.and_then(|texts| texts.collect::<Option<Vec<_>>>()),
    ) {
        (Value::String(words), _) => words.clone(),
        (_, Some(texts)) if !texts.is_empty() => texts.join("\n"),
        _ => content.to_string(),
    }
}

fn refusal(code: &str, words: &str) -> ProviderError {
    ProviderError {
        code: code.to_owned(),
        description: shortened(words),
    }
}

fn shortened(words: &str) -> String {
    match words.char_indices().nth(MAX_WORDS) {
        Some((at, _)) => format!("{}...", &words[..at]),
        None => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::canonical::Canonical;
    use crate::domain::ids::ProposalId;
    use crate::domain::money::Effective;
    use crate::domain::time::Timestamp;
    use serde_json::json;

    fn tool(rule: Value) -> UpstreamTool {
        let rule: ToolRule = serde_json::from_value(rule).unwrap();
        UpstreamTool::new("bank", "create_refund", Arc::new(rule))
    }

    fn order(args: Value) -> Order {
        Order {
            proposal: ProposalId::at(Timestamp::from_secs(1), [7; 10]),
            tool: "create_refund".parse().unwrap(),
            args: Canonical::of(&args),
            effective: Effective::Nothing,
        }
    }

    fn refund() -> Order {
        order(json!({"payment_id": "pay_1", "amount": 500}))
    }

    fn result(content: Value) -> Reply {
        Reply::Result {
            content,
            is_error: false,
        }
    }

    fn error(content: Value) -> Reply {
        Reply::Result {
            content,
            is_error: true,
        }
    }

    fn careful() -> UpstreamTool {
        tool(json!({
            "result_id": {"path": "id", "pattern": "rfnd_[0-9]+"},
            "echoes": {"amount": "$args.amount", "payment_id": "$args.payment_id",
                       "receipt": "$reference"},
            "error_final": "(?s)Validation errors:.+|refund failed: The id .+",
            "reference": "receipt",
        }))
    }

    fn told(outcome: &Outcome) -> &'static str {
        match outcome {
            Outcome::Executed(_) => "executed",
            Outcome::Refused(_) => "refused",
            Outcome::NotSent(_) => "not sent",
            Outcome::Unknown(_) => "unknown",
        }
    }

    #[test]
    fn the_call_is_the_order_with_our_reference_in_its_place() {
        let order = refund();
        let plain = tool(json!({})).call(&order).unwrap();
        assert_eq!(
            plain,
            Call::new("bank", "create_refund", &order.args.value())
        );
        let reference = order.reference();
        let call = careful().call(&order).unwrap();
        let sent: Value = serde_json::from_str(&call.arguments).unwrap();
        assert_eq!(
            sent,
            json!({"payment_id": "pay_1", "amount": 500, "receipt": reference})
        );
        let theirs = super::tests::order(json!({"receipt": "mine"}));
        assert!(careful().call(&theirs).is_err());
    }

    #[test]
    #[rustfmt::skip]
    fn without_a_rule_only_a_telling_result_and_a_request_turned_away_are_clear() {
        let lenient = tool(json!({}));
        let cases = [
            (result(json!({"id": "x"})),        "executed"),
            (result(json!("done")),             "executed"),
            (result(json!(0)),                  "executed"),
            (result(json!({})),                 "unknown"),
            (result(json!([])),                 "unknown"),
            (result(json!(null)),               "unknown"),
            (result(json!(" ")),                "unknown"),
            (error(json!("no such payment")),   "unknown"),
            (Reply::TurnedAway { status: 401, words: "x".into() },  "refused"),
            (Reply::TooLarge { limit: 5 },      "unknown"),
            (Reply::NotSent("x".into()),        "not sent"),
            (Reply::Lost("x".into()),           "unknown"),
        ];
        for (reply, expected) in cases {
            assert_eq!(told(&lenient.outcome(&refund(), &reply)), expected, "{reply:?}");
        }
        assert_eq!(lenient.recovery(), RecoveryContract::NONE);
        assert_eq!(lenient.enquiry(&refund()), None);
        let every = tool(json!({"errors_are_final": true}));
        assert_eq!(told(&every.outcome(&refund(), &error(json!("no")))), "refused");
        // Whatever its code, an error of the protocol may come after the effect.
        let named = tool(json!({"error_final": "no such account"}));
        for code in (-32_800..=-31_990).chain(-5..=600) {
            let says = |message: &str| Reply::RpcError { code, message: message.into() };
            assert_eq!(told(&lenient.outcome(&refund(), &says("no"))), "unknown", "{code}");
            assert_eq!(told(&every.outcome(&refund(), &says("no"))), "refused", "{code}");
            assert_eq!(told(&named.outcome(&refund(), &says("no"))), "unknown", "{code}");
            assert_eq!(told(&named.outcome(&refund(), &says("no such account"))), "refused", "{code}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn with_a_rule_the_result_must_be_the_one_that_was_ordered() {
        let ours = refund().reference();
        let good = json!({"id": "rfnd_1", "amount": 500, "payment_id": "pay_1", "receipt": ours, "status": "processed"});
        let but = |field: &str, value: Value| {
            let mut other = good.clone();
            other[field] = value;
            result(other)
        };
        let cases = [
            (result(good.clone()),                      "executed"),
            (but("id", json!("rfnd_x")),                "unknown"),
            (but("id", json!(null)),                    "unknown"),
            (but("id", json!(["rfnd_1"])),              "unknown"),
            (but("amount", json!(501)),                 "unknown"),
            (but("amount", json!("500")),               "unknown"),
            (but("amount", json!(500.0)),               "executed"),
            (but("payment_id", json!("pay_2")),         "unknown"),
            (but("receipt", json!("other")),            "unknown"),
            (result(json!({})),                         "unknown"),
            (result(json!("rfnd_1")),                   "unknown"),
            (result(json!([good.clone()])),             "unknown"),
            (error(json!("Validation errors:\n- missing required parameter: amount")), "refused"),
            (error(json!("refund failed: The id provided does not exist")), "refused"),
            (error(json!("refund failed: ")),           "unknown"),
            (error(json!("refund failed: EOF")),        "unknown"),
            (error(json!("x Validation errors:\n- y")), "unknown"),
        ];
        for (reply, expected) in cases {
            assert_eq!(told(&careful().outcome(&refund(), &reply)), expected, "{reply:?}");
        }
        let Outcome::Executed(receipt) = careful().outcome(&refund(), &result(good)) else {
            panic!("not executed");
        };
        assert_eq!(receipt.provider_id.as_deref(), Some("rfnd_1"));
        assert_eq!(receipt.provider_state.as_deref(), Some("processed"));
    }

    #[test]
    fn what_left_is_read_where_the_rule_says_and_nowhere_else() {
        let rule = json!({"settled_amount": "amount_requested"});
        let settled = |rule: &Value, content: Value| {
            let outcome = tool(rule.clone()).outcome(&refund(), &result(content));
            let Outcome::Executed(receipt) = outcome else {
                panic!("not executed");
            };
            // Who promised an amount and tells none is found out.
            let promised = rule["settled_amount"].is_string();
            let unread = promised && receipt.settled_minor.is_none();
            assert_eq!(receipt.settled_unreadable, unread);
            receipt.settled_minor
        };
        let told = json!({"id": "x", "amount_requested": 9_900});
        assert_eq!(settled(&rule, told.clone()), Some(9_900));
        assert_eq!(settled(&json!({}), told), None);
        let odd = [
            (json!("9900"), 9_900),
            (json!(9_900.0), 9_900),
            (json!(0), 0),
            (json!("1000000000000000000000000000000"), MAX_SAFE),
            (json!(u64::MAX), MAX_SAFE),
            (json!(1e30), MAX_SAFE),
        ];
        for (told, expected) in odd {
            let content = json!({"id": "x", "amount_requested": told});
            assert_eq!(settled(&rule, content), Some(expected), "{told}");
        }
        for unclear in [
            json!(-1),
            json!("-9900"),
            json!("9,900"),
            json!(""),
            json!(1.5),
            json!(null),
        ] {
            assert_eq!(
                settled(&rule, json!({"id": "x", "amount_requested": unclear})),
                None
            );
        }
    }

    #[test]
    #[rustfmt::skip]
    fn a_readback_finds_misses_or_cannot_tell() {
        let tool = tool(json!({"readback": {
            "tool": "fetch_refunds",
            "arguments": {"payment_id": "$args.payment_id", "count": 100},
            "found_if": {"path": "items[].receipt", "equals": "$reference"},
        }}));
        assert!(tool.recovery().lookup);
        let call = tool.enquiry(&refund()).unwrap();
        assert_eq!(call, Call::new("bank", "fetch_refunds", &json!({"payment_id": "pay_1", "count": 100})));
        assert_eq!(tool.enquiry(&order(json!({"amount": 5}))), None, "no question with a hole");
        let ours = refund().reference();
        let cases = [
            (result(json!({"items": [{"receipt": "x"}, {"receipt": ours}]})), "found"),
            (result(json!({"items": [{"receipt": ours, "id": 1}, {"receipt": ours, "id": 2}]})), "unclear"),
            (result(json!({"items": [{"receipt": "x"}]})),  "absent"),
            (result(json!({"items": []})),                  "absent"),
            (result(json!({"items": [{}]})),                "unclear"),
            (result(json!({})),                             "unclear"),
            (result(json!({"items": null})),                "unclear"),
            (result(json!([])),                             "unclear"),
            (error(json!({"items": [{"receipt": ours}]})),  "unclear"),
            (Reply::RpcError { code: -32602, message: String::new() }, "unclear"),
            (Reply::NotSent(String::new()),                 "unclear"),
            (Reply::Lost(String::new()),                    "unclear"),
        ];
        for (reply, expected) in cases {
            let told = match tool.sighting(&refund(), &reply) {
                Sighting::Found(_) => "found",
                Sighting::Absent => "absent",
                Sighting::Refused(_) => "refused",
                Sighting::Unclear(_) => "unclear",
            };
            assert_eq!(told, expected, "{reply:?}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn a_readback_gives_the_record_of_the_order_and_nobody_elses() {
        let tool = tool(json!({
            "result_id": {"path": "id", "pattern": "r_[0-9]+"},
            "echoes": {"payment_id": "$args.payment_id", "amount": "$args.amount"},
            "readback": {
                "tool": "list", "arguments": {"ref": "$reference"},
                "found_if": {"path": "items[].status", "pattern": "done|paid"},
            },
        }));
        let ours = refund().reference();
        let mine = json!({"id": "r_1", "ref": ours, "status": "done"});
        let cases = [
            (vec![mine.clone()],                                                        Some(0)),
            (vec![json!({"id": "r_9", "ref": "other", "status": "done"}), mine.clone()], Some(1)),
            (vec![json!({"payment_id": "pay_1", "amount": 500.0, "status": "paid"})],   Some(0)),
            // What says nothing of the order, or contradicts it, is somebody else's.
            (vec![json!({"id": "r_1", "status": "done"})],                              None),
            (vec![json!({"id": "r_1", "ref": "other", "status": "done"})],              None),
            (vec![json!({"ref": ours, "amount": 501, "status": "done"})],               None),
            (vec![json!({"payment_id": "pay_2", "amount": 500, "status": "paid"})],     None),
            (vec![mine.clone(), json!({"id": "r_2", "ref": ours, "status": "paid"})],   None),
        ];
        for (items, expected) in cases {
            let sighting = tool.sighting(&refund(), &result(json!({"items": items})));
            match (expected, &sighting) {
                (Some(at), Sighting::Found(receipt)) => {
                    assert_eq!(receipt.result, items[at]);
                    assert_eq!(receipt.provider_id.as_deref(), items[at]["id"].as_str());
                }
                (None, Sighting::Unclear(_)) => {}
                _ => panic!("{items:?}: {sighting:?}"),
            }
        }
    }
}
