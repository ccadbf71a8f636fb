//! Payouts that others made at the bank, and what could be done about them that should not be:
//! understate, take out of people's hands, pay twice, hide behind one of our references.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use hundi::broker::{
    BankSettings, CommitRequest, Committed, ProposeRequest, Proposed, Settings, Trouble,
};
use hundi::domain::call::{Call, Reply};
use hundi::domain::change::{Change, DocKey, DocWrite, Pot, Record};
use hundi::domain::facts::{Freeze, FreezeScope};
use hundi::domain::ids::OrgId;
use hundi::domain::money::Currency;
use hundi::domain::policy::{Policy, RateLimit};
use hundi::domain::principal::Role;
use hundi::domain::proposal::{Proposal, State};
use hundi::domain::reason::{Reason, Refusal};
use hundi::domain::secret::Secret;
use hundi::domain::tool::Executor;
use hundi::domain::upstream::ToolRule;
use hundi::entry::http::{HttpOptions, router};
use hundi::store::{ProposalFilter, RecordFilter};
use hundi::wire::{Offered, UpstreamHealth, Wire};
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tower::ServiceExt;

use crate::support::bank::TestBank;
use crate::support::house::{House, Plan, agent_of, person};
use crate::support::server::Server;

const SECRET: &str = "whsec_of_the_test_suite";
const POUT: &str = "pout_00000000000001";
const FUND: &str = "fa_00000000000001";
const DECIDING: [&str; 3] = ["approve_payout", "reject_payout", "cancel_payout"];

/// A broker that holds payouts of others above 5,000, and whose agents may do all there is under a
/// daily limit of 10,000.
async fn house() -> House {
    let settings = Settings {
        bank: BankSettings {
            webhook_secrets: vec![Secret::new(SECRET)],
            ..BankSettings::default()
        },
        ..Settings::default()
    };
    let house = House::with(Plan {
        settings,
        ..Plan::default()
    })
    .await;
    let external = Policy {
        per_txn_limit: Some(10_000),
        require_approval_above: Some(5_000),
        ..wide()
    };
    house.policy("external", &external).await;
    let agent = Policy {
        daily_limit: Some(10_000),
        ..wide()
    };
    for name in ["agent-1", "agent-2"] {
        house.policy(name, &agent).await;
    }
    house
}

fn wide() -> Policy {
    Policy {
        allowed_tools: Some(vec!["*".to_owned()]),
        rate_limit: RateLimit {
            max: 0,
            window_secs: 60,
        },
        ..Policy::default()
    }
}

fn payout(status: &str, amount: i64) -> Value {
    json!({
        "id": POUT, "entity": "payout", "fund_account_id": FUND, "amount": amount,
        "currency": "INR", "notes": {"vendor_url": "https://acme.example"}, "fees": 0, "tax": 0,
        "status": status, "purpose": "payout", "utr": null, "mode": "IMPS",
        "reference_id": null, "created_at": 1_567_674_599,
    })
}

/// A payout that somebody made at the bank.
fn put(house: &House, status: &str, amount: i64) -> Value {
    let made = payout(status, amount);
    house.bank.put(made.clone());
    made
}

/// The arguments of a decision, as the agent says them.
fn says(tool: &str, amount: i64) -> Value {
    let mut args = json!({"payout_id": POUT, "amount": amount, "fund_account_id": FUND});
    if tool != "cancel_payout" {
        args["remarks"] = json!("fine");
    }
    args
}

/// The state in which a tool takes a payout.
fn waits_for(tool: &str) -> &'static str {
    match tool {
        "cancel_payout" => "queued",
        _ => "pending",
    }
}

async fn propose(house: &House, agent: &str, tool: &str, args: Value) -> Result<Proposed, Trouble> {
    let request = ProposeRequest {
        tool: tool.to_owned(),
        arguments: args,
        ..ProposeRequest::default()
    };
    house.broker.pay.propose(&agent_of(agent), request).await
}

