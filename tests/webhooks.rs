//! The bank's own word: believed when signed, stored before it is answered, and worked off once,
//! however often and in whatever order it comes. Payouts that others made are governed once.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use hundi::broker::{BankSettings, ProposeRequest, Settings};
use hundi::domain::change::{DocKey, Record};
use hundi::domain::facts::{Freeze, FreezeScope};
use hundi::domain::ids::{OrgId, ProposalId};
use hundi::domain::policy::{Policy, RateLimit};
use hundi::domain::principal::Role;
use hundi::domain::proposal::{Origin, Proposal, State};
use hundi::domain::secret::Secret;
use hundi::entry::http::{HttpOptions, router};
use hundi::store::{ProposalFilter, RecordFilter};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::house::{House, Plan, agent_of, person};

const SECRET: &str = "whsec_of_the_test_suite";
const OLD_SECRET: &str = "whsec_before_rotation";
const POUT: &str = "pout_00000000000001";

fn plan() -> Plan {
    plan_with(None)
}

fn plan_with(poll: Option<u32>) -> Plan {
    Plan {
        settings: Settings {
            bank: BankSettings {
                webhook_secrets: vec![Secret::new(SECRET), Secret::new(OLD_SECRET)],
                poll_interval_secs: poll,
                ..BankSettings::default()
            },
            ..Settings::default()
        },
        ..Plan::default()
    }
}

/// A broker whose policy for foreign payouts lets 10,000 pass and holds above 5,000.
async fn house() -> House {
    let house = House::with(plan()).await;
    house.policy("external", &policy()).await;
    house
}

fn policy() -> Policy {
    Policy {
        per_txn_limit: Some(10_000),
        daily_limit: Some(50_000),
        require_approval_above: Some(5_000),
        blocked_domains: vec!["evil.example".to_owned()],
        rate_limit: RateLimit {
            max: 0,
            window_secs: 60,
        },
        ..Policy::default()
    }
}

fn app(house: &House) -> Router {
    router(house.broker.clone(), HttpOptions::default())
}

fn payout(id: &str, status: &str, amount: i64) -> Value {
    json!({
        "id": id, "entity": "payout", "fund_account_id": "fa_00000000000001", "amount": amount,
        "currency": "INR", "notes": {"vendor_url": "https://acme.example", "agent_id": "lax-agent"},
        "fees": 0, "tax": 0, "status": status, "purpose": "payout", "utr": null, "mode": "IMPS",
        "reference_id": null, "created_at": 1_567_674_599,
    })
}

fn event(name: &str, payout: &Value) -> Vec<u8> {
    let event = json!({
        "entity": "event", "account_id": "acc_1", "event": name, "contains": ["payout"],
        "payload": {"payout": {"entity": payout}}, "created_at": 1_567_674_599,
    });
    event.to_string().into_bytes()
}

async fn post(app: &Router, body: &[u8], secret: &str, id: &str) -> (StatusCode, String) {
    post_signed(app, body, &Secret::new(secret).sign(&[body]), id).await
}

async fn post_signed(app: &Router, body: &[u8], sign: &str, id: &str) -> (StatusCode, String) {
    let request = Request::post("/webhooks/razorpay")
        .header("x-razorpay-signature", sign.as_bytes())
        .header("x-razorpay-event-id", id)
        .body(Body::from(body.to_vec()))
        .unwrap();
    let answer = app.clone().oneshot(request).await.unwrap();
    let status = answer.status();
    let body = axum::body::to_bytes(answer.into_body(), 1 << 20)
        .await
        .unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    (
        status,
        body["status"].to_string().trim_matches('"').to_owned(),
    )
}

/// Posts an event about a payout, and works it off.
async fn hear(house: &House, name: &str, payout: &Value, id: &str) {
    let (status, _) = post(&app(house), &event(name, payout), SECRET, id).await;
    assert_eq!(status, StatusCode::OK);
    work(house).await;
}

