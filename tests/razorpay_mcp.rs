//! The sample configuration for Razorpay's own MCP server, against a stand-in with its 42 tools and
//! its observed faults: what it would truncate, drop, misroute or call a success.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hundi::broker::{CommitRequest, Committed, ProposeRequest, Proposed, Settings, Trouble};
use hundi::config::Config;
use hundi::domain::money::{Currency, Effective, Money};
use hundi::domain::proposal::State;
use hundi::domain::schema;
use hundi::domain::tool::{Risk, Standing, Tool};
use hundi::domain::upstream::UpstreamRules;
use hundi::wire::mcp::{Pauses, UpstreamSpec, Upstreams};
use serde_json::{Value, json};

use crate::support::house::{House, Plan, agent_of};

const NAME: &str = "razorpay-mcp";
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn rules() -> UpstreamRules {
    let file = Path::new(ROOT).join("examples/razorpay-mcp-server.toml");
    let given = ["RAZORPAY_KEY_ID", "RAZORPAY_KEY_SECRET"];
    let environment = given.map(|name| (name.to_owned(), "rzp_test_x".into()));
    let environment = environment.into_iter().collect();
    let config = Config::load(Some(&file), &environment, &[]).unwrap();
    config.upstreams[NAME].rules.clone()
}

fn listed() -> Vec<Value> {
    let file = Path::new(ROOT).join("tests/fixtures/razorpay-mcp-server/tools.json");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// A broker in front of the stand-in, every tool accepted at first contact.
struct Desk {
    house: House,
    wire: Arc<Upstreams>,
    dir: tempfile::TempDir,
}

impl Desk {
    async fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        std::fs::write(dir.path().join("mode"), "ok").unwrap();
        let given = [
            (
                "PATH",
                std::env::var_os("PATH").unwrap().into_string().unwrap(),
            ),
            (
                "FAKE_TOOLS",
                format!("{ROOT}/tests/fixtures/razorpay-mcp-server/tools.json"),
            ),
            ("FAKE_BANK", path("bank")),
            ("FAKE_MODE", path("mode")),
        ];
        let env = given.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let script = format!("{ROOT}/tests/support/razorpay_mcp_server.py");
        let mut spec = UpstreamSpec::stdio(NAME, "python3", [script], env);
        spec.pauses = Pauses {
            least: Duration::from_millis(20),
            most: Duration::from_millis(50),
        };
        let wire = Arc::new(Upstreams::new(vec![spec]));
        let mut rules = rules();
        rules.trust_on_first_use = true;
        let house = House::with(Plan {
            wire: Some(wire.clone()),
            settings: Settings {
                upstreams: BTreeMap::from([(NAME.to_owned(), rules)]),
                ..Settings::default()
            },
            ..Plan::default()
        })
        .await;
        house.broker.tools.tend_tools().await.unwrap();
        let policy = json!({"daily_limit": 1_000_000_000, "allowed_tools": ["*"],
                            "rate_limit": {"max": 0, "window_secs": 60}});
        house
            .policy("a", &serde_json::from_value(policy).unwrap())
            .await;
        Self { house, wire, dir }
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn mode(&self, mode: &str) {
        std::fs::write(self.file("mode"), mode).unwrap();
    }

    /// What reached Razorpay.
    fn sent(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.file("bank")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    async fn propose(&self, tool: &str, arguments: &Value) -> Result<Proposed, Trouble> {
        let request = ProposeRequest {
            tool: tool.to_owned(),
            arguments: arguments.clone(),
            ..ProposeRequest::default()
        };
        self.house.broker.pay.propose(&agent_of("a"), request).await
    }

    async fn carry_out(&self, tool: &str, arguments: &Value) -> Committed {
        let proposed = self.propose(tool, arguments).await.unwrap();
        assert_eq!(
            proposed.proposal.state,
            State::Allowed,
            "{:?}",
            proposed.proposal.fixed
        );
        let request = CommitRequest {
            proposal_id: proposed.proposal.fixed.id.to_string(),
            commit_token: proposed.token.unwrap().text,
            tool: Some(tool.to_owned()),
            arguments: arguments.clone(),
        };
        self.house
            .broker
            .pay
            .commit(&agent_of("a"), request)
            .await
            .unwrap()
    }
}

fn refund() -> Value {
    json!({"payment_id": "pay_00000000000001", "amount": 500})
}

fn state(answer: &Committed) -> State {
    match answer {
        Committed::Settled(proposal) | Committed::InDoubt(proposal) => proposal.state,
        Committed::Refused { refusal, .. } => panic!("{refusal:?}"),
    }
}

#[tokio::test]
async fn each_of_the_42_tools_is_in_the_class_that_the_operator_gave_it() {
    let desk = Desk::open().await;
    let tools = desk
        .house
        .broker
        .tools
        .catalogue()
        .tools(&Default::default());
    let mut low = 0;
    for offered in listed() {
        let name = offered["name"].as_str().unwrap();
        let reads = offered["annotations"]["readOnlyHint"] == true && name != "fetch_tokens";
        let tool = &tools[name];
        assert_eq!(tool.risk == Risk::Low, reads, "{name}");
        assert_eq!(tool.standing, Standing::Accepted, "{name}");
        low += usize::from(reads);
    }
    assert_eq!((listed().len(), low), (42, 24));
    desk.wire.shut_down().await;
}

#[test]
fn every_argument_that_names_something_has_a_pattern() {
    let rules = rules();
    for tool in listed() {
        let name = tool["name"].as_str().unwrap();
        let rule = rules.rule(name).unwrap();
        let properties = tool["inputSchema"]["properties"].as_object().unwrap();
        for (field, schema) in properties {
            let names = field.ends_with("_id")
                || ["token", "contact", "vpa", "receipt", "account_number"]
                    .contains(&field.as_str());
            if names && schema["type"] == "string" {
                let own = rule.reference.as_ref() == Some(field);
                assert!(own || rule.patterns.contains_key(field), "{name}.{field}");
            }
        }
    }
}

fn tool<'a>(tools: &'a BTreeMap<String, Arc<Tool>>, name: &str) -> &'a Tool {
    &tools[name]
}