async fn commit(house: &House, agent: &str, proposed: &Proposed) -> Committed {
    let request = CommitRequest {
        proposal_id: proposed.proposal.id().to_string(),
        commit_token: proposed.token.as_ref().unwrap().text.clone(),
        tool: None,
        arguments: proposed.proposal.fixed.args.value(),
    };
    let who = agent_of(agent);
    house.broker.pay.commit(&who, request).await.unwrap()
}

/// What a signed webhook about a payout comes to, cases worked off.
async fn hear(house: &House, payout: &Value, id: &str) {
    let body = event(payout);
    let sign = Secret::new(SECRET).sign(&[&body]);
    house
        .broker
        .bank
        .receive_webhook(&body, &sign, id)
        .await
        .unwrap();
    work(house).await;
}

fn event(payout: &Value) -> Vec<u8> {
    let name = format!("payout.{}", payout["status"].as_str().unwrap());
    let event = json!({
        "entity": "event", "event": name, "payload": {"payout": {"entity": payout}},
    });
    event.to_string().into_bytes()
}

async fn work(house: &House) {
    house.broker.bank.work_webhooks().await.unwrap();
    for _ in 0..3 {
        house.broker.bank.work_cases().await.unwrap();
    }
}

async fn records(house: &House) -> Vec<Record> {
    let filter = RecordFilter {
        after_seq: Some(0),
        limit: 1_000,
        ..RecordFilter::default()
    };
    let records = house.store.records(&filter).await.unwrap();
    records.into_iter().map(|stored| stored.record).collect()
}

async fn count(house: &House, is: impl Fn(&Record) -> bool) -> usize {
    records(house).await.iter().filter(|one| is(one)).count()
}

async fn proposals_of(house: &House, agent: &str) -> Vec<Proposal> {
    let filter = ProposalFilter {
        agent: Some(agent.parse().unwrap()),
        limit: 100,
        ..ProposalFilter::default()
    };
    house.store.proposals(&filter).await.unwrap()
}

/// Reserved and posted today.
async fn books(house: &House, agent: &str) -> (i64, i64) {
    let pot = Pot {
        org: OrgId::default(),
        agent: agent.parse().unwrap(),
        day: house
            .broker
            .ports()
            .ambient
            .now()
            .day_in(&jiff::tz::TimeZone::UTC),
        currency: Currency::INR,
    };
    let budget = house.store.budget(&pot).await.unwrap();
    (budget.pending, budget.posted)
}

async fn freeze(house: &House, scope: FreezeScope, id: &str) {
    let freeze = Freeze {
        scope,
        id: Some(id.to_owned()),
        reason: "drill".to_owned(),
        by: "key:op".to_owned(),
        at: house.broker.ports().ambient.now(),
    };
    let write = DocWrite {
        key: DocKey::new("freeze", &OrgId::default(), "state"),
        expect: None,
        body: Some(json!([freeze])),
    };
    let change = Change::documents(vec![write], vec![], vec![], vec![]);
    house.store.apply(change).await.unwrap();
    house.broker.refresh().await.unwrap();
}

fn refused(committed: &Committed) -> Option<Refusal> {
    match committed {
        Committed::Refused { refusal, .. } => Some(*refusal),
        Committed::Settled(_) | Committed::InDoubt(_) => None,
    }
}

#[tokio::test]
async fn amount_and_account_have_to_be_named_and_how_it_waits_is_not_for_an_agent_to_say() {
    let house = house().await;
    for tool in DECIDING {
        put(&house, waits_for(tool), 700);
        let whole = says(tool, 700);
        let mut cases: Vec<Value> = Vec::new();
        for field in ["payout_id", "amount", "fund_account_id"] {
            let mut without = whole.clone();
            without.as_object_mut().unwrap().remove(field);
            cases.push(without);
        }
        for state in ["queued", "pending"] {
            let mut told = whole.clone();
            told["waits_as"] = json!(state);
            cases.push(told);
        }
        for args in cases {
            let trouble = propose(&house, "agent-1", tool, args.clone())
                .await
                .unwrap_err();
            assert_eq!(trouble.code(), "invalid_arguments", "{tool} {args}");
        }
        let whole = propose(&house, "agent-1", tool, whole).await.unwrap();
        assert_eq!(whole.proposal.state, State::Allowed, "{tool}");
    }
}

