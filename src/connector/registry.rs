//! The built-in tools, and which connector translates which tool: one row each.
//!
//! Schemas are closed and say what the bank says. What no caller may choose is not in them: the
//! account that pays, the reference and the idempotency key.

use std::sync::Arc;

use regex::Regex;
use serde_json::{Value, json};

use super::Connector;
use super::bank::Bank;
use super::mcp::UpstreamTool;
use super::noop::Noop;
use super::razorpay::Razorpay;
use super::razorpay::bank::RazorpayX;
use super::registered::AtSource;
use crate::domain::call::{Call, Order, Outcome, RecoveryContract, Reply, Sighting};
use crate::domain::tool::{Executor, MoneyRule, PayeeRule, Risk, Standing, Tool};

/// Least amount of a payout, in paise: the bank refuses less.
const MIN_PAYOUT_PAISE: i64 = 100;
/// Every reader agrees on integers up to here: 2^53 - 1.
const MAX_AMOUNT: i64 = crate::domain::strict::MAX_SAFE_INTEGER;
/// Razorpay's limit on the free text of a payout.
const MAX_NARRATION: usize = 30;
/// Razorpay's limit on the remarks of a decision.
const MAX_REMARKS: usize = 255;
/// Razorpay's limits on notes: pairs, and characters of each key and value.
const MAX_NOTES: usize = 15;
const MAX_NOTE: usize = 256;

const FUND_ACCOUNT_ID: &str = "^fa_[A-Za-z0-9]{14}$";
const PAYOUT_ID: &str = "^pout_[A-Za-z0-9]{14}$";
const ACCOUNT_PATTERN: &str = "^[A-Za-z0-9_.@-]{1,64}$";

/// The bank that payouts go through.
pub fn bank() -> &'static dyn Bank {
    &RazorpayX
}

/// The connector that carries a tool's orders out. A tool that none knows gets one that refuses
/// every order, at propose.
pub fn connector_for(tool: &Tool) -> Arc<dyn Connector> {
    match &tool.executor {
        Executor::Noop => Arc::new(Noop),
        Executor::Bank => {
            let kind = Razorpay::ALL
                .into_iter()
                .find(|kind| kind.tool() == tool.name.as_str());
            kind.map_or(Arc::new(Nobody), |kind| -> Arc<dyn Connector> {
                Arc::new(kind)
            })
        }
        Executor::Registered(tool) => Arc::new(AtSource::of(tool)),
        Executor::Upstream {
            upstream,
            tool,
            rule,
        } => Arc::new(UpstreamTool::new(upstream, tool, rule.clone())),
    }
}

/// The tools that come with the broker. Those of the sandbox move no real money and are there
/// only when the bank is the sandbox.
pub fn tools(sandbox: bool) -> Vec<Tool> {
    let mut rows = vec![
        create_payout(),
        approve_payout(),
        reject_payout(),
        cancel_payout(),
    ];
    if sandbox {
        rows.push(transfer_funds());
        rows.push(noop());
    }
    rows.into_iter().filter_map(Row::tool).collect()
}

/// What differs between built-in tools.
struct Row {
    name: &'static str,
    description: &'static str,
    input: Value,
    output: Value,
    executor: Executor,
    money: MoneyRule,
    payee: PayeeRule,
    pattern: Option<(&'static str, &'static str)>,
}

impl Row {
    /// `None` only for a name or pattern that does not parse, which a test rules out. Leaving the
    /// tool out is safe; a tool without its pattern would not be.
    fn tool(self) -> Option<Tool> {
        let mut patterns = Vec::new();
        if let Some((path, pattern)) = self.pattern {
            patterns.push((path.to_owned(), Arc::new(Regex::new(pattern).ok()?)));
        }
        let digest = Tool::digest_of(&json!({
            "name": self.name,
            "description": self.description,
            "inputSchema": self.input,
            "outputSchema": self.output,
        }));
        Some(Tool {
            name: self.name.parse().ok()?,
            description: self.description.to_owned(),
            input_schema: self.input,
            output_schema: Some(self.output),
            risk: Risk::High,
            executor: self.executor,
            money: self.money,
            payee: self.payee,
            patterns,
            hold: false,
            standing: Standing::Accepted,
            digest,
            checker: Default::default(),
        })
    }
}