#[tokio::test]
async fn what_it_would_change_or_misroute_is_refused_before_it_hears_of_it() {
    let desk = Desk::open().await;
    let order = json!({"amount": 100, "currency": "INR"});
    let with = |mut args: Value, field: &str, value: Value| {
        args[field] = value;
        args
    };
    let transfer = json!({"account": "acc_00000000000001", "amount": 1.5, "currency": "INR"});
    let cases = [
        ("create_refund", with(refund(), "amount", json!(100.9))),
        ("create_refund", with(refund(), "amount", json!(-500))),
        (
            "create_refund",
            with(refund(), "amount", json!(9_007_199_254_740_992_u64)),
        ),
        ("create_refund", with(refund(), "amount", json!(99))),
        (
            "create_refund",
            with(refund(), "payment_id", json!("../orders/order_9?x=")),
        ),
        (
            "create_refund",
            with(refund(), "payment_id", json!("pay_00000000000001/../x")),
        ),
        ("create_refund", with(refund(), "receipt", json!("mine"))),
        ("create_refund", with(refund(), "speed", json!("fast"))),
        ("create_refund", with(refund(), "surprise", json!(true))),
        (
            "create_order",
            with(order.clone(), "currency", json!("inr")),
        ),
        (
            "create_order",
            with(order.clone(), "transfers", json!([transfer])),
        ),
        (
            "create_order",
            with(order.clone(), "token", json!({"max_amount": 5})),
        ),
        (
            "create_order",
            with(order.clone(), "token", json!("token_00000000000001")),
        ),
        (
            "create_order",
            with(order.clone(), "partial_payment", json!("true")),
        ),
        (
            "revoke_token",
            json!({"customer_id": "cust_00000000000001", "token_id": "../../x"}),
        ),
        (
            "fetch_payout_with_id",
            json!({"payout_id": "../payments/pay_9/capture?x="}),
        ),
        ("fetch_all_payments", json!({"count": 1.5})),
        ("fetch_all_payments", json!({"count": 101})),
        (
            "fetch_all_payouts",
            json!({"account_number": "2323230000000000", "status": "queued"}),
        ),
    ];
    for (name, arguments) in cases {
        let refused = match desk
            .house
            .broker
            .tools
            .catalogue()
            .shared(name)
            .unwrap()
            .risk
        {
            Risk::High => desk.propose(name, &arguments).await.map(drop),
            Risk::Low => {
                let (broker, who) = (&desk.house.broker, agent_of("a"));
                broker.tools.invoke(&who, name, &arguments).await.map(drop)
            }
        };
        assert!(
            matches!(refused, Err(Trouble::InvalidArguments(_))),
            "{name} {arguments}: {refused:?}"
        );
    }
    assert!(desk.sent().is_empty());
    let (broker, who) = (&desk.house.broker, agent_of("a"));
    let honest = json!({"payout_id": "pout_00000000000001"});
    broker
        .tools
        .invoke(&who, "fetch_payout_with_id", &honest)
        .await
        .unwrap();
    assert_eq!(desk.sent(), ["GET /v1/payouts/pout_00000000000001 {}"]);
    desk.wire.shut_down().await;
}