#[tokio::test]
async fn seven_million_is_not_let_go_as_a_hundred() {
    let house = house().await;
    put(&house, "pending", 7_777_777);
    let args = says("approve_payout", 100);
    let trouble = propose(&house, "agent-1", "approve_payout", args)
        .await
        .unwrap_err();
    assert_eq!(
        (trouble.code(), trouble.status()),
        ("invalid_arguments", 400)
    );
    assert!(!trouble.to_string().contains("7777777"), "{trouble}");
    assert_eq!(books(&house, "agent-1").await, (0, 0));
    let tried = |r: &Record| r.kind == "propose_refused" && r.payout.as_deref() == Some(POUT);
    assert_eq!(count(&house, tried).await, 1, "a try is on record");
    let args = says("approve_payout", 7_777_777);
    let true_word = propose(&house, "agent-1", "approve_payout", args)
        .await
        .unwrap();
    assert_eq!(true_word.proposal.fixed.reason, Reason::LimitExceeded);
    assert!(house.bank.approved().is_empty());
    // And a queued one that waits for balance is nothing to approve.
    put(&house, "queued", 100);
    let args = says("approve_payout", 100);
    let trouble = propose(&house, "agent-1", "approve_payout", args)
        .await
        .unwrap_err();
    assert!(trouble.to_string().contains("queued"), "{trouble}");
}

#[tokio::test]
#[rustfmt::skip]
async fn what_the_bank_does_not_say_is_refused_for_every_decision() {
    //   at the bank                                 what the agent says
    let cases = [
        ("amount",          json!(701)),
        ("amount",          json!("700")),
        ("fund_account_id", json!("fa_00000000000002")),
        ("status",          json!("processed")),
        ("status",          json!("rejected")),
    ];
    for tool in DECIDING {
        for (field, value) in &cases {
            let house = house().await;
            let mut made = payout(waits_for(tool), 700);
            made[field] = value.clone();
            house.bank.put(made);
            let trouble = propose(&house, "agent-1", tool, says(tool, 700)).await.unwrap_err();
            assert_eq!(trouble.code(), "invalid_arguments", "{tool} {field} {value}");
            assert!(proposals_of(&house, "agent-1").await.is_empty());
        }
        let house = house().await;
        let nobody = propose(&house, "agent-1", tool, says(tool, 700)).await.unwrap_err();
        assert!(nobody.to_string().contains("knows no payout"), "{tool}: {nobody}");
        house.bank.set_down(true);
        let silent = propose(&house, "agent-1", tool, says(tool, 700)).await.unwrap_err();
        assert_eq!((silent.code(), silent.recovery().code()), ("upstream_failed", "wait"), "{tool}");
        assert!(proposals_of(&house, "agent-1").await.is_empty(), "nobody guesses");
    }
}

#[tokio::test]
async fn the_vendor_is_the_banks_word_and_not_the_agents() {
    let house = house().await;
    let policy = Policy {
        blocked_domains: vec!["evil.example".to_owned()],
        ..wide()
    };
    house.policy("agent-1", &policy).await;
    let mut made = payout("pending", 700);
    made["notes"] = json!({"vendor_url": "https://pay.evil.example", "vendor_name": "Evil Ltd"});
    house.bank.put(made);
    let unnamed = says("approve_payout", 700);
    let unnamed = propose(&house, "agent-1", "approve_payout", unnamed)
        .await
        .unwrap();
    assert_eq!(unnamed.proposal.fixed.reason, Reason::DomainBlocked);
    assert_eq!(
        unnamed.proposal.fixed.payee.name.as_deref(),
        Some("Evil Ltd")
    );
    let mut other = says("approve_payout", 700);
    other["notes"] = json!({"vendor_url": "https://acme.example"});
    let other = propose(&house, "agent-1", "approve_payout", other)
        .await
        .unwrap_err();
    assert_eq!(other.code(), "invalid_arguments");
}