async fn work(house: &House) {
    house.broker.bank.work_webhooks().await.unwrap();
    // Twice: what a first look began, the second closes.
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

async fn external(house: &House) -> Vec<Proposal> {
    let filter = ProposalFilter {
        agent: Some("external".parse().unwrap()),
        limit: 100,
        ..ProposalFilter::default()
    };
    let mut proposals = house.store.proposals(&filter).await.unwrap();
    proposals.reverse();
    proposals
}

/// Tools and states of the broker's own proposals, by tool.
/// The proposals by tool: the clock stands still here, so their ids tell no order.
async fn story(house: &House) -> Vec<(String, State)> {
    let mut told: Vec<_> = external(house)
        .await
        .into_iter()
        .map(|p| (p.fixed.tool.to_string(), p.state))
        .collect();
    told.sort_by(|a, b| a.0.cmp(&b.0));
    told
}

fn told(tool: &str, state: State) -> (String, State) {
    (tool.to_owned(), state)
}

/// A payout of ours, executed.
async fn ours(house: &House) -> Proposal {
    house.policy("agent-1", &Policy::default()).await;
    let arguments = json!({
        "fund_account_id": "fa_00000000000001", "amount": 5_000, "currency": "INR",
        "mode": "IMPS", "purpose": "payout",
    });
    carried_out(house, "create_payout", arguments).await
}

/// Proposed and committed by the agent, whatever came of it.
async fn carried_out(house: &House, tool: &str, arguments: Value) -> Proposal {
    let request = ProposeRequest {
        tool: tool.to_owned(),
        arguments,
        ..ProposeRequest::default()
    };
    let who = agent_of("agent-1");
    let answer = house.broker.pay.propose(&who, request).await.unwrap();
    let request = hundi::broker::CommitRequest {
        proposal_id: answer.proposal.id().to_string(),
        commit_token: answer.token.unwrap().text,
        tool: None,
        arguments: answer.proposal.fixed.args.value(),
    };
    house.broker.pay.commit(&who, request).await.unwrap();
    read(house, answer.proposal.id()).await
}

async fn read(house: &House, id: ProposalId) -> Proposal {
    house.store.proposal(id).await.unwrap().unwrap()
}

/// What the bank shows of a payout of ours.
fn shown(proposal: &Proposal, status: &str) -> Value {
    let mut shown = payout("pout_made0000000000", status, 5_000);
    shown["reference_id"] = json!(proposal.fixed.id);
    shown
}

#[tokio::test]
async fn forged_is_refused_and_genuine_is_taken_under_every_listed_secret() {
    let house = house().await;
    let app = app(&house);
    let body = event("payout.processed", &payout(POUT, "processed", 100));
    let good = Secret::new(SECRET).sign(&[&body]);
    for bad in ["", "é", &good[1..], &good.to_uppercase(), &"0".repeat(64)] {
        let (status, _) = post_signed(&app, &body, bad, "ev1").await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{bad:?}");
    }
    let told = axum::body::to_bytes(
        app.clone()
            .oneshot(
                Request::post("/webhooks/razorpay")
                    .body(Body::empty())
                    .unwrap(),
            )
            .await
            .unwrap()
            .into_body(),
        1 << 20,
    );
    let told: Value = serde_json::from_slice(&told.await.unwrap()).unwrap();
    let detail = told["detail"].as_str().unwrap();
    assert!(
        detail.contains("signature") && !detail.contains("Bearer"),
        "{detail}"
    );
    let (status, _) = post(&app, &body, "another secret entirely", "ev1").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let mut other = body.clone();
    other.push(b' ');
    let (status, _) = post_signed(&app, &other, &good, "ev1").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "the raw bytes are signed");
    assert_eq!(
        post(&app, &body, SECRET, "ev1").await,
        (StatusCode::OK, "accepted".into())
    );
    assert_eq!(
        post(&app, &body, OLD_SECRET, "ev2").await,
        (StatusCode::OK, "accepted".into())
    );
    assert_eq!(
        post(&app, &body, SECRET, "ev1").await,
        (StatusCode::OK, "duplicate".into())
    );
}

#[tokio::test]
async fn without_a_secret_nothing_is_believed() {
    let house = House::new().await;
    let body = event("payout.pending", &payout(POUT, "pending", 100));
    let (status, _) = post(&app(&house), &body, "", "ev1").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(records(&house).await.is_empty());
}