#[tokio::test]
#[rustfmt::skip]
async fn what_counts_is_what_can_leave() {
    let desk = Desk::open().await;
    let tools = desk.house.broker.tools.catalogue().tools(&Default::default());
    let inr = |minor| Effective::Amount(Money { minor, currency: Currency::INR });
    let everything = Effective::Unbounded(Currency::INR);
    let transfers = json!([
        {"account": "acc_00000000000001", "amount": 300, "currency": "INR"},
        {"account": "acc_00000000000002", "amount": 400, "currency": "INR"},
    ]);
    let mandate = json!({"max_amount": 9_000, "frequency": "monthly", "type": "single_block_multiple_debit"});
    let cases = [
        ("create_instant_settlement", json!({"amount": 200}),                                inr(200)),
        ("create_instant_settlement", json!({"amount": 200, "settle_full_balance": false}),  inr(200)),
        ("create_instant_settlement", json!({"amount": 200, "settle_full_balance": true}),   everything),
        ("create_order", json!({"amount": 100, "currency": "INR"}),                          inr(100)),
        ("create_order", json!({"amount": 100, "currency": "INR", "transfers": transfers}),  inr(700)),
        ("create_order", json!({"amount": 100, "currency": "INR", "token": mandate}),        inr(9_000)),
        ("create_refund", refund(),                                                          inr(500)),
        ("update_refund", json!({"refund_id": "rfnd_00000000000001", "notes": {}}),          Effective::Nothing),
    ];
    for (name, arguments, effective) in cases {
        let tool = tool(&tools, name);
        assert_eq!(schema::validate(tool, &arguments), Ok(()), "{name} {arguments}");
        assert_eq!(tool.effective(&arguments), effective, "{name} {arguments}");
    }
    let whole = json!({"amount": 200, "settle_full_balance": true});
    let proposed = desk.propose("create_instant_settlement", &whole).await.unwrap();
    assert_eq!(proposed.proposal.state, State::Blocked, "no limit allows everything there is");
    desk.wire.shut_down().await;
}

#[tokio::test]
async fn only_a_refund_with_its_id_and_our_reference_is_a_refund() {
    let desk = Desk::open().await;
    let done = desk.carry_out("create_refund", &refund()).await;
    let Committed::Settled(proposal) = &done else {
        panic!("{done:?}");
    };
    assert_eq!(proposal.state, State::Executed);
    let reference = proposal.fixed.id.to_string();
    let sent = desk.sent();
    assert_eq!(sent.len(), 1);
    assert!(
        sent[0].starts_with("POST /v1/payments/pay_00000000000001/refund"),
        "{sent:?}"
    );
    assert!(sent[0].contains(&reference), "{sent:?}");
    for (mode, expected) in [
        ("refused", &[State::Failed][..]),
        ("false_success", &[State::InDoubt]),
        ("empty_error", &[State::InDoubt]),
        // The refund was made, so a second look may find it at once.
        ("eof", &[State::InDoubt, State::Executed]),
        ("die", &[State::InDoubt, State::Executed]),
    ] {
        desk.mode(mode);
        let answer = state(&desk.carry_out("create_refund", &refund()).await);
        assert!(expected.contains(&answer), "{mode}: {answer:?}");
    }
    assert_eq!(desk.sent().len(), 6, "each was sent once");
    desk.wire.shut_down().await;
}

#[tokio::test]
async fn a_refund_whose_answer_was_lost_is_found_again_and_never_repeated() {
    let desk = Desk::open().await;
    desk.mode("die");
    let lost = desk.carry_out("create_refund", &refund()).await;
    desk.mode("false_success");
    let never = desk.carry_out("create_refund", &refund()).await;
    let id = |answer: &Committed| match answer {
        Committed::Settled(proposal) | Committed::InDoubt(proposal) => proposal.fixed.id,
        Committed::Refused { refusal, .. } => panic!("{refusal:?}"),
    };
    let (lost, never) = (id(&lost), id(&never));
    desk.mode("ok");
    desk.house.clock.forward(120);
    desk.house.broker.pay.reconcile(10).await.unwrap();
    let store = &desk.house.store;
    let stored = |id| async move { store.proposal(id).await.unwrap().unwrap() };
    assert_eq!(
        stored(lost).await.state,
        State::Executed,
        "it was there all the time"
    );
    assert_eq!(
        stored(never).await.state,
        State::InDoubt,
        "absence is no proof; a person decides"
    );
    assert_eq!(desk.sent().len(), 2);
}