fn create_payout() -> Row {
    Row {
        name: Razorpay::Create.tool(),
        description: "Pays from the business account to a fund account through RazorpayX. Amounts \
                      are in paise (100 = 1 rupee). Name the vendor in notes.vendor_name and \
                      notes.vendor_url.",
        input: object(
            &["fund_account_id", "amount", "currency", "mode", "purpose"],
            json!({
                "fund_account_id": {
                    "type": "string", "pattern": FUND_ACCOUNT_ID,
                    "description": "The fund account to pay to, fa_...",
                },
                "amount": {
                    "type": "integer", "minimum": MIN_PAYOUT_PAISE, "maximum": MAX_AMOUNT,
                    "description": "In paise, at least 100.",
                },
                "currency": {"type": "string", "enum": ["INR"]},
                "mode": {
                    "type": "string",
                    "enum": ["NEFT", "RTGS", "IMPS", "UPI", "card", "amazonpay"],
                    "description": "How it travels; case matters.",
                },
                "purpose": {
                    "type": "string", "minLength": 1, "maxLength": 30,
                    "description": "refund, cashback, payout, salary, utility bill, vendor bill, \
                                    or one defined at the bank.",
                },
                "narration": {
                    "type": "string", "maxLength": MAX_NARRATION, "pattern": "^[A-Za-z0-9 ]*$",
                    "description": "Shown on the statement: letters, digits and spaces.",
                },
                "queue_if_low_balance": {
                    "type": "boolean",
                    "description": "Wait for balance instead of failing.",
                },
                "notes": {
                    "type": "object", "maxProperties": MAX_NOTES,
                    "propertyNames": {"maxLength": MAX_NOTE},
                    "additionalProperties": {"type": "string", "maxLength": MAX_NOTE},
                    "description": "Up to 15 texts kept with the payout; vendor_name and \
                                    vendor_url name who is paid.",
                },
            }),
        ),
        output: payout(),
        executor: Executor::Bank,
        money: MoneyRule {
            amounts: vec!["amount".to_owned()],
            currency: Some("currency".to_owned()),
            always: true,
            ..MoneyRule::default()
        },
        payee: PayeeRule {
            account: Some("fund_account_id".to_owned()),
            name: Some("notes.vendor_name".to_owned()),
            url: Some("notes.vendor_url".to_owned()),
        },
        pattern: Some(("fund_account_id", FUND_ACCOUNT_ID)),
    }
}

fn approve_payout() -> Row {
    let mut input = decision(true);
    input["properties"]["notes"] = json!({
        "type": "object", "maxProperties": MAX_NOTES,
        "propertyNames": {"maxLength": MAX_NOTE},
        "additionalProperties": {"type": "string", "maxLength": MAX_NOTE},
        "description": "Notes of the payout itself, vendor_name and vendor_url above all; refused \
                        if they are others.",
    });
    Row {
        name: Razorpay::Approve.tool(),
        description: "Approves a payout that others made and that waits at the bank in state \
                      pending, so that it goes out. What the bank says of it is what is judged and \
                      counted. The remarks are kept at the bank.",
        input,
        output: payout(),
        executor: Executor::Bank,
        money: MoneyRule {
            amounts: vec!["amount".to_owned()],
            always: true,
            ..MoneyRule::default()
        },
        payee: PayeeRule {
            account: Some("fund_account_id".to_owned()),
            name: Some("notes.vendor_name".to_owned()),
            url: Some("notes.vendor_url".to_owned()),
        },
        pattern: Some(("payout_id", PAYOUT_ID)),
    }
}

fn reject_payout() -> Row {
    Row {
        name: Razorpay::Reject.tool(),
        description: "Rejects a payout that waits at the bank in state pending. It can never be \
                      approved afterwards. The remarks are kept at the bank.",
        input: decision(true),
        output: payout(),
        executor: Executor::Bank,
        money: MoneyRule::default(),
        payee: account_of_payout(),
        pattern: Some(("payout_id", PAYOUT_ID)),
    }
}

fn cancel_payout() -> Row {
    Row {
        name: Razorpay::Cancel.tool(),
        description: "Cancels a payout that waits at the bank in state queued or scheduled.",
        input: decision(false),
        output: payout(),
        executor: Executor::Bank,
        money: MoneyRule::default(),
        payee: account_of_payout(),
        pattern: Some(("payout_id", PAYOUT_ID)),
    }
}