#[tokio::test]
async fn forgeries_are_recorded_in_sums() {
    let house = house().await;
    let app = app(&house);
    for _ in 0..50 {
        post(&app, b"{}", "wrong secret", "ev1").await;
    }
    let sum = |records: &[Record]| -> (usize, i64) {
        let forged = records.iter().filter(|r| r.kind == "webhook_forged");
        let counts = forged.map(|r| r.detail["count"].as_i64().unwrap());
        let counts: Vec<_> = counts.collect();
        (counts.len(), counts.iter().sum())
    };
    // Nothing tells of a record but the store, so it is read until all are there.
    let all = async {
        loop {
            let (rows, count) = sum(&records(&house).await);
            if count == 50 {
                return rows;
            }
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(20), all).await;
    let rows = waited.expect("all were recorded");
    assert!(rows < 10, "{rows}");
}

#[tokio::test]
#[rustfmt::skip]
async fn genuine_and_unusable_is_kept_and_never_an_error() {
    let house = house().await;
    let app = app(&house);
    let down = json!({"event": "payout.downtime.resolved",
        "payload": {"payout.downtime": {"entity": {"id": "poutdown_1", "method": ["IMPS"]}}}});
    let cases: &[(&str, Vec<u8>)] = &[
        ("kept",     b"".to_vec()),
        ("kept",     b"{".to_vec()),
        ("kept",     b"[]".to_vec()),
        ("kept",     b"\xff\xfe".to_vec()),
        ("kept",     b"{\"event\":\"payout.queued\",\"event\":\"payout.processed\"}".to_vec()),
        ("kept",     b"{\"event\":1e999}".to_vec()),
        ("kept",     event("payout.pending", &json!({"id": "../../x", "status": "pending"}))),
        ("accepted", event("payout.pending", &json!({"id": POUT, "status": "pending", "amount": "5"}))),
        ("accepted", event("payout.updated", &payout(POUT, "a_new_state", 5))),
        ("accepted", b"{\"event\":\"payment.captured\"}".to_vec()),
        ("accepted", b"{\"event\":\"payout.brand_new\",\"payload\":[]}".to_vec()),
        ("accepted", down.to_string().into_bytes()),
    ];
    for (n, (expected, body)) in cases.iter().enumerate() {
        let answer = post(&app, body, SECRET, &format!("ev{n}")).await;
        assert_eq!(answer, (StatusCode::OK, (*expected).to_owned()), "{n}");
    }
    work(&house).await;
    let records = records(&house).await;
    assert_eq!(records.iter().filter(|r| r.kind == "webhook").count(), cases.len());
    assert_eq!(records.iter().filter(|r| r.reason == "UNSUPPORTED_EVENT").count(), 2);
    assert_eq!(records.iter().filter(|r| r.kind == "external_payout" && r.reason == "unusable").count(), 1);
    assert!(external(&house).await.is_empty());
    // Nothing blocks the queue for what comes next.
    hear(&house, "payout.pending", &put(&house, "pending", 100), "later").await;
    assert_eq!(story(&house).await, [told("approve_payout", State::Executed)]);
}

/// A payout that somebody made at the bank.
fn put(house: &House, status: &str, amount: i64) -> Value {
    let payout = payout(POUT, status, amount);
    house.bank.put(payout.clone());
    payout
}

#[tokio::test]
#[rustfmt::skip]
async fn a_foreign_payout_is_decided_as_its_state_and_the_policy_say() {
    let evil = json!({"vendor_url": "https://pay.evil.example"});
    let fine = json!({"vendor_url": "https://acme.example"});
    let none = json!([]);
    use State::*;
    //   at the bank  amount   notes  then at the bank  the broker's proposals
    #[allow(clippy::type_complexity, reason = "a table reads best in one place")]
    let cases: &[(&str, i64, &Value, &str, &[(&str, State)])] = &[
        ("pending",  5_000, &fine, "processing", &[("approve_payout", Executed)]),
        ("pending", 10_001, &fine, "rejected",   &[("approve_payout", Blocked), ("reject_payout", Executed)]),
        ("pending",    100, &evil, "rejected",   &[("approve_payout", Blocked), ("reject_payout", Executed)]),
        ("pending",  5_001, &fine, "pending",    &[("approve_payout", Held)]),
        // Nobody can compare what is not named with the list of blocked sites.
        ("pending",    100, &none, "pending",    &[("approve_payout", Held)]),
        ("queued",   5_000, &fine, "queued",     &[("approve_payout", Executed)]),
        ("queued",  10_001, &fine, "cancelled",  &[("approve_payout", Blocked), ("cancel_payout", Executed)]),
        ("queued",   5_001, &fine, "queued",     &[("approve_payout", Held)]),
        ("scheduled",  100, &fine, "scheduled",  &[]),
        ("processed",  100, &fine, "processed",  &[]),
    ];
    for (status, amount, notes, after, expected) in cases {
        let house = house().await;
        let mut made = payout(POUT, status, *amount);
        made["notes"] = (*notes).clone();
        house.bank.put(made.clone());
        hear(&house, &format!("payout.{status}"), &made, "ev1").await;
        let row = format!("{status} {amount} {notes}");
        assert_eq!(house.bank.payout(POUT)["status"], *after, "{row}");
        let expected: Vec<_> = expected.iter().map(|(tool, state)| told(tool, *state)).collect();
        assert_eq!(story(&house).await, expected, "{row}");
        for reject in house.bank.calls("reject_payout") {
            assert!(reject["remarks"].as_str().unwrap().starts_with("hundi: "), "{reject}");
        }
        let approvals = house.bank.approved().len();
        assert_eq!(approvals, usize::from(*after == "processing"), "{row}: never from queued");
    }
}

#[tokio::test]
async fn without_a_policy_for_them_foreign_payouts_are_turned_down() {
    let house = House::with(plan()).await;
    // The agent that the payout names has a policy that would allow everything.
    house.policy("lax-agent", &Policy::default()).await;
    hear(
        &house,
        "payout.pending",
        &put(&house, "pending", 100),
        "ev1",
    )
    .await;
    assert_eq!(house.bank.payout(POUT)["status"], "rejected");
    let records = records(&house).await;
    let noted = records
        .iter()
        .find(|r| r.kind == "external_payout")
        .unwrap();
    assert_eq!(noted.detail["claimed_agent"], "lax-agent");
    assert_eq!(noted.agent.as_ref().unwrap().as_str(), "external");
}

#[tokio::test]
async fn a_held_one_goes_when_a_person_agrees_and_not_when_one_refuses() {
    for (status, approve, after) in [
        ("pending", true, "processing"),
        ("pending", false, "rejected"),
        ("queued", true, "queued"),
        ("queued", false, "cancelled"),
    ] {
        let house = house().await;
        hear(&house, "payout.pending", &put(&house, status, 6_000), "ev1").await;
        let held = external(&house).await.remove(0);
        assert_eq!((held.state, held.fixed.origin), (State::Held, Origin::Bank));
        let who = person(Role::Approver);
        if approve {
            house.broker.pay.approve(&who, held.id()).await.unwrap();
        } else {
            house
                .broker
                .pay
                .reject(&who, held.id(), "no")
                .await
                .unwrap();
        }
        work(&house).await;
        assert_eq!(
            house.bank.payout(POUT)["status"],
            after,
            "{status} {approve}"
        );
        assert!(house.store.docs("case", None).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn what_nobody_approved_in_time_is_turned_down() {
    let house = house().await;
    hear(
        &house,
        "payout.queued",
        &put(&house, "queued", 6_000),
        "ev1",
    )
    .await;
    house.clock.forward(2 * 24 * 60 * 60);
    house.broker.pay.lapse(100).await.unwrap();
    work(&house).await;
    assert_eq!(house.bank.payout(POUT)["status"], "cancelled");
}

#[tokio::test]
async fn governed_exactly_once_by_webhooks_and_polls_in_any_order() {
    let house = house().await;
    let made = put(&house, "pending", 5_000);
    let app = app(&house);
    let body = event("payout.pending", &made);
    for id in ["ev1", "ev1", "ev2", "ev3"] {
        post(&app, &body, SECRET, id).await;
    }
    let second = house.again(plan()).await;
    let (one, two, three) = tokio::join!(
        house.broker.bank.work_webhooks(),
        second.broker.bank.work_webhooks(),
        second.broker.bank.poll_now(),
    );
    one.unwrap();
    two.unwrap();
    three.unwrap();
    for _ in 0..4 {
        let (one, two) = tokio::join!(
            house.broker.bank.work_cases(),
            second.broker.bank.work_cases()
        );
        one.unwrap();
        two.unwrap();
    }
    house.broker.bank.poll_now().await.unwrap();
    work(&house).await;
    assert_eq!(
        story(&house).await,
        [told("approve_payout", State::Executed)]
    );
    assert_eq!(house.bank.calls("approve_payout").len(), 1);
    let pot = hundi::domain::change::Pot {
        org: OrgId::default(),
        agent: "external".parse().unwrap(),
        day: external(&house).await[0].fixed.day,
        currency: hundi::domain::money::Currency::INR,
    };
    assert_eq!(house.store.budget(&pot).await.unwrap().posted, 5_000);
}

#[tokio::test]
async fn work_goes_on_in_another_process() {
    let house = house().await;
    let made = put(&house, "pending", 5_000);
    post(&app(&house), &event("payout.pending", &made), SECRET, "ev1").await;
    // The first process dies right after its answer.
    let second = house.again(plan()).await;
    work(&second).await;
    assert_eq!(house.bank.payout(POUT)["status"], "processing");
}

#[tokio::test]
async fn a_freeze_stops_foreign_payouts_and_its_end_lets_them_go_on() {
    let house = house().await;
    freeze(&house, true).await;
    hear(
        &house,
        "payout.pending",
        &put(&house, "pending", 5_000),
        "ev1",
    )
    .await;
    assert_eq!(house.bank.payout(POUT)["status"], "pending");
    freeze(&house, false).await;
    house.clock.forward(30);
    work(&house).await;
    assert_eq!(house.bank.payout(POUT)["status"], "processing");
}

async fn freeze(house: &House, on: bool) {
    let freeze = Freeze {
        scope: FreezeScope::All,
        id: None,
        reason: "drill".to_owned(),
        by: "key:op".to_owned(),
        at: house.broker.ports().ambient.now(),
    };
    let write = hundi::domain::change::DocWrite {
        key: DocKey::new("freeze", &OrgId::default(), "state"),
        expect: None,
        body: on.then(|| json!([freeze])),
    };
    let change = hundi::domain::change::Change::documents(vec![write], vec![], vec![], vec![]);
    house.store.apply(change).await.unwrap();
    house.broker.refresh().await.unwrap();
}

#[tokio::test]
async fn events_about_our_own_payouts_report_what_became_of_them() {
    let house = house().await;
    let paid = ours(&house).await;
    assert_eq!(paid.state, State::Executed);
    hear(
        &house,
        "payout.processed",
        &shown(&paid, "processed"),
        "ev1",
    )
    .await;
    assert_eq!(read(&house, paid.id()).await.state, State::Executed);
    hear(&house, "payout.reversed", &shown(&paid, "reversed"), "ev2").await;
    assert_eq!(read(&house, paid.id()).await.state, State::Reversed);
    // Late, again, and in disorder: final stays final.
    for (n, status) in ["processing", "processed", "reversed", "pending"]
        .iter()
        .enumerate()
    {
        let name = format!("payout.{status}");
        hear(&house, &name, &shown(&paid, status), &format!("late{n}")).await;
        assert_eq!(
            read(&house, paid.id()).await.state,
            State::Reversed,
            "{status}"
        );
    }
    assert!(
        external(&house).await.is_empty(),
        "our own are not governed as foreign"
    );
}

/// Two payments under one reference: what becomes of the second says nothing about the first.
#[tokio::test]
async fn another_payment_under_our_reference_undoes_nothing_and_is_reported() {
    let house = house().await;
    let paid = ours(&house).await;
    for (n, status) in ["reversed", "reversed", "processed"].iter().enumerate() {
        let mut other = shown(&paid, status);
        other["id"] = json!("pout_00000000000777");
        hear(
            &house,
            &format!("payout.{status}"),
            &other,
            &format!("ev{n}"),
        )
        .await;
        assert_eq!(
            read(&house, paid.id()).await.state,
            State::Executed,
            "{status}"
        );
    }
    let told = records(&house).await;
    let told: Vec<_> = told
        .iter()
        .filter(|record| record.kind == "contradicted")
        .collect();
    assert_eq!(told.len(), 2, "each thing it says is told once");
    assert_eq!(told[0].proposal, Some(paid.id()));
}

/// The bank has no event for a payout that was cancelled through us.
#[tokio::test]
async fn a_payout_that_we_cancel_gives_its_budget_back() {
    let house = house().await;
    let paid = ours(&house).await;
    let spent = async || {
        let agent = "agent-1".parse().unwrap();
        let view = house
            .broker
            .pay
            .budget(&person(Role::Admin), &agent)
            .await
            .unwrap();
        (view.reserved, view.posted)
    };
    assert_eq!(spent().await, (0, 5_000));
    let mut waits = house.bank.payout("pout_made0000000000");
    waits["status"] = json!("queued");
    house.bank.put(waits);
    let may_cancel = Policy {
        allowed_tools: Some(vec!["cancel_payout".to_owned(), "create_payout".to_owned()]),
        ..Policy::default()
    };
    house.policy("agent-1", &may_cancel).await;
    let arguments = json!({
        "payout_id": "pout_made0000000000", "amount": 5_000, "fund_account_id": "fa_00000000000001",
    });
    let cancelled = carried_out(&house, "cancel_payout", arguments).await;
    assert_eq!(cancelled.state, State::Executed);
    // Left to be told with the settlement, and told once, by whichever node turns to it.
    assert_eq!(house.broker.bank.work_withdrawn().await, Ok(1));
    assert_eq!(read(&house, paid.id()).await.state, State::Reversed);
    assert_eq!(spent().await, (0, 0));
    assert_eq!(house.broker.bank.work_withdrawn().await, Ok(0));
}

#[tokio::test]
async fn an_event_settles_a_doubt() {
    let house = house().await;
    house.bank.set_down(true);
    let doubtful = ours(&house).await;
    assert_eq!(doubtful.state, State::InDoubt);
    hear(
        &house,
        "payout.initiated",
        &shown(&doubtful, "processing"),
        "ev1",
    )
    .await;
    assert_eq!(read(&house, doubtful.id()).await.state, State::Executed);
}

#[tokio::test]
async fn an_event_with_another_amount_or_account_proves_nothing() {
    let house = house().await;
    house.bank.set_down(true);
    let doubtful = ours(&house).await;
    for (n, (field, value)) in [
        ("amount", json!(5_001)),
        ("fund_account_id", json!("fa_00000000000009")),
        ("currency", json!("USD")),
    ]
    .into_iter()
    .enumerate()
    {
        let mut other = shown(&doubtful, "processed");
        other[field] = value;
        hear(&house, "payout.processed", &other, &format!("ev{n}")).await;
        assert_eq!(read(&house, doubtful.id()).await.state, State::InDoubt);
    }
    let records = records(&house).await;
    assert_eq!(
        records
            .iter()
            .filter(|r| r.reason == "evidence_mismatch")
            .count(),
        3
    );
}

#[tokio::test]
async fn a_foreign_payout_that_was_let_go_and_came_back_is_reported() {
    let house = house().await;
    let mut made = put(&house, "pending", 5_000);
    hear(&house, "payout.pending", &made, "ev1").await;
    made["status"] = json!("reversed");
    hear(&house, "payout.reversed", &made, "ev2").await;
    assert_eq!(
        story(&house).await,
        [told("approve_payout", State::Reversed)]
    );
}

#[tokio::test]
async fn polling_finds_what_no_webhook_told_and_waits_longer_after_failures() {
    let house = House::with(plan_with(Some(30))).await;
    let no_list = Policy {
        blocked_domains: Vec::new(),
        ..policy()
    };
    house.policy("external", &no_list).await;
    for n in 0..250 {
        let mut made = payout(&format!("pout_{n:014}"), "pending", 100);
        made["notes"] = if n % 2 == 0 {
            json!([])
        } else {
            json!({"agent_id": 7})
        };
        house.bank.put(made);
    }
    house.bank.set_down(true);
    assert!(house.broker.bank.poll_if_due().await.is_err());
    house.broker.bank.poll_if_due().await.unwrap();
    house.bank.set_down(false);
    house.clock.forward(1);
    house.broker.bank.poll_if_due().await.unwrap();
    assert!(
        house.bank.calls("list_payouts").is_empty(),
        "not before the pause is over"
    );
    house.clock.forward(9);
    house.broker.bank.poll_if_due().await.unwrap();
    assert_eq!(
        house.bank.calls("list_payouts").len(),
        4,
        "three pages of pending, one of queued"
    );
    while !house.store.docs("case", None).await.unwrap().is_empty() {
        house.broker.bank.work_cases().await.unwrap();
    }
    assert_eq!(house.bank.calls("approve_payout").len(), 250);
    house.clock.forward(29);
    house.broker.bank.poll_if_due().await.unwrap();
    assert_eq!(house.bank.calls("list_payouts").len(), 4);
    house.clock.forward(8);
    house.broker.bank.poll_if_due().await.unwrap();
    assert_eq!(house.bank.calls("list_payouts").len(), 6);
}

#[tokio::test]
async fn hundreds_that_wait_for_people_hold_up_nobody_else() {
    let house = house().await;
    let wide = Policy {
        daily_limit: None,
        ..policy()
    };
    house.policy("external", &wide).await;
    for n in 0..230 {
        house
            .bank
            .put(payout(&format!("pout_{n:014}"), "pending", 6_000));
    }
    house.broker.bank.poll_now().await.unwrap();
    for _ in 0..4 {
        house.broker.bank.work_cases().await.unwrap();
    }
    assert_eq!(house.store.docs("case", None).await.unwrap().len(), 230);
    // Sorts after all of them.
    let late = payout("pout_zzzzzzzzzzzzzz", "pending", 100);
    house.bank.put(late.clone());
    let body = event("payout.pending", &late);
    post(&app(&house), &body, SECRET, "ev1").await;
    house.broker.bank.work_webhooks().await.unwrap();
    for _ in 0..6 {
        house.broker.bank.work_cases().await.unwrap();
    }
    assert_eq!(
        house.bank.payout("pout_zzzzzzzzzzzzzz")["status"],
        "processing"
    );
}

#[tokio::test]
async fn a_poll_by_hand_tells_the_decision_about_each_of_hundreds() {
    let house = house().await;
    let wide = Policy {
        daily_limit: None,
        ..policy()
    };
    house.policy("external", &wide).await;
    let mut waiting = Vec::new();
    for n in 0..450 {
        let id = format!("pout_{n:014}");
        // A third each: let go, held, turned down.
        let amount = [100, 6_000, 10_001][n % 3];
        house.bank.put(payout(&id, "pending", amount));
        waiting.push((id, ["APPROVED", "HELD", "REJECTED"][n % 3].to_owned()));
    }
    let who = person(Role::Operator);
    let asked = house.broker.bank.relay_poll(&who).await.unwrap();
    assert_eq!(asked.found, 450);
    let told = asked.decisions.into_iter();
    let mut told: Vec<_> = told.map(|one| (one.payout, one.decision)).collect();
    told.sort();
    assert_eq!(told, waiting);
}

async fn reserved(house: &House) -> (i64, i64) {
    let pot = hundi::domain::change::Pot {
        org: OrgId::default(),
        agent: "external".parse().unwrap(),
        day: external(house).await[0].fixed.day,
        currency: hundi::domain::money::Currency::INR,
    };
    let budget = house.store.budget(&pot).await.unwrap();
    (budget.pending, budget.posted)
}

#[tokio::test]
async fn what_somebody_decides_at_the_bank_is_not_asked_here_any_more() {
    let house = house().await;
    let mut made = put(&house, "pending", 6_000);
    hear(&house, "payout.pending", &made, "ev1").await;
    assert_eq!(reserved(&house).await, (6_000, 0));
    made["status"] = json!("processing");
    house.bank.put(made.clone());
    hear(&house, "payout.initiated", &made, "ev2").await;
    assert_eq!(
        story(&house).await,
        [told("approve_payout", State::Cancelled)]
    );
    assert_eq!(reserved(&house).await, (0, 0));
    assert!(house.store.docs("case", None).await.unwrap().is_empty());
    assert!(
        house.bank.calls("reject_payout").is_empty(),
        "and nobody turns it down"
    );
    let records = records(&house).await;
    assert!(
        records
            .iter()
            .any(|record| record.reason == "DECIDED_AT_BANK")
    );
}

#[tokio::test]
async fn a_payout_that_waits_again_in_another_state_is_held_once() {
    let house = house().await;
    let mut made = put(&house, "pending", 6_000);
    hear(&house, "payout.pending", &made, "ev1").await;
    // Approved at the bank, and now it waits for balance.
    made["status"] = json!("queued");
    house.bank.put(made.clone());
    hear(&house, "payout.queued", &made, "ev2").await;
    let expected = [
        told("approve_payout", State::Cancelled),
        told("approve_payout", State::Held),
    ];
    let mut seen = story(&house).await;
    seen.sort_by_key(|(_, state)| *state == State::Held);
    assert_eq!(seen, expected);
    assert_eq!(reserved(&house).await, (6_000, 0), "reserved once");
}

#[tokio::test]
async fn what_we_let_go_and_then_waits_for_balance_is_not_governed_again() {
    let house = house().await;
    let mut made = put(&house, "pending", 5_000);
    let app = app(&house);
    post(&app, &event("payout.pending", &made), SECRET, "ev1").await;
    house.broker.bank.work_webhooks().await.unwrap();
    // Approved at the bank by now; the case is closed at the next look only.
    house.broker.bank.work_cases().await.unwrap();
    made["status"] = json!("queued");
    post(&app, &event("payout.queued", &made), SECRET, "ev2").await;
    work(&house).await;
    assert_eq!(
        story(&house).await,
        [told("approve_payout", State::Executed)]
    );
    assert_eq!(reserved(&house).await, (0, 5_000));
}

/// Stores outlive versions: what one wrote, another reads.
#[tokio::test]
async fn what_is_kept_of_payouts_of_others_is_spelt_as_ever() {
    let house = House::with(plan_with(Some(30))).await;
    house.policy("external", &policy()).await;
    let held = put(&house, "pending", 6_000);
    hear(&house, "payout.pending", &held, "ev1").await;
    house.broker.bank.poll_if_due().await.unwrap();
    work(&house).await;
    let case = &format!("{POUT}/pending");
    let waits: [(&str, &str, &[&str]); 5] = [
        ("webhook", "ev1", &["at", "event", "sha256"]),
        ("webhook_cursor", "razorpay", &["after_seq", "lease_until"]),
        ("case_seen", case, &["at", "heard"]),
        (
            "case",
            case,
            &["attempt", "heard", "not_before", "opened_at", "payout"],
        ),
        ("poll", "razorpay", &["asked", "due", "failures"]),
    ];
    for (kind, id, fields) in waits {
        let key = DocKey::new(kind, &OrgId::default(), id);
        let doc = house.store.doc(&key).await.unwrap().expect(kind);
        let spelt: Vec<_> = doc.body.as_object().unwrap().keys().collect();
        assert_eq!(spelt, fields, "{kind}");
    }
    let one = external(&house).await.remove(0);
    let approver = person(Role::Approver);
    house
        .broker
        .pay
        .approve(&approver, one.fixed.id)
        .await
        .unwrap();
    work(&house).await;
    let key = DocKey::new("bank_payout", &OrgId::default(), POUT);
    let doc = house.store.doc(&key).await.unwrap().unwrap();
    assert_eq!(doc.body, json!({"proposal": one.fixed.id}));
}