#[tokio::test]
async fn a_frozen_account_is_not_paid_by_leaving_it_out() {
    let house = house().await;
    freeze(&house, FreezeScope::Vendor, FUND).await;
    for tool in DECIDING {
        put(&house, waits_for(tool), 700);
        let mut without = says(tool, 700);
        without.as_object_mut().unwrap().remove("fund_account_id");
        assert!(propose(&house, "agent-1", tool, without).await.is_err());
        let mut other = says(tool, 700);
        other["fund_account_id"] = json!("fa_00000000000002");
        assert!(propose(&house, "agent-1", tool, other).await.is_err());
        let named = propose(&house, "agent-1", tool, says(tool, 700))
            .await
            .unwrap();
        assert_eq!(named.proposal.fixed.reason, Reason::Frozen, "{tool}");
    }
}

#[tokio::test]
async fn whoever_may_not_propose_it_sends_nobody_to_the_bank() {
    let house = house().await;
    put(&house, "pending", 700);
    let args = || says("approve_payout", 700);
    let nobody = propose(&house, "agent-9", "approve_payout", args())
        .await
        .unwrap();
    assert_eq!(nobody.proposal.fixed.reason, Reason::NoPolicy);
    let paced = Policy {
        rate_limit: RateLimit {
            max: 1,
            window_secs: 60,
        },
        ..wide()
    };
    house.policy("agent-2", &paced).await;
    for n in 0..3 {
        let paced = propose(&house, "agent-2", "approve_payout", args())
            .await
            .unwrap();
        let limited = paced.proposal.fixed.reason == Reason::RateLimited;
        assert_eq!(limited, n > 0, "counted once each: {n}");
    }
    assert_eq!(house.bank.calls("fetch_payout").len(), 1);
}

#[tokio::test]
async fn an_open_case_is_decided_by_people_and_by_no_agent() {
    for tool in DECIDING {
        let house = house().await;
        let made = put(&house, waits_for(tool), 6_000);
        hear(&house, &made, "ev1").await;
        let held = proposals_of(&house, "external").await.remove(0);
        assert_eq!(held.state, State::Held);
        let blocked = propose(&house, "agent-1", tool, says(tool, 6_000))
            .await
            .unwrap();
        let fixed = &blocked.proposal.fixed;
        assert_eq!(
            (blocked.proposal.state, fixed.reason),
            (State::Blocked, Reason::ApprovalRequired)
        );
        assert!(
            fixed.findings[0].detail.contains("people decide"),
            "{:?}",
            fixed.findings
        );
        work(&house).await;
        assert_eq!(house.bank.payout(POUT)["status"], waits_for(tool));
        let still = house.store.proposal(held.id()).await.unwrap().unwrap();
        assert_eq!(still.state, State::Held, "{tool}");
        let approver = person(Role::Approver);
        house
            .broker
            .pay
            .approve(&approver, held.id())
            .await
            .unwrap();
        work(&house).await;
        let gone = house.store.proposal(held.id()).await.unwrap().unwrap();
        assert_eq!(gone.state, State::Executed, "{tool}");
        let false_word = |r: &Record| r.reason == "DECIDED_AT_BANK";
        assert_eq!(count(&house, false_word).await, 0);
    }
}

#[tokio::test]
async fn what_was_allowed_before_the_case_was_opened_does_not_overtake_it() {
    for tool in DECIDING {
        let house = house().await;
        let made = put(&house, waits_for(tool), 6_000);
        let early = propose(&house, "agent-1", tool, says(tool, 6_000))
            .await
            .unwrap();
        assert_eq!(early.proposal.state, State::Allowed);
        hear(&house, &made, "ev1").await;
        let late = commit(&house, "agent-1", &early).await;
        assert_eq!(refused(&late), Some(Refusal::PreconditionFailed), "{tool}");
        assert_eq!(house.bank.payout(POUT)["status"], waits_for(tool));
        assert_eq!(proposals_of(&house, "external").await[0].state, State::Held);
    }
}

