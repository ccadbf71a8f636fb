//! What would be decided: one JSON document in, one verdict out, through the very same
//! [`decide`](super::decide), and nothing is asked, counted or written.
//!
//! `{policy|null, request: {agent, tool, arguments, prompt?}, facts: {...}}`. What is left out of
//! the facts is missing and not good, as when an outage hides it; only what was paid before, left
//! out, is too little to judge. There is no catalogue here, so amount and payee are read where the built-in
//! tools have them, and a request that could not be proposed is an error and never a verdict.

mod facts;

use serde_json::{Map, Value, json};

use super::{Request, decide, mandate};
use crate::domain::canonical::Canonical;
use crate::domain::facts::{Earlier, Fact, Facts, PastPayout};
use crate::domain::money::{Currency, Effective};
use crate::domain::policy::{Per, Policy, SumLimit};
use crate::domain::proposal::State;
use crate::domain::reason::Verdict;
use crate::domain::strict;
use crate::domain::time::Timestamp;
use crate::domain::tool::{Executor, MoneyRule, Payee, PayeeRule, Risk, Standing, Tool, read};

/// Decides one line. `now` is the time where the facts name none.
pub fn simulate_line(line: &[u8], now: Timestamp) -> Value {
    match strict::parse(line) {
        Ok(document) => simulate(&document, now),
        Err(malformed) => error(malformed.code(), &malformed.to_string()),
    }
}

/// Decides one document.
pub fn simulate(document: &Value, now: Timestamp) -> Value {
    // As at propose: 100 and 1e2 are one number.
    match Case::read(&Canonical::of(document).value(), now) {
        Err((code, detail)) => error(code, &detail),
        Ok(case) => answer(&decide(&case.request(), &case.facts)),
    }
}

fn error(code: &str, detail: &str) -> Value {
    json!({"error": {"code": code, "detail": detail}})
}

fn answer(verdict: &Verdict) -> Value {
    let findings = verdict.findings();
    let mut threats: Vec<&String> = findings
        .iter()
        .flat_map(|finding| &finding.threats)
        .collect();
    threats.dedup();
    json!({
        "decision": verdict.decision().name(),
        "reason": verdict.headline().code(),
        "threat_types": threats,
        "findings": findings,
    })
}

/// A stable code, and words.
type Bad = (&'static str, String);

/// Everything one decision looks at.
struct Case {
    agent: crate::domain::ids::AgentId,
    tool: Tool,
    args: Value,
    effective: Effective,
    payee: Payee,
    facts: Facts,
}

impl Case {
    fn request(&self) -> Request<'_> {
        Request {
            agent: &self.agent,
            tool: &self.tool,
            args: &self.args,
            effective: self.effective,
            payee: &self.payee,
            server: None,
        }
    }

    fn read(document: &Value, now: Timestamp) -> Result<Self, Bad> {
        let top = object(
            document,
            "invalid_request",
            "the line",
            &["policy", "request", "facts"],
        )?;
        let policy = match top.get("policy") {
            None => Fact::Missing,
            Some(Value::Null) => Fact::Known(None),
            Some(body) => Fact::Known(Some(
                mandate::read(body).map_err(|detail| ("invalid_policy", detail))?,
            )),
        };
        let bad = |detail: &str| ("invalid_request", detail.to_owned());
        let request = top
            .get("request")
            .ok_or_else(|| bad("`request` is missing"))?;
        let fields = ["agent", "tool", "arguments", "prompt"];
        let request = object(request, "invalid_request", "`request`", &fields)?;
        let text = |name: &str| request.get(name).and_then(Value::as_str);
        let agent = text("agent").and_then(|agent| agent.parse().ok());
        let agent = agent.ok_or_else(|| bad("`request.agent` has to be the id of an agent"))?;
        let tool = text("tool").and_then(tool_named);
        let mut tool = tool.ok_or_else(|| bad("`request.tool` has to be the name of a tool"))?;
        let args = request.get("arguments").filter(|args| args.is_object());
        let args = args.ok_or_else(|| bad("`request.arguments` has to be an object"))?;
        let effective = effective(&tool, args)?;
        if !effective.moves_money() {
            // Whether a tool takes an amount is only known here by a request that names one.
            tool.money = MoneyRule::default();
        }
        let claimed = payee(args)?;
        let empty = json!({});
        let facts = top
            .get("facts")
            .filter(|facts| !facts.is_null())
            .unwrap_or(&empty);
        let (mut facts, recent) = facts::read(facts, &claimed, now)?;
        let payee = registered(&facts, claimed);
        lately(&mut facts, &recent, policy.known(), &effective, &payee);
        facts.policy = policy;
        facts.integrity.prompt = text("prompt").map(str::to_owned);
        if request
            .get("prompt")
            .is_some_and(|prompt| !prompt.is_string() && !prompt.is_null())
        {
            return Err(bad("`request.prompt` has to be a text"));
        }
        Ok(Self {
            agent,
            tool,
            args: args.clone(),
            effective,
            payee,
            facts,
        })
    }
}

