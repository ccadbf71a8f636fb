//! What agents are told, and that it leads nowhere astray: what never left, what expired, what
//! nobody can be asked about, and what several ask for at once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use hundi::broker::{CommitRequest, ProposeRequest, Proposed, Trouble};
use hundi::connector::registry;
use hundi::domain::call::{Call, Reply};
use hundi::domain::change::Pot;
use hundi::domain::ids::{OrgId, ProposalId};
use hundi::domain::policy::Policy;
use hundi::domain::principal::Role;
use hundi::domain::proposal::State;
use hundi::domain::tool::Executor;
use hundi::entry::shapes;
use hundi::wire::{Offered, UpstreamHealth, Wire};
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::support::house::{House, Plan, agent_of, person};

const NOT_REACHED: &str = "connection refused";

/// A line to a provider that is cut, loses what it carries, or works; it remembers what was sent.
struct Line {
    now: Mutex<Reply>,
    heard: Mutex<Vec<Call>>,
}

impl Line {
    fn cut() -> Arc<Self> {
        Arc::new(Self {
            now: Mutex::new(Reply::NotSent(NOT_REACHED.to_owned())),
            heard: Mutex::default(),
        })
    }

    fn is(&self, reply: Reply) {
        *self.now.lock().unwrap() = reply;
    }

    fn works(&self) {
        self.is(Reply::Result {
            content: json!({"id": "x1", "status": "done"}),
            is_error: false,
        });
    }

    fn heard(&self) -> Vec<Call> {
        self.heard.lock().unwrap().clone()
    }
}