#[tokio::test]
async fn one_payout_is_let_go_once_and_what_becomes_of_it_reaches_who_did() {
    let house = house().await;
    let mut made = put(&house, "pending", 700);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for (agent, kept) in [("agent-1", &mut first), ("agent-2", &mut second)] {
        let args = says("approve_payout", 700);
        kept.push(
            propose(&house, agent, "approve_payout", args)
                .await
                .unwrap(),
        );
    }
    let paid = commit(&house, "agent-1", &first[0]).await;
    assert!(matches!(&paid, Committed::Settled(p) if p.state == State::Executed));
    let again = commit(&house, "agent-2", &second[0]).await;
    assert_eq!(refused(&again), Some(Refusal::PreconditionFailed));
    assert_eq!(house.bank.approved(), [POUT]);
    assert_eq!(books(&house, "agent-1").await, (0, 700));
    // The bank's word of before comes late, and opens no case about what is gone.
    hear(&house, &made, "late").await;
    assert!(proposals_of(&house, "external").await.is_empty());
    made["status"] = json!("reversed");
    hear(&house, &made, "back").await;
    assert_eq!(books(&house, "agent-1").await, (0, 0), "it came back, once");
}

/// A proposal of ours and what the bank shows of its payout.
async fn ours(house: &House, amount: i64) -> (Proposed, Value) {
    let args = json!({
        "fund_account_id": FUND, "amount": amount, "currency": "INR", "mode": "IMPS",
        "purpose": "payout",
    });
    let made = propose(house, "agent-1", "create_payout", args)
        .await
        .unwrap();
    let mut shown = payout("pending", amount);
    shown["reference_id"] = json!(made.proposal.id());
    (made, shown)
}

#[tokio::test]
#[rustfmt::skip]
async fn a_borrowed_reference_hides_no_payout_however_it_is_heard_of() {
    //   what it has besides our reference          ours was sent
    let cases: &[(&str, Value, bool)] = &[
        ("amount",          json!(20_000),               true),
        ("amount",          json!(20_000),               false),
        ("fund_account_id", json!("fa_00000000000009"),  true),
        ("id",              json!("pout_00000000000777"), true),
        ("fees",            json!(0),                    false),
    ];
    for by_poll in [false, true] {
        for (field, value, sent) in cases {
            let house = house().await;
            // Nothing of others passes without a person.
            let held = Policy { require_approval_above: Some(0), ..wide() };
            house.policy("external", &held).await;
            let (made, mut shown) = ours(&house, 700).await;
            if *sent {
                commit(&house, "agent-1", &made).await;
            }
            shown[field] = value.clone();
            house.bank.put(shown.clone());
            for n in 0..3 {
                match by_poll {
                    true => drop(house.broker.bank.poll_now().await.unwrap()),
                    false => hear(&house, &shown, &format!("ev{n}")).await,
                }
                work(&house).await;
            }
            let row = format!("{field} {value}, sent {sent}, by poll {by_poll}");
            let governed = proposals_of(&house, "external").await;
            assert_eq!(governed.len(), 1, "{row}");
            assert_eq!((governed[0].state, governed[0].fixed.tool.as_str()),
                       (State::Held, "approve_payout"), "{row}");
            let told = |r: &Record| r.kind == "borrowed_reference" || r.kind == "contradicted";
            assert_eq!(count(&house, told).await, 1, "told once: {row}");
            let state = house.store.proposal(made.proposal.id()).await.unwrap().unwrap().state;
            let expected = if *sent { State::Executed } else { State::Allowed };
            assert_eq!(state, expected, "ours is as it was: {row}");
        }
    }
}

#[tokio::test]
async fn the_reference_of_any_proposal_can_be_borrowed() {
    let house = house().await;
    let transfer = house.transfer("agent-1", 700).await;
    let mut shown = payout("pending", 10_001);
    shown["reference_id"] = json!(transfer.proposal.id());
    house.bank.put(shown.clone());
    hear(&house, &shown, "ev1").await;
    assert_eq!(
        house.bank.payout(POUT)["status"],
        "rejected",
        "over the limit for others"
    );
}