/// What the policy's duplicates and sums find among recent payments, as the broker would have
/// looked it up.
fn lately(
    facts: &mut Facts,
    recent: &[PastPayout],
    policy: Option<&Option<Policy>>,
    effective: &Effective,
    payee: &Payee,
) {
    let default = Policy::default();
    let policy = policy.and_then(Option::as_ref).unwrap_or(&default);
    let identity = payee.identity();
    let within = |window_secs: u32, past: &PastPayout| {
        past.at >= facts.now.plus_secs(-i64::from(window_secs))
    };
    let same = |past: &&PastPayout| {
        within(policy.duplicates.window_secs, past)
            && past.minor == effective.minor()
            && identity.is_some()
            && past.payee == identity
    };
    let sum = |sum: &SumLimit| {
        let counts = recent.iter().filter(|past| {
            let theirs = match (sum.per, &identity) {
                (Per::Agent, _) | (Per::Payee, None) => true,
                (Per::Payee, Some(_)) => past.payee == identity,
            };
            theirs && within(sum.window_secs, past)
        });
        counts.fold(0, |total: i64, past| total.saturating_add(past.minor))
    };
    // The list is newest first.
    let earlier = recent.iter().rev().find(same).map(|past| Earlier {
        proposal: None,
        at: past.at,
        state: State::Executed,
    });
    let sums = policy.approval_above.iter().map(sum).collect();
    facts.earlier = Fact::Known(earlier);
    facts.sums = Fact::Known(sums);
}

/// A tool of any name, its money where the built-in tools have it.
fn tool_named(name: &str) -> Option<Tool> {
    let texts = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    Some(Tool {
        name: name.parse().ok()?,
        description: String::new(),
        input_schema: Value::Null,
        output_schema: None,
        risk: Risk::High,
        executor: Executor::Noop,
        money: MoneyRule {
            amounts: texts(&["amount", "transfers[].amount", "token.max_amount"]),
            currency: Some("currency".to_owned()),
            default_currency: None,
            unbounded_if: texts(&["settle_full_balance"]),
            always: name == "approve_payout",
        },
        payee: PayeeRule {
            account: Some("fund_account_id".to_owned()),
            name: Some("notes.vendor_name".to_owned()),
            url: Some("notes.vendor_url".to_owned()),
        },
        patterns: Vec::new(),
        hold: false,
        standing: Standing::Accepted,
        digest: String::new(),
        checker: Default::default(),
    })
}