fn transfer_funds() -> Row {
    Row {
        name: Razorpay::Transfer.tool(),
        description: "Transfers an amount in paise to an account of the sandbox bank. No real \
                      money moves.",
        input: object(
            &["amount", "to"],
            json!({
                "amount": {"type": "integer", "minimum": 1, "maximum": MAX_AMOUNT},
                "to": {
                    "type": "string", "pattern": ACCOUNT_PATTERN,
                    "description": "1 to 64 letters, digits or any of _ . @ -",
                },
            }),
        ),
        output: open_object(
            &["id", "entity", "amount", "to", "reference_id", "status"],
            json!({
                "id": {"type": "string"},
                "entity": {"const": "transfer"},
                "amount": {"type": "integer"},
                "currency": {"type": "string"},
                "to": {"type": "string"},
                "reference_id": {"type": "string"},
                "status": {"type": "string"},
            }),
        ),
        executor: Executor::Bank,
        money: MoneyRule {
            amounts: vec!["amount".to_owned()],
            always: true,
            ..MoneyRule::default()
        },
        payee: PayeeRule {
            account: Some("to".to_owned()),
            ..PayeeRule::default()
        },
        pattern: Some(("to", ACCOUNT_PATTERN)),
    }
}

fn noop() -> Row {
    Row {
        name: "noop",
        description: "Does nothing, in two steps. For load tests; a named amount counts against \
                      limits like any other.",
        input: object(
            &[],
            json!({
                "amount": {"type": "integer", "minimum": 1, "maximum": MAX_AMOUNT},
                "note": {"type": "string", "maxLength": 1000},
            }),
        ),
        output: open_object(&[], json!({})),
        executor: Executor::Noop,
        money: MoneyRule {
            amounts: vec!["amount".to_owned()],
            ..MoneyRule::default()
        },
        payee: PayeeRule::default(),
        pattern: None,
    }
}

/// Arguments of a decision about a payout at the bank. Amount and account are the bank's own, so
/// that whoever decides has seen what it is about, and cannot understate it.
fn decision(remarks: bool) -> Value {
    let mut properties = json!({
        "payout_id": {"type": "string", "pattern": PAYOUT_ID, "description": "pout_..."},
        "amount": {
            "type": "integer", "minimum": 1, "maximum": MAX_AMOUNT,
            "description": "The payout's own amount in paise; refused if the bank shows another.",
        },
        "fund_account_id": {
            "type": "string", "pattern": FUND_ACCOUNT_ID,
            "description": "The payout's own fund account; refused if the bank shows another.",
        },
    });
    let mut required = vec!["payout_id", "amount", "fund_account_id"];
    if remarks {
        properties["remarks"] = json!({
            "type": "string", "minLength": 1, "maxLength": MAX_REMARKS,
            "description": "Why, for the people at the bank.",
        });
        required.push("remarks");
    }
    object(&required, properties)
}

/// Whom a payout at the bank pays, for freezes. Its vendor is left out: what turns a payout down
/// pays nobody, and must not be stopped because the vendor is on a list.
fn account_of_payout() -> PayeeRule {
    PayeeRule {
        account: Some("fund_account_id".to_owned()),
        ..PayeeRule::default()
    }
}

/// What the bank answers about a payout; it may add fields at any time.
fn payout() -> Value {
    open_object(
        &["id", "entity", "status"],
        json!({
            "id": {"type": "string", "pattern": PAYOUT_ID},
            "entity": {"const": "payout"},
            "status": {"type": "string"},
            "amount": {"type": "integer"},
            "currency": {"type": "string"},
            "fund_account_id": {"type": "string"},
            "reference_id": {"type": ["string", "null"]},
            "mode": {"type": "string"},
            "utr": {"type": ["string", "null"]},
        }),
    )
}