#[tokio::test]
async fn a_borrowed_reference_keeps_no_doubt_open() {
    let house = house().await;
    let (made, mut borrowed) = ours(&house, 700).await;
    house.bank.set_down(true);
    let doubt = commit(&house, "agent-1", &made).await;
    assert!(matches!(doubt, Committed::InDoubt(_)));
    borrowed["amount"] = json!(701);
    house.bank.put(borrowed);
    house.bank.set_down(false);
    for _ in 0..4 {
        house.clock.forward(60);
        house.broker.pay.reconcile(100).await.unwrap();
    }
    let settled = house
        .store
        .proposal(made.proposal.id())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(settled.state, State::Executed);
    assert_eq!(
        house.bank.calls("create_payout").len(),
        1,
        "sent again once, after a look"
    );
}

#[tokio::test]
async fn a_genuine_webhook_under_a_used_event_id_is_kept_worked_off_and_reported() {
    let house = house().await;
    let harmless = json!({"event": "payment.captured"})
        .to_string()
        .into_bytes();
    let sign = |body: &[u8]| Secret::new(SECRET).sign(&[body]);
    let broker = &house.broker;
    let took = async |body: &[u8], id: &str| {
        let took = broker
            .bank
            .receive_webhook(body, &sign(body), id)
            .await
            .unwrap();
        took.name()
    };
    assert_eq!(took(&harmless, "ev1").await, "accepted");
    let hidden = event(&put(&house, "pending", 700));
    assert_eq!(took(&hidden, "ev1").await, "accepted");
    for again in [&harmless, &hidden] {
        assert_eq!(took(again, "ev1").await, "duplicate");
    }
    work(&house).await;
    assert_eq!(house.bank.approved(), [POUT], "it is worked off");
    let told = |r: &Record| r.detail["reused_event_id"] == json!(true);
    assert_eq!(count(&house, told).await, 1);
}

#[tokio::test]
async fn an_event_id_of_a_megabyte_is_not_stored() {
    let house = house().await;
    let body = event(&payout("processed", 700));
    let sign = Secret::new(SECRET).sign(&[&body]);
    for id in [
        "x".repeat(1 << 20),
        "x".repeat(65),
        "a b".to_owned(),
        String::new(),
    ] {
        let took = house
            .broker
            .bank
            .receive_webhook(&body, &sign, &id)
            .await
            .unwrap();
        assert!(["accepted", "duplicate"].contains(&took.name()));
    }
    let kept = records(&house).await;
    let longest = kept
        .iter()
        .map(|r| r.detail["event_id"].as_str().unwrap_or("").len());
    assert!(longest.max().unwrap() <= 80);
    let marks = house.store.docs("webhook", None).await.unwrap();
    assert!(
        marks.iter().all(|mark| mark.key.id.len() <= 80),
        "{marks:?}"
    );
}

/// An upstream that settles what it likes.
struct Generous;

#[async_trait]
impl Wire for Generous {
    async fn send(&self, _: &Call, _: Duration) -> Reply {
        Reply::Result {
            content: json!({"id": "x1", "amount": 900}),
            is_error: false,
        }
    }

    async fn offered(&self, _: &str, _: Duration) -> Result<Vec<Offered>, String> {
        Ok(Vec::new())
    }

    fn changes(&self) -> broadcast::Receiver<String> {
        broadcast::channel(1).1
    }

    fn health(&self) -> Vec<UpstreamHealth> {
        Vec::new()
    }
}