/// What would move. A request that no schema would let through is refused here, because nothing
/// else would look at it.
fn effective(tool: &Tool, args: &Value) -> Result<Effective, Bad> {
    let bad = |detail: &str| Err(("invalid_request", detail.to_owned()));
    if matches!(tool.name.as_str(), "create_payout" | "transfer_funds")
        && args.get("amount").is_none()
    {
        return bad("`arguments.amount` is missing");
    }
    for path in ["amount", "token.max_amount"] {
        if read(args, path).is_some_and(|amount| amount.as_i64().is_none_or(|minor| minor <= 0)) {
            return bad("an amount is a positive integer of minor units");
        }
    }
    let currency = args.get("currency");
    let known = |code: &Value| code.as_str().and_then(Currency::parse).is_some();
    if currency.is_some_and(|code| !known(code)) {
        return bad("`arguments.currency` has to be three upper-case letters");
    }
    let effective = tool.effective(args);
    if effective.moves_money() && effective.minor() <= 0 {
        return bad("an amount is a positive integer of minor units");
    }
    Ok(effective)
}

fn payee(args: &Value) -> Result<Payee, Bad> {
    let first = |paths: &[&str]| -> Result<Option<String>, Bad> {
        for path in paths {
            match read(args, path) {
                None | Some(Value::Null) => {}
                Some(Value::String(text)) => return Ok(Some(text.clone())),
                Some(_) => {
                    let detail = format!("`arguments.{path}` has to be a text");
                    return Err(("invalid_request", detail));
                }
            }
        }
        Ok(None)
    };
    Ok(Payee {
        id: None,
        account: first(&["fund_account_id", "to", "account", "account_id"])?,
        name: first(&["notes.vendor_name", "vendor_name"])?,
        url: first(&["notes.vendor_url", "vendor_url"])?,
    })
}

/// For a registered account, name and site are the registry's whatever the caller claims.
fn registered(facts: &Facts, claimed: Payee) -> Payee {
    let registration = facts.registration.known();
    let payee = registration.and_then(|registration| registration.payee.as_ref());
    match payee {
        None => claimed,
        Some(payee) => Payee {
            // The history among the facts goes by account.
            id: None,
            account: claimed.account,
            name: Some(payee.name.clone()),
            url: payee.vendor_url.clone(),
        },
    }
}