fn object(required: &[&str], properties: Value) -> Value {
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn open_object(required: &[&str], properties: Value) -> Value {
    json!({"type": "object", "properties": properties, "required": required})
}

/// Stands in where no connector knows the tool.
struct Nobody;

impl Connector for Nobody {
    fn call(&self, order: &Order) -> Result<Call, super::Malformed> {
        let detail = format!("no connector carries out {}", order.tool);
        Err(super::Malformed(detail))
    }

    fn enquiry(&self, _: &Order) -> Option<Call> {
        None
    }

    fn outcome(&self, order: &Order, _: &Reply) -> Outcome {
        Outcome::Unknown(format!(
            "no connector can read the answer to {}",
            order.tool
        ))
    }

    fn sighting(&self, order: &Order, _: &Reply) -> Sighting {
        Sighting::Unclear(format!("no connector can ask about {}", order.tool))
    }

    fn recovery(&self) -> RecoveryContract {
        RecoveryContract::NONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::canonical::Canonical;
    use crate::domain::ids::ProposalId;
    use crate::domain::money::{Currency, Effective, Money};
    use crate::domain::schema::{usable, validate};
    use crate::domain::time::Timestamp;

    fn tool(name: &str) -> Tool {
        let found = tools(true)
            .into_iter()
            .find(|tool| tool.name.as_str() == name);
        found.unwrap_or_else(|| panic!("{name} is not built in"))
    }

    fn payment() -> Value {
        json!({
            "fund_account_id": "fa_00000000000001", "amount": 10_000, "currency": "INR",
            "mode": "IMPS", "purpose": "vendor bill",
        })
    }

    fn decides() -> Value {
        json!({
            "payout_id": "pout_00000000000001", "amount": 700,
            "fund_account_id": "fa_00000000000001", "remarks": "ok",
        })
    }

    fn with(mut args: Value, field: &str, value: Value) -> Value {
        args[field] = value;
        args
    }

    fn without(mut args: Value, field: &str) -> Value {
        args.as_object_mut().unwrap().remove(field);
        args
    }

    #[test]
    fn the_sandbox_adds_its_own_tools_and_no_other_bank_has_them() {
        let names = |sandbox| -> Vec<String> {
            let tools = tools(sandbox).into_iter();
            tools.map(|tool| tool.name.to_string()).collect()
        };
        let real = [
            "create_payout",
            "approve_payout",
            "reject_payout",
            "cancel_payout",
        ];
        assert_eq!(names(false), real);
        assert_eq!(
            names(true),
            [&real[..], &["transfer_funds", "noop"]].concat()
        );
    }

    #[test]
    fn every_tool_is_usable_pinned_and_in_two_steps() {
        for tool in tools(true) {
            let name = &tool.name;
            assert_eq!(usable(&tool.input_schema, &tool.money), Ok(()), "{name}");
            assert_eq!(
                tool.input_schema["additionalProperties"],
                json!(false),
                "{name}"
            );
            assert!(
                tool.output_schema.is_some() && !tool.description.is_empty(),
                "{name}"
            );
            assert_eq!((tool.risk, tool.digest.len()), (Risk::High, 64), "{name}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn what_each_tool_takes() {
        let wide: serde_json::Map<String, Value> = (0..16).map(|n| (n.to_string(), json!("x"))).collect();
        let cases = [
            ("create_payout", payment(),                                                   true),
            ("create_payout", with(payment(), "amount", json!(100)),                       true),
            ("create_payout", with(payment(), "amount", json!(99)),                        false),
            ("create_payout", with(payment(), "amount", json!(-500)),                      false),
            ("create_payout", with(payment(), "amount", json!(100.55)),                    false),
            ("create_payout", with(payment(), "amount", json!("10000")),                   false),
            ("create_payout", with(payment(), "currency", json!("inr")),                   false),
            ("create_payout", with(payment(), "currency", json!("USD")),                   false),
            ("create_payout", with(payment(), "mode", json!("imps")),                      false),
            ("create_payout", with(payment(), "fund_account_id", json!("fa_0000000000000")),  false),
            ("create_payout", with(payment(), "fund_account_id", json!("fa_00000000000001\n")), false),
            ("create_payout", with(payment(), "fund_account_id", json!("../fa_00000000000001")), false),
            ("create_payout", with(payment(), "purpose", json!("")),                       false),
            ("create_payout", with(payment(), "purpose", json!("x".repeat(31))),           false),
            ("create_payout", with(payment(), "narration", json!("Invoice 42")),           true),
            ("create_payout", with(payment(), "narration", json!("Invoice #42")),          false),
            ("create_payout", with(payment(), "narration", json!("x".repeat(31))),         false),
            ("create_payout", with(payment(), "queue_if_low_balance", json!(true)),        true),
            ("create_payout", with(payment(), "queue_if_low_balance", json!("yes")),       false),
            ("create_payout", with(payment(), "notes", json!({"vendor_url": "https://acme.example", "any": "x"})), true),
            ("create_payout", with(payment(), "notes", json!({"n": 1})),                   false),
            ("create_payout", with(payment(), "notes", json!([])),                         false),
            ("create_payout", with(payment(), "notes", Value::Object(wide)),               false),
            ("create_payout", with(payment(), "notes", json!({"n": "x".repeat(257)})),     false),
            ("create_payout", with(payment(), "account_number", json!("7878780080316316")), false),
            ("create_payout", with(payment(), "reference_id", json!("mine")),              false),
            ("create_payout", with(payment(), "idempotency_key", json!("mine")),           false),
            ("create_payout", without(payment(), "purpose"),                               false),
            ("create_payout", without(payment(), "currency"),                              false),
            ("approve_payout", decides(),                                                  true),
            ("approve_payout", with(decides(), "notes", json!({"vendor_name": "Acme"})),   true),
            ("approve_payout", with(decides(), "waits_as", json!("queued")),               false),
            ("approve_payout", with(decides(), "remarks", json!("")),                      false),
            ("approve_payout", with(decides(), "amount", json!(0)),                        false),
            ("approve_payout", without(decides(), "remarks"),                              false),
            ("approve_payout", without(decides(), "amount"),                               false),
            ("approve_payout", without(decides(), "fund_account_id"),                      false),
            ("approve_payout", with(decides(), "payout_id", json!("../payments/pay_9/capture?x=")), false),
            ("reject_payout",  decides(),                                                  true),
            ("reject_payout",  without(decides(), "amount"),                               false),
            ("reject_payout",  without(decides(), "fund_account_id"),                      false),
            ("reject_payout",  with(decides(), "notes", json!({})),                        false),
            ("cancel_payout",  without(decides(), "remarks"),                              true),
            ("cancel_payout",  decides(),                                                  false),
            ("cancel_payout",  without(without(decides(), "remarks"), "amount"),           false),
            ("cancel_payout",  json!({"payout_id": "fa_00000000000001"}),                  false),
            ("transfer_funds", json!({"amount": 100, "to": "acct_123"}),                   true),
            ("transfer_funds", json!({"amount": 0, "to": "acct_123"}),                     false),
            ("transfer_funds", json!({"amount": 100, "to": ""}),                           false),
            ("transfer_funds", json!({"amount": 100, "to": "a b"}),                        false),
            ("transfer_funds", json!({"amount": 100, "to": "x".repeat(65)}),               false),
            ("transfer_funds", json!({"amount": 100, "to": "acct_123", "memo": "x"}),      false),
            ("noop",           json!({}),                                                  true),
            ("noop",           json!({"amount": 5, "note": "x"}),                          true),
            ("noop",           json!({"amount": 0}),                                       false),
        ];
        for (name, args, fits) in cases {
            let verdict = validate(&tool(name), &args);
            assert_eq!(verdict.is_ok(), fits, "{name} {args} {verdict:?}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn what_each_tool_can_move() {
        let inr = |minor| Effective::Amount(Money { minor, currency: Currency::INR });
        let cases = [
            ("create_payout",  payment(),                                  inr(10_000)),
            ("approve_payout", decides(),                                  inr(700)),
            ("approve_payout", without(decides(), "amount"),               Effective::Unbounded(Currency::INR)),
            ("reject_payout",  decides(),                                  Effective::Nothing),
            ("cancel_payout",  without(decides(), "remarks"),              Effective::Nothing),
            ("transfer_funds", json!({"amount": 100, "to": "acct_123"}),    inr(100)),
            ("noop",           json!({}),                                   Effective::Nothing),
            ("noop",           json!({"amount": 7}),                        inr(7)),
        ];
        for (name, args, expected) in cases {
            assert_eq!(tool(name).effective(&args), expected, "{name} {args}");
        }
        let notes = json!({"vendor_name": "Acme", "vendor_url": "https://acme.example"});
        let payee = tool("create_payout").payee(&with(payment(), "notes", notes));
        assert_eq!(payee.account.as_deref(), Some("fa_00000000000001"));
        assert_eq!(payee.name.as_deref(), Some("Acme"));
        assert_eq!(payee.url.as_deref(), Some("https://acme.example"));
    }

    #[test]
    fn every_built_in_tool_has_a_connector_and_a_stranger_has_none() {
        let order = |name: &str, args: Value| Order {
            proposal: ProposalId::at(Timestamp::from_secs(1), [1; 10]),
            tool: name.parse().unwrap(),
            args: Canonical::of(&args),
            effective: Effective::Nothing,
        };
        let pout = json!({"payout_id": "pout_00000000000001", "remarks": "ok"});
        for (name, args) in [
            ("create_payout", payment()),
            ("approve_payout", pout.clone()),
            ("reject_payout", pout.clone()),
            ("cancel_payout", pout),
            ("transfer_funds", json!({"amount": 100, "to": "acct_123"})),
            ("noop", json!({"note": "x"})),
        ] {
            let call = connector_for(&tool(name)).call(&order(name, args));
            assert!(call.is_ok(), "{name} {call:?}");
        }
        let mut stranger = tool("noop");
        stranger.executor = Executor::Bank;
        let refused = connector_for(&stranger).call(&order("noop", json!({})));
        assert!(refused.is_err());
    }
}