#[tokio::test]
async fn more_settled_than_reserved_is_posted_and_told_everywhere() {
    let house = House::with(Plan {
        wire: Some(Arc::new(Generous)),
        ..Plan::default()
    })
    .await;
    house.alter("noop", |tool| {
        let rule = json!({
            "result_id": {"path": "id", "pattern": "^x[0-9]$"}, "settled_amount": "amount",
        });
        let rule: ToolRule = serde_json::from_value(rule).unwrap();
        tool.executor = Executor::Upstream {
            upstream: "shop".to_owned(),
            tool: "pay".to_owned(),
            rule: Arc::new(rule),
        };
    });
    let policy = Policy {
        daily_limit: Some(1_000),
        ..wide()
    };
    house.policy("agent-1", &policy).await;
    let before = metric();
    let proposed = propose(&house, "agent-1", "noop", json!({"amount": 500}))
        .await
        .unwrap();
    let answer = commit(&house, "agent-1", &proposed).await;
    let answer = hundi::entry::shapes::committed(&answer);
    let told = json!({"reserved": 500, "settled": 900, "currency": "INR"});
    assert_eq!(answer["settled_above_reserved"], told, "{answer}");
    assert_eq!(
        books(&house, "agent-1").await,
        (0, 900),
        "what left is posted"
    );
    let record = |r: &Record| r.kind == "executed" && r.reason == "settled_above_reserved";
    assert_eq!(count(&house, record).await, 1);
    let now = house.broker.ports().ambient.now();
    let notices = house
        .store
        .take_notices(now, now.plus_secs(60), 10)
        .await
        .unwrap();
    let alerts = notices
        .iter()
        .filter(|one| one.notice.reason == "settled_above_reserved");
    assert_eq!(alerts.count(), 1);
    assert!(metric() > before);
}