#[async_trait]
impl Wire for Line {
    async fn send(&self, call: &Call, _: Duration) -> Reply {
        self.heard.lock().unwrap().push(call.clone());
        self.now.lock().unwrap().clone()
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

const AGENT: &str = "payer";

fn policy() -> Policy {
    Policy {
        allowed_tools: Some(vec!["*".to_owned()]),
        ..Policy::default()
    }
}

/// A house on this line, with `wire_money`: a tool of an upstream that nobody can be asked about.
async fn house(line: &Arc<Line>, policy: Policy) -> House {
    let house = House::with(Plan {
        wire: Some(line.clone()),
        ..Plan::default()
    })
    .await;
    let mut tools = (*house.broker.tools.catalogue().tools(&Default::default())).clone();
    let mut plain = (*tools["noop"]).clone();
    plain.name = "wire_money".parse().unwrap();
    plain.executor = Executor::Upstream {
        upstream: "shop".into(),
        tool: "wire_money".into(),
        rule: Default::default(),
    };
    tools.insert("wire_money".to_owned(), Arc::new(plain));
    house.broker.tools.catalogue().replace(tools);
    house.policy(AGENT, &policy).await;
    assert!(
        registry::tools(true)
            .iter()
            .any(|tool| tool.name.as_str() == "noop")
    );
    house
}

async fn proposed(house: &House, tool: &str) -> Proposed {
    let request = ProposeRequest {
        tool: tool.to_owned(),
        arguments: json!({"amount": 500}),
        ..ProposeRequest::default()
    };
    let who = agent_of(AGENT);
    house.broker.pay.propose(&who, request).await.unwrap()
}

fn request(proposed: &Proposed, token: &str) -> CommitRequest {
    CommitRequest {
        proposal_id: proposed.proposal.fixed.id.to_string(),
        commit_token: token.to_owned(),
        tool: None,
        arguments: json!({"amount": 500}),
    }
}

/// What a commit with this token answers, as every door spells it.
async fn commit(house: &House, proposed: &Proposed, token: &str) -> Value {
    let request = request(proposed, token);
    let answer = house.broker.pay.commit(&agent_of(AGENT), request).await;
    shapes::committed(&answer.unwrap())
}

fn token(proposed: &Proposed) -> String {
    proposed.token.as_ref().expect("allowed").text.clone()
}

async fn read(house: &House, id: ProposalId) -> Value {
    let who = person(Role::Admin);
    shapes::proposal(&house.broker.pay.proposal(&who, id).await.unwrap())
}

/// One turn of recovery, once it is due.
async fn later(house: &House, secs: i64) {
    house.clock.forward(secs);
    house.broker.pay.reconcile(10).await.unwrap();
}

async fn pending(house: &House, proposed: &Proposed) -> (i64, i64) {
    let fixed = &proposed.proposal.fixed;
    let pot = Pot {
        org: OrgId::default(),
        agent: fixed.agent.clone(),
        day: fixed.day,
        currency: fixed.effective.currency().unwrap(),
    };
    let budget = house.store.budget(&pot).await.unwrap();
    (budget.pending, budget.posted)
}

#[tokio::test]
async fn what_never_left_is_tried_again_under_the_same_key_and_done_once() {
    for tool in ["noop", "wire_money"] {
        let line = Line::cut();
        let house = house(&line, policy()).await;
        let allowed = proposed(&house, tool).await;
        let id = allowed.proposal.fixed.id;
        let answer = commit(&house, &allowed, &token(&allowed)).await;
        let told = (&answer["status"], &answer["sent"], &answer["recovery"]);
        assert_eq!(
            told,
            (&json!("in_doubt"), &json!(false), &json!("wait")),
            "{tool}: {answer}"
        );
        for _ in 0..3 {
            later(&house, 15).await;
            assert_eq!(read(&house, id).await["state"], "in_doubt", "{tool}");
        }
        assert_eq!(line.heard().len(), 4, "{tool}: it goes on trying");
        line.works();
        later(&house, 15).await;
        let seen = read(&house, id).await;
        assert_eq!(seen["state"], "executed", "{tool}: {seen}");
        let heard = line.heard();
        assert!(
            heard.iter().all(|call| call == &heard[0]),
            "{tool}: the same bytes"
        );
        later(&house, 60).await;
        assert_eq!(line.heard().len(), heard.len(), "{tool}: and once");
    }
}

#[tokio::test]
async fn what_never_left_fails_when_its_time_is_over_and_says_propose_again() {
    let line = Line::cut();
    let house = house(&line, policy()).await;
    let allowed = proposed(&house, "noop").await;
    commit(&house, &allowed, &token(&allowed)).await;
    assert_eq!(pending(&house, &allowed).await, (500, 0));
    let fixed = &allowed.proposal.fixed;
    later(&house, fixed.lapses_at.secs() - fixed.created_at.secs() + 1).await;
    let seen = read(&house, fixed.id).await;
    let told = (
        &seen["state"],
        &seen["commit"]["reason"],
        &seen["commit"]["recovery"],
    );
    let expected = (
        &json!("failed"),
        &json!("provider_unreachable"),
        &json!("propose_again"),
    );
    assert_eq!(told, expected, "{seen}");
    assert_eq!(
        pending(&house, &allowed).await,
        (0, 0),
        "the budget came back"
    );
    let sent = line.heard().len();
    line.works();
    later(&house, 60).await;
    assert_eq!(
        line.heard().len(),
        sent,
        "a failed one is not sent any more"
    );
}

#[tokio::test]
async fn what_never_left_ends_at_once_when_it_is_cancelled() {
    let line = Line::cut();
    let house = house(&line, policy()).await;
    let allowed = proposed(&house, "wire_money").await;
    let id = allowed.proposal.fixed.id;
    commit(&house, &allowed, &token(&allowed)).await;
    let cancelled = house.broker.pay.cancel(&agent_of(AGENT), id).await.unwrap();
    assert_eq!(cancelled.proposal.state, State::Cancelled);
    let seen = read(&house, id).await;
    assert_eq!(
        (&seen["state"], &seen["commit"]["status"]),
        (&json!("cancelled"), &json!("cancelled"))
    );
    assert_eq!(
        pending(&house, &allowed).await,
        (0, 0),
        "the budget came back"
    );
    line.works();
    let sent = line.heard().len();
    later(&house, 120).await;
    assert_eq!(line.heard().len(), sent, "nothing goes out after a cancel");
}

#[tokio::test]
async fn once_something_may_have_left_nobody_says_any_more_that_nothing_did() {
    let line = Line::cut();
    let house = house(&line, policy()).await;
    let allowed = proposed(&house, "wire_money").await;
    let id = allowed.proposal.fixed.id;
    commit(&house, &allowed, &token(&allowed)).await;
    line.is(Reply::Lost("no answer".to_owned()));
    later(&house, 15).await;
    let seen = read(&house, id).await["commit"].clone();
    assert_eq!(
        (&seen["status"], &seen["sent"]),
        (&json!("in_doubt"), &json!(true)),
        "{seen}"
    );
    let refused = house
        .broker
        .pay
        .cancel(&agent_of(AGENT), id)
        .await
        .unwrap_err();
    assert_eq!(refused, Trouble::WrongState(State::InDoubt));
    // Cut again: that says nothing about the sending before.
    line.is(Reply::NotSent(NOT_REACHED.to_owned()));
    let sent = line.heard().len();
    later(&house, 10_000).await;
    later(&house, 100_000).await;
    let seen = read(&house, id).await["commit"].clone();
    assert_eq!(
        (&seen["status"], &seen["sent"]),
        (&json!("in_doubt"), &json!(true)),
        "{seen}"
    );
    assert_eq!(line.heard().len(), sent, "nothing may be repeated");
}

#[tokio::test]
async fn a_freeze_holds_back_what_has_not_left_yet() {
    let line = Line::cut();
    let house = house(&line, policy()).await;
    let allowed = proposed(&house, "noop").await;
    commit(&house, &allowed, &token(&allowed)).await;
    line.works();
    let tight = Policy {
        per_txn_limit: Some(100),
        ..policy()
    };
    house.policy(AGENT, &tight).await;
    later(&house, 15).await;
    assert_eq!(
        line.heard().len(),
        1,
        "what is not allowed any more is not sent"
    );
    house.policy(AGENT, &policy()).await;
    later(&house, 15).await;
    let seen = read(&house, allowed.proposal.fixed.id).await;
    assert_eq!(seen["state"], "executed", "{seen}");
}

#[tokio::test]
async fn only_what_a_provider_refused_says_fix_args() {
    let line = Line::cut();
    let house = house(&line, policy()).await;
    let allowed = proposed(&house, "wire_money").await;
    let id = allowed.proposal.fixed.id;
    line.is(Reply::Lost("no answer".to_owned()));
    commit(&house, &allowed, &token(&allowed)).await;
    let word = hundi::broker::Word::Failed;
    let operator = person(Role::Operator);
    house
        .broker
        .pay
        .settle(&operator, id, word, "not there")
        .await
        .unwrap();
    let seen = read(&house, id).await["commit"].clone();
    let told = (&seen["status"], &seen["reason"], &seen["recovery"]);
    let expected = (
        &json!("failed"),
        &json!("settled_by_operator"),
        &json!("propose_again"),
    );
    assert_eq!(told, expected, "{seen}");
}

#[tokio::test]
#[rustfmt::skip]
async fn what_turned_hundi_away_is_not_for_the_agent_to_fix() {
    let cases = [
        (400, "fix_args"), (401, "stop"), (403, "stop"), (404, "stop"), (405, "stop"),
        (413, "reduce_scope"), (415, "stop"),
    ];
    for (status, recovery) in cases {
        let line = Line::cut();
        let house = house(&line, policy()).await;
        let allowed = proposed(&house, "wire_money").await;
        line.is(Reply::TurnedAway { status, words: "no".to_owned() });
        let answer = commit(&house, &allowed, &token(&allowed)).await;
        let told = (&answer["status"], &answer["provider"]["code"], &answer["recovery"]);
        let code = json!(format!("http_{status}"));
        assert_eq!(told, (&json!("failed"), &code, &json!(recovery)), "{answer}");
    }
}

#[tokio::test]
async fn a_doubt_that_only_a_person_can_end_says_so() {
    //  the tool       may be asked   recovery         settled by
    for (tool, recovery, by) in [
        ("wire_money", "get_approval", "person"),
        ("transfer_funds", "wait", "broker"),
    ] {
        let line = Line::cut();
        line.is(Reply::Lost("no answer".to_owned()));
        let house = house(&line, policy()).await;
        let arguments = match tool {
            "transfer_funds" => json!({"amount": 500, "to": "acct_123"}),
            _ => json!({"amount": 500}),
        };
        let who = agent_of(AGENT);
        let asked = ProposeRequest {
            tool: tool.to_owned(),
            arguments: arguments.clone(),
            ..ProposeRequest::default()
        };
        let allowed = house.broker.pay.propose(&who, asked).await.unwrap();
        let request = CommitRequest {
            arguments,
            ..request(&allowed, &token(&allowed))
        };
        let answer = shapes::committed(&house.broker.pay.commit(&who, request).await.unwrap());
        let told = (&answer["recovery"], &answer["settled_by"], &answer["sent"]);
        assert_eq!(
            told,
            (&json!(recovery), &json!(by), &json!(true)),
            "{tool}: {answer}"
        );
        let detail = answer["detail"].as_str().unwrap();
        let names_the_command = detail.contains("hundi proposal settle");
        assert_eq!(names_the_command, by == "person", "{tool}: {detail}");
    }
}

#[tokio::test]
async fn a_token_that_opens_nothing_is_answered_with_what_helps() {
    let line = Line::cut();
    line.works();
    let held = Policy {
        require_approval_above: Some(10_000),
        ..policy()
    };
    let house = house(&line, held).await;
    let ttl = 10_000.min(hundi::broker::Settings::default().token_ttl_secs + 1);

    // Expired while the proposal stands: a fresh token, not a second proposal.
    let allowed = proposed(&house, "noop").await;
    let old = token(&allowed);
    house.clock.forward(ttl);
    let answer = commit(&house, &allowed, &old).await;
    let told = (&answer["reason"], &answer["recovery"]);
    assert_eq!(told, (&json!("expired"), &json!("renew_token")), "{answer}");
    let damaged = commit(&house, &allowed, &old[..old.len() - 2]).await;
    assert_eq!(damaged["recovery"], "renew_token", "{damaged}");
    let who = agent_of(AGENT);
    let fresh = house
        .broker
        .pay
        .proposal(&who, allowed.proposal.fixed.id)
        .await
        .unwrap();
    assert_eq!(
        commit(&house, &allowed, &token(&fresh)).await["status"],
        "committed"
    );

    // Expired after it was used: the payment is read, not made again.
    house.clock.forward(ttl);
    let answer = commit(&house, &allowed, &token(&fresh)).await;
    let told = (&answer["reason"], &answer["recovery"]);
    assert_eq!(
        told,
        (&json!("expired"), &json!("read_outcome")),
        "{answer}"
    );

    // Expired with its proposal: now it is time to propose anew.
    let allowed = proposed(&house, "noop").await;
    let fixed = &allowed.proposal.fixed;
    house
        .clock
        .forward(fixed.lapses_at.secs() - fixed.created_at.secs() + 1);
    let answer = commit(&house, &allowed, &token(&allowed)).await;
    assert_eq!(answer["recovery"], "propose_again", "{answer}");

    // A stranger learns nothing of it.
    let allowed = proposed(&house, "noop").await;
    let request = request(&allowed, "v1.k1.x.y");
    let answer = house
        .broker
        .pay
        .commit(&agent_of("stranger"), request)
        .await;
    let answer = shapes::committed(&answer.unwrap());
    assert_eq!(answer["recovery"], "propose_again", "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_reads_of_an_approved_proposal_at_once_all_succeed() {
    let line = Line::cut();
    line.works();
    let held = Policy {
        require_approval_above: Some(1),
        ..policy()
    };
    let house = house(&line, held).await;
    let waits = proposed(&house, "noop").await;
    let id = waits.proposal.fixed.id;
    house
        .broker
        .pay
        .approve(&person(Role::Approver), id)
        .await
        .unwrap();
    let reads = (0..8).map(|_| {
        let broker = house.broker.clone();
        tokio::spawn(async move { broker.pay.proposal(&agent_of(AGENT), id).await })
    });
    let mut tokens = Vec::new();
    for read in join_all(reads).await {
        tokens.push(token(&read.unwrap().expect("every read is answered")));
    }
    let live = house
        .broker
        .pay
        .proposal(&agent_of(AGENT), id)
        .await
        .unwrap();
    assert_eq!(tokens.len(), 8);
    assert_eq!(
        commit(&house, &waits, &token(&live)).await["status"],
        "committed"
    );
}