/// An object with known fields only: a misspelt fact would otherwise read as a missing one.
fn object<'a>(
    value: &'a Value,
    code: &'static str,
    what: &str,
    fields: &[&str],
) -> Result<&'a Map<String, Value>, Bad> {
    let map = value
        .as_object()
        .ok_or_else(|| (code, format!("{what} has to be an object")))?;
    if map.keys().all(|key| fields.contains(&key.as_str())) {
        return Ok(map);
    }
    let detail = format!("{what} takes {} and nothing else", fields.join(", "));
    Err((code, detail))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at() -> Timestamp {
        Timestamp::from_secs(1_000)
    }

    fn base() -> Value {
        json!({
            "policy": {"daily_limit": 500_000, "per_txn_limit": 100_000, "require_approval_above": 50_000},
            "request": {
                "agent": "openclaw-agent-001",
                "tool": "create_payout",
                "arguments": {
                    "fund_account_id": "fa_00000000000001", "amount": 10_000, "currency": "INR",
                    "notes": {"vendor_name": "Acme", "vendor_url": "https://acme.example"},
                },
            },
            "facts": {
                "frozen": false, "spent_today": 0, "recent_requests": 0,
                "reputation": {"result": "safe"}, "integrity": {"composite_score": 0.1679},
            },
        })
    }

    fn with(pointer: &str, value: Value) -> Value {
        let mut document = base();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = document
            .pointer_mut(parent)
            .unwrap()
            .as_object_mut()
            .unwrap();
        parent.insert(name.to_owned(), value);
        document
    }

    fn without(pointer: &str) -> Value {
        let mut document = base();
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = document.pointer_mut(parent).unwrap();
        parent.as_object_mut().unwrap().remove(name).unwrap();
        document
    }

    fn decided(document: &Value) -> (String, String) {
        let told = simulate_line(document.to_string().as_bytes(), at());
        let text = |name: &str| told[name].as_str().unwrap_or("none").to_owned();
        (text("decision"), text("reason"))
    }

    #[test]
    #[rustfmt::skip]
    fn the_decision_table() {
        let p = |name: &str| format!("/policy/{name}");
        let amount = |minor: i64| with("/request/arguments/amount", json!(minor));
        let cases = [
            (base(),                                                     "APPROVED", "POLICY_OK"),
            (with("/policy", Value::Null),                               "REJECTED", "NO_POLICY"),
            (without("/policy"),                                         "REJECTED", "NO_POLICY"),
            (with(&p("valid_until"), json!("1970-01-01T00:16:40Z")),     "REJECTED", "NO_POLICY"),
            (with(&p("valid_until"), json!("1970-01-01T00:16:41Z")),     "APPROVED", "POLICY_OK"),
            (with("/facts/now", json!("2030-01-01T00:00:00Z")),          "APPROVED", "POLICY_OK"),
            (with("/facts/frozen", json!(true)),                         "REJECTED", "frozen"),
            (with("/facts/frozen", json!([{"scope": "agent", "id": "other"}])), "APPROVED", "POLICY_OK"),
            (without("/facts/frozen"),                                   "REJECTED", "frozen"),
            (amount(50_000),                                             "APPROVED", "POLICY_OK"),
            (amount(50_001),                                             "HELD",     "APPROVAL_REQUIRED"),
            (amount(100_000),                                            "HELD",     "APPROVAL_REQUIRED"),
            (amount(100_001),                                            "REJECTED", "TXN_LIMIT_EXCEEDED"),
            (with("/facts/spent_today", json!(490_000)),                 "APPROVED", "POLICY_OK"),
            (with("/facts/spent_today", json!(490_001)),                 "REJECTED", "LIMIT_EXCEEDED"),
            (without("/facts/spent_today"),                              "REJECTED", "LIMIT_EXCEEDED"),
            (with("/facts/recent_requests", json!(9)),                   "APPROVED", "POLICY_OK"),
            (with("/facts/recent_requests", json!(10)),                  "REJECTED", "RATE_LIMITED"),
            (without("/facts/recent_requests"),                          "REJECTED", "RATE_LIMITED"),
            (with(&p("blocked_domains"), json!(["ACME.example"])),       "REJECTED", "DOMAIN_BLOCKED"),
            (with(&p("allowed_domains"), json!(["other.example"])),      "REJECTED", "DOMAIN_BLOCKED"),
            (with(&p("allowed_domains"), json!(["www.acme.example"])),   "APPROVED", "POLICY_OK"),
            (with("/facts/reputation", json!({"result": "unsafe", "threats": ["MALWARE"]})), "REJECTED", "RISK_HIGH"),
            (with("/facts/reputation", json!({"result": "unavailable"})), "HELD",    "REPUTATION_UNAVAILABLE"),
            (without("/facts/reputation"),                               "HELD",     "REPUTATION_UNAVAILABLE"),
            (with(&p("require_verified_entity"), json!(true)),           "HELD",     "ENTITY_UNVERIFIED"),
            (with("/facts/entity", json!({"result": "unverified"})),     "APPROVED", "POLICY_OK"),
            (with("/facts/anomaly", json!(true)),                        "HELD",     "ANOMALY_DETECTED"),
            (with("/facts/anomaly", json!({"detected": false})),         "APPROVED", "POLICY_OK"),
            (with("/facts/integrity/composite_score", json!(0.4499)),    "APPROVED", "POLICY_OK"),
            (with("/facts/integrity/composite_score", json!(0.45)),      "REJECTED", "low_integrity"),
            (with("/facts/integrity/composite_score", Value::Null),      "HELD",     "INTEGRITY_UNKNOWN"),
            (with("/facts/integrity/attested", json!(false)),            "HELD",     "INTEGRITY_UNKNOWN"),
            (without("/facts/integrity"),                                "HELD",     "INTEGRITY_UNKNOWN"),
            (without("/facts"),                                          "REJECTED", "frozen"),
            (with("/request/arguments/currency", json!("USD")),          "REJECTED", "CURRENCY_NOT_ALLOWED"),
            (with("/request/arguments/settle_full_balance", json!(true)), "REJECTED", "TXN_LIMIT_EXCEEDED"),
            (with("/request/arguments/amount", json!(1e4)),              "APPROVED", "POLICY_OK"),
            (with("/request/tool", json!("approve_payout")),             "APPROVED", "POLICY_OK"),
            (with("/request/prompt", json!("Pay ₹9,000 to Acme")),       "HELD",     "PROMPT_CONTRADICTED"),
            (with("/request/prompt", json!("Pay ₹100 to Acme")),         "APPROVED", "POLICY_OK"),
            (with("/facts/integrity/require_prompt", json!(true)),       "HELD",     "INTEGRITY_UNKNOWN"),
            (with("/facts/payee", json!({"registered": true, "name": "Acme"})), "APPROVED", "POLICY_OK"),
            (with("/facts/payee", json!({"registered": true, "name": "Other"})), "HELD", "PROMPT_CONTRADICTED"),
            (with("/facts/payee", json!({"name": "Acme", "vendor_url": "https://other.example"})), "HELD", "PROMPT_CONTRADICTED"),
        ];
        for (document, decision, reason) in cases {
            assert_eq!(decided(&document), (decision.to_owned(), reason.to_owned()), "{document}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn only_who_is_registered_is_paid_where_the_policy_says_so() {
        let cases = [
            (None,                                        "REJECTED", "PAYEE_UNKNOWN"),
            (Some(Value::Null),                           "REJECTED", "PAYEE_UNKNOWN"),
            (Some(json!(false)),                          "REJECTED", "PAYEE_UNKNOWN"),
            (Some(json!({"registered": false})),          "REJECTED", "PAYEE_UNKNOWN"),
            (Some(json!(true)),                           "APPROVED", "POLICY_OK"),
            (Some(json!({"registered": true})),           "APPROVED", "POLICY_OK"),
            (Some(json!({"name": "ACME"})),               "APPROVED", "POLICY_OK"),
        ];
        for (fact, decision, reason) in cases {
            let mut document = with("/policy/payees", json!("registered"));
            if let Some(fact) = fact {
                document["facts"]["payee"] = fact;
            }
            assert_eq!(decided(&document), (decision.to_owned(), reason.to_owned()), "{document}");
        }
        // Nobody is registered for a payment to no account.
        let mut document = with("/policy/payees", json!("registered"));
        document["facts"]["payee"] = json!(true);
        document["request"]["arguments"].as_object_mut().unwrap().remove("fund_account_id");
        assert_eq!(decided(&document).1, "PAYEE_UNKNOWN");
    }

    #[test]
    fn without_a_vendor_there_is_no_reputation_to_miss() {
        let mut document = without("/facts/reputation");
        document["request"]["arguments"]["notes"] = json!([]);
        assert_eq!(decided(&document).0, "APPROVED");
    }

    #[test]
    fn history_is_judged_where_there_is_some() {
        let past = |count: i64| -> Value {
            (0..count)
                .map(|i| json!({"at": 90 - i, "amount": 10_000, "payee": "fa_00000000000001"}))
                .collect()
        };
        let mut document = with("/facts/history", past(30));
        assert_eq!(decided(&document).1, "POLICY_OK");
        document["request"]["arguments"]["amount"] = json!(49_999);
        assert_eq!(decided(&document).1, "ANOMALY_DETECTED");
        document["facts"]["history"] = past(3);
        assert_eq!(decided(&document).1, "POLICY_OK");
    }

    #[test]
    #[rustfmt::skip]
    fn what_was_paid_lately_is_compared_and_added_up() {
        let paid = |at: i64, amount: i64, payee: &str| json!([{"at": at, "amount": amount, "payee": payee}]);
        let us = "fa_00000000000001";
        let per = |per: &str| with("/policy/approval_above", json!([{"amount": 15_000, "window_secs": 600, "per": per}]));
        let judged = |mut document: Value, name: &str, paid: Value| {
            document["facts"][name] = paid;
            decided(&document).1
        };
        // It is second 1,000, and 10,000 are asked for.
        for name in ["history", "recent"] {
            let cases = [
                (base(),       paid(999, 10_000, us),      "POSSIBLE_DUPLICATE"),
                (base(),       paid(100, 10_000, us),      "POSSIBLE_DUPLICATE"),
                (base(),       paid(99, 10_000, us),       "POLICY_OK"),
                (base(),       paid(999, 10_001, us),      "POLICY_OK"),
                (base(),       paid(999, 10_000, "fa_2"),  "POLICY_OK"),
                (with("/policy/duplicates", json!({"then": "off"})), paid(999, 10_000, us), "POLICY_OK"),
                (with("/policy/duplicates", json!({"then": "report"})), paid(999, 10_000, us), "POLICY_OK"),
                (with("/policy/duplicates", json!({"window_secs": 5})), paid(994, 10_000, us), "POLICY_OK"),
                (per("agent"), paid(999, 5_000, us),       "POLICY_OK"),
                (per("agent"), paid(999, 5_001, "fa_2"),   "APPROVAL_REQUIRED"),
                (per("agent"), paid(399, 5_001, "fa_2"),   "POLICY_OK"),
                (per("payee"), paid(999, 5_001, "fa_2"),   "POLICY_OK"),
                (per("payee"), paid(999, 5_001, us),       "APPROVAL_REQUIRED"),
                (per("payee"), json!([]),                  "POLICY_OK"),
            ];
            for (document, paid, reason) in cases {
                assert_eq!(judged(document.clone(), name, paid.clone()), reason, "{document} {name} {paid}");
            }
        }
        assert_eq!(decided(&per("agent")).1, "POLICY_OK", "left out is too little to judge");
        let mut document = base();
        document["facts"]["history"] = paid(999, 10_000, us);
        document["facts"]["recent"] = json!([]);
        assert_eq!(decided(&document).1, "POLICY_OK", "recent payments say what is recent");
    }

    #[test]
    #[rustfmt::skip]
    fn a_white_list_is_one_on_paper_too() {
        let cases = [
            (json!({"allowed_tools": ["noop"]}),           "create_payout",  "TOOL_NOT_ALLOWED"),
            (json!({"allowed_tools": ["create_*"]}),       "create_payout",  "POLICY_OK"),
            (json!({}),                                    "create_payout",  "POLICY_OK"),
        ];
        for (policy, tool, reason) in cases {
            let mut document = with("/policy", policy.clone());
            document["request"]["tool"] = json!(tool);
            assert_eq!(decided(&document).1, reason, "{policy}");
        }
        let mut document = with("/request/tool", json!("delete_records"));
        document["request"]["arguments"] = json!({"table": "t"});
        assert_eq!(decided(&document).1, "TOOL_NOT_ALLOWED");
        document["policy"]["allowed_tools"] = json!(["delete_records"]);
        assert_eq!(decided(&document).1, "POLICY_OK");
    }

    #[test]
    fn the_answer_has_the_threats_and_every_finding() {
        let mut document = with(
            "/facts/reputation",
            json!({"result": "unsafe", "threats": ["MALWARE"]}),
        );
        document["request"]["arguments"]["amount"] = json!(60_000);
        let told = simulate(&document, at());
        assert_eq!(told["threat_types"], json!(["MALWARE"]));
        let reasons: Vec<&Value> = told["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|f| &f["reason"])
            .collect();
        assert_eq!(reasons, ["RISK_HIGH", "APPROVAL_REQUIRED"]);
    }

    #[test]
    #[rustfmt::skip]
    fn what_could_not_be_proposed_is_an_error() {
        let arg = |name: &str, value: Value| with(&format!("/request/arguments/{name}"), value);
        let cases = [
            (json!([]),                                              "invalid_request"),
            (json!({}),                                              "invalid_request"),
            (without("/request"),                                    "invalid_request"),
            (without("/request/agent"),                              "invalid_request"),
            (with("/request/agent", json!("a b")),                   "invalid_request"),
            (without("/request/tool"),                               "invalid_request"),
            (without("/request/arguments"),                          "invalid_request"),
            (without("/request/arguments/amount"),                   "invalid_request"),
            (with("/request/argument", json!({})),                   "invalid_request"),
            (arg("amount", json!(0)),                                "invalid_request"),
            (arg("amount", json!(-1)),                               "invalid_request"),
            (arg("amount", json!(1.5)),                              "invalid_request"),
            (arg("amount", json!("100")),                            "invalid_request"),
            (arg("amount", Value::Null),                             "invalid_request"),
            (arg("currency", json!("rupees")),                       "invalid_request"),
            (arg("vendor_url", json!("https://x.example")),          "none"),
            (arg("notes", json!({"vendor_url": 7})),                 "invalid_request"),
            (with("/policy/daily_limit", json!(-1)),                 "invalid_policy"),
            (with("/policy/daily_limits", json!(1)),                 "invalid_policy"),
            (with("/policy", json!("default")),                      "invalid_policy"),
            (with("/facts/spent", json!(0)),                         "invalid_facts"),
            (with("/facts/spent_today", json!(-1)),                  "invalid_facts"),
            (with("/facts/spent_today", json!("0")),                 "invalid_facts"),
            (with("/facts/recent_requests", json!(1.5)),             "invalid_facts"),
            (with("/facts/frozen", json!("no")),                     "invalid_facts"),
            (with("/facts/reputation", json!({"result": "fine"})),   "invalid_facts"),
            (with("/facts/reputation", json!({"result": "safe", "threats": ["MALWARE"]})), "invalid_facts"),
            (with("/facts/integrity", json!({"composite_score": 1.1})), "invalid_facts"),
            (with("/facts/integrity", json!({"composite_score": "0"})), "invalid_facts"),
            (with("/facts/anomaly", json!("maybe")),                 "invalid_facts"),
            (with("/facts/entity", json!("maybe")),                  "invalid_facts"),
            (with("/facts/payee", json!("maybe")),                   "invalid_facts"),
            (with("/facts/payee", json!({"registerd": true})),       "invalid_facts"),
            (with("/facts/payee", json!({"registered": "yes"})),     "invalid_facts"),
            (with("/facts/payee", json!({"registered": false, "name": "Acme"})), "invalid_facts"),
        ];
        for (document, code) in cases {
            let told = simulate(&document, at());
            assert_eq!(told["error"]["code"].as_str().unwrap_or("none"), code, "{document}");
        }
        let duplicate = br#"{"policy":null,"policy":null}"#;
        assert_eq!(simulate_line(duplicate, at())["error"]["code"], "duplicate_key");
        assert_eq!(simulate_line(b"", at())["error"]["code"], "invalid_json");
    }

    proptest! {
        /// Whatever is left out, nothing that was not approved becomes so.
        #[test]
        fn leaving_out_never_approves(
            amount in 1..200_000_i64, spent in 0..600_000_i64, recent in 0..12_u32,
            out in prop::sample::subsequence(
                vec!["frozen", "spent_today", "recent_requests", "integrity"], 0..=4),
            frozen: bool, composite in 0.0..0.6_f64,
        ) {
            let mut document = base();
            document["request"]["arguments"]["amount"] = json!(amount);
            document["facts"]["spent_today"] = json!(spent);
            document["facts"]["recent_requests"] = json!(recent);
            document["facts"]["frozen"] = json!(frozen);
            document["facts"]["integrity"]["composite_score"] = json!(composite);
            let before = decided(&document).0;
            for fact in &out {
                document["facts"].as_object_mut().unwrap().remove(*fact);
            }
            let after = decided(&document).0;
            prop_assert!(before == "APPROVED" || after != "APPROVED");
            prop_assert!(out.is_empty() || after != "APPROVED");
        }

        /// Whatever the line, there is an answer.
        #[test]
        fn any_line_is_answered(line in prop::collection::vec(any::<u8>(), 0..60)) {
            let told = simulate_line(&line, at());
            prop_assert!(told.get("error").is_some() || told.get("decision").is_some());
        }
    }
}