fn metric() -> f64 {
    let text = hundi::telemetry::render();
    let line = text
        .lines()
        .find(|line| line.starts_with("hundi_settled_above_reserved_total "));
    line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

/// Over HTTP, through the real sidecar, at the sandbox bank.
#[tokio::test]
async fn the_real_sidecar_looks_before_it_decides() {
    let server = Server::start().await;
    let bank = TestBank::at(&server.bank.url);
    let policy = json!({
        "daily_limit": 1_000_000, "per_txn_limit": null, "require_approval_above": null,
        "allowed_tools": ["approve_payout", "reject_payout", "cancel_payout"],
    });
    let agent = agent_id(&server).await;
    let put = server
        .http
        .put(format!("{}/v1/agents/{agent}/policy", server.url))
        .bearer_auth(&server.admin_key)
        .json(&policy);
    assert!(put.send().await.unwrap().status().is_success());
    for (tool, waits, ends) in [
        (
            "approve_payout",
            "pending",
            &["processing", "processed"][..],
        ),
        ("reject_payout", "pending", &["rejected"]),
        ("cancel_payout", "queued", &["cancelled"]),
    ] {
        let made = json!({"status": waits, "amount": 7_700});
        let (_, made) = crate::support::bank::read(bank.post("/sandbox/payouts", &made)).await;
        let args = |amount: i64| {
            let mut args = says(tool, amount);
            args["payout_id"] = made["id"].clone();
            args["fund_account_id"] = made["fund_account_id"].clone();
            json!({"tool": tool, "arguments": args, "samples": ["same", "same"]})
        };
        let key = &server.agent_key;
        let (status, less) = server.post(key, "/v1/proposals", &args(100)).await.unwrap();
        assert_eq!(
            (status, &less["code"]),
            (400, &json!("invalid_arguments")),
            "{tool} {less}"
        );
        let (_, right) = server
            .post(key, "/v1/proposals", &args(7_700))
            .await
            .unwrap();
        assert_eq!(right["status"], "allowed", "{tool} {right}");
        let path = format!(
            "/v1/proposals/{}/commit",
            right["proposal_id"].as_str().unwrap()
        );
        let body = json!({
            "commit_token": right["commit_token"], "arguments": args(7_700)["arguments"],
        });
        let (_, done) = server.post(key, &path, &body).await.unwrap();
        assert_eq!(done["status"], "committed", "{tool} {done}");
        let state = done["result"]["status"].as_str().unwrap();
        assert!(ends.contains(&state), "{tool}: {state}");
    }
}

async fn agent_id(server: &Server) -> String {
    let keys = std::fs::read(server.dir.path().join("keys.json")).unwrap();
    let keys: Value = serde_json::from_slice(&keys).unwrap();
    keys["agent_id"].as_str().unwrap().to_owned()
}

/// A bank that fails is left alone for a moment: nobody waits, nothing is sent, nothing is lost.
#[tokio::test]
async fn a_failing_bank_has_a_breaker_that_turns_no_doubt_into_a_failure() {
    let server = Server::start().await;
    let always = json!({"kind": "reset", "when": "before", "probability": 1.0});
    server.bank.arm(always).await;
    let mut doubtful = Vec::new();
    // Each is sent and looked for, so a few are enough.
    for amount in 1..=4 {
        let transfer = server.transfer(amount).await;
        let (_, answer) = server.commit(&transfer).await.unwrap();
        if answer["status"] == "in_doubt" {
            doubtful.push(transfer.id);
        }
    }
    assert!(!doubtful.is_empty());
    let ready = server.get(&server.admin_key, "/readyz").await;
    let checks = ready["checks"].as_array().unwrap();
    let bank = checks.iter().find(|check| check["name"] == "breaker bank");
    assert!(bank.is_some(), "{ready}");
    let none = server
        .http
        .delete(format!("{}/sandbox/faults", server.bank.url));
    assert!(none.send().await.unwrap().status().is_success());
    for id in &doubtful {
        assert_eq!(
            server.settled(id, Duration::from_secs(60)).await,
            "executed"
        );
    }
    let paid = server.bank.paid().await;
    let once: std::collections::BTreeSet<_> = paid.iter().collect();
    assert_eq!(once.len(), paid.len(), "each at most once");
    let fresh = server.transfer(9).await;
    let (_, answer) = server.commit(&fresh).await.unwrap();
    assert_eq!(answer["status"], "committed", "{answer}");
}

/// `hundi webhook simulate`, its exit code and what it said on stderr.
fn simulate(server: &Server, key: &str, secret: &str) -> (Option<i32>, String) {
    let ran = std::process::Command::new(crate::support::server::HUNDI)
        .args(["webhook", "simulate", "--url", &server.url, "--key", key])
        .current_dir(server.dir.path())
        .env_clear()
        .env("HUNDI_RAZORPAY_WEBHOOK_SECRET", secret)
        .output()
        .unwrap();
    (
        ran.status.code(),
        String::from_utf8_lossy(&ran.stderr).into_owned(),
    )
}

#[tokio::test]
async fn simulated_webhooks_with_a_wrong_key_or_secret_fail_at_once_and_say_why() {
    let own = "whsec_4f9b1c7e2a8d";
    let server = Server::start_with(&[("HUNDI_RAZORPAY_WEBHOOK_SECRET", own)]).await;
    let unknown = "hk_00000000_00000000000000000000000000000000";
    let other = "whsec_0d5e8b3a6c1f";
    for (key, secret, named) in [
        (server.agent_key.as_str(), own, "key"),
        (unknown, own, "key"),
        (
            server.admin_key.as_str(),
            other,
            "HUNDI_RAZORPAY_WEBHOOK_SECRET",
        ),
    ] {
        let began = std::time::Instant::now();
        let (code, said) = simulate(&server, key, secret);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(named), "{said}");
        assert!(began.elapsed() < Duration::from_secs(6), "{said}");
    }
    let (code, said) = simulate(&server, &server.admin_key, own);
    assert_eq!(code, Some(0), "{said}");
}

/// The door itself, for what is not JSON-RPC and not the broker's own type.
#[tokio::test]
async fn over_rest_an_agent_cannot_say_how_a_payout_waits() {
    let house = house().await;
    put(&house, "queued", 7_777_777);
    let admin = person(Role::Admin);
    let (_, key) = house
        .broker
        .access
        .create_key(&admin, Role::Agent, "asker", None)
        .await
        .unwrap();
    let mut args = says("approve_payout", 100);
    args["waits_as"] = json!("queued");
    let body = json!({"tool": "approve_payout", "arguments": args});
    let request = Request::post("/v1/proposals")
        .header("authorization", format!("Bearer {key}"))
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap();
    let app = router(house.broker.clone(), HttpOptions::default());
    let answer = app.oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
}
