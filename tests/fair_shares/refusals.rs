//! Refusals cannot fill the store, drown what people have to decide, or wear out what others need.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::any;
use hundi::broker::{CommitRequest, People, ProposeRequest, Proposed, Settings, Slack};
use hundi::domain::ids::{OrgId, ProposalId};
use hundi::domain::policy::Policy;
use hundi::domain::secret::Secret;
use hundi::store::{ProposalFilter, RecordFilter, StoredRecord};
use hundi::wire::ReputationSource;
use hundi::wire::post::Poster;
use hundi::wire::reputation::SafeBrowsing;
use serde_json::{Value, json};

use crate::support::house::{House, Plan, agent_of};

async fn propose(house: &House, agent: &str, arguments: Value, key: Option<String>) -> Proposed {
    let request = ProposeRequest {
        tool: "noop".to_owned(),
        arguments,
        idempotency_key: key,
        ..ProposeRequest::default()
    };
    house
        .broker
        .pay
        .propose(&agent_of(agent), request)
        .await
        .unwrap()
}

async fn records(house: &House, kind: &str) -> Vec<StoredRecord> {
    let filter = RecordFilter {
        limit: 1_000,
        ..RecordFilter::default()
    };
    let mut records = house.store.records(&filter).await.unwrap();
    records.retain(|stored| stored.record.kind == kind);
    records
}

#[tokio::test]
async fn beyond_twenty_a_minute_refusals_are_summed_up() {
    let house = House::new().await;
    let note = "x".repeat(1_000);
    for n in 0..120 {
        let key = Some(format!("key-{n}"));
        let answer = propose(&house, "nobody", json!({"note": note}), key).await;
        assert_eq!(answer.proposal.fixed.reason.code(), "NO_POLICY");
        assert_eq!(answer.stored, n < 20, "{n}");
        let told = hundi::entry::shapes::proposed(&answer);
        assert_eq!(told.get("proposal_id").is_some(), n < 20, "{told:.200}");
    }
    let other = propose(&house, "other", json!({}), None).await;
    assert!(
        other.stored,
        "another's refusals are counted for themselves"
    );
    let filter = ProposalFilter {
        limit: 1_000,
        ..ProposalFilter::default()
    };
    assert_eq!(house.store.proposals(&filter).await.unwrap().len(), 21);
    let agent = "nobody".parse().unwrap();
    let org = OrgId::default();
    for (key, kept) in [("key-19", true), ("key-20", false)] {
        let named = house.store.by_key(&org, &agent, key).await.unwrap();
        assert_eq!(named.is_some(), kept, "{key}");
    }
    house.broker.audit.sum_refusals(false).await.unwrap();
    assert!(
        records(&house, "refusals_summed").await.is_empty(),
        "not yet"
    );
    house.clock.forward(60);
    house.broker.audit.sum_refusals(false).await.unwrap();
    house.broker.audit.sum_refusals(true).await.unwrap();
    let sums = records(&house, "refusals_summed").await;
    assert_eq!(sums.len(), 1);
    let sum = &sums[0].record;
    assert_eq!(
        sum.agent.as_ref().map(ToString::to_string).as_deref(),
        Some("nobody")
    );
    assert_eq!(sum.detail["by_reason"], json!({"NO_POLICY": 100}));
    let again = propose(&house, "nobody", json!({}), None).await;
    assert!(again.stored, "a new minute");
}

#[tokio::test]
async fn refused_commits_are_summed_up_as_well() {
    let house = House::new().await;
    for _ in 0..70 {
        let request = CommitRequest {
            proposal_id: ProposalId::at(hundi::domain::time::Timestamp::from_secs(1), [1; 10])
                .to_string(),
            commit_token: "v1.k.x.y".to_owned(),
            tool: None,
            arguments: json!({}),
        };
        house
            .broker
            .pay
            .commit(&agent_of("a"), request)
            .await
            .unwrap();
    }
    house.broker.audit.sum_refusals(true).await.unwrap();
    assert_eq!(records(&house, "commit_refused").await.len(), 20);
    let sums = records(&house, "refusals_summed").await;
    assert_eq!(
        sums[0].record.detail["by_reason"],
        json!({"bad_signature": 50})
    );
}

/// Everybody who is told, in order.
#[derive(Clone, Default)]
struct Channel(Arc<std::sync::Mutex<Vec<String>>>);

impl Channel {
    async fn start() -> (Self, String) {
        let channel = Self::default();
        let app = Router::new()
            .fallback(any(Self::take))
            .with_state(channel.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (channel, url)
    }

    async fn take(State(channel): State<Channel>, body: String) -> (StatusCode, String) {
        channel.0.lock().unwrap().push(body);
        let answer = json!({"ok": true, "channel": "C1", "ts": "1.0"});
        (StatusCode::OK, answer.to_string())
    }
}

#[tokio::test]
async fn a_hold_is_told_before_a_crowd_of_refusals() {
    let (channel, url) = Channel::start().await;
    let settings = Settings {
        people: People {
            slack: Some(Slack {
                api_base: url,
                bot_token: Secret::new("xoxb-test-token-0000"),
                channel: "C1".to_owned(),
                signing_secret: None,
                teams: Vec::new(),
            }),
            ..People::default()
        },
        ..Settings::default()
    };
    let plan = Plan {
        settings,
        outbound: Some(Arc::new(Poster::new().unwrap())),
        ..Plan::default()
    };
    let house = House::with(plan).await;
    for n in 0..1_500 {
        propose(&house, "nobody", json!({"note": n.to_string()}), None).await;
    }
    let policy = Policy {
        allowed_tools: Some(vec!["*".to_owned()]),
        require_approval_above: Some(10),
        ..Policy::default()
    };
    house.policy("payer", &policy).await;
    let held = propose(&house, "payer", json!({"amount": 100}), None).await;
    assert_eq!(held.proposal.state.name(), "held");
    while house.broker.pay.deliver().await.unwrap() > 0 {}
    let told = channel.0.lock().unwrap().clone();
    assert!(
        told[0].contains("payer"),
        "the hold comes first: {}",
        told[0]
    );
    assert!(
        told.len() <= 1 + 5,
        "{} messages about refusals",
        told.len() - 1
    );
    house.broker.audit.sum_refusals(true).await.unwrap();
    while house.broker.pay.deliver().await.unwrap() > 0 {}
    let told = channel.0.lock().unwrap().clone();
    let last = told.last().unwrap();
    assert!(
        last.contains("NO_POLICY 1495 times"),
        "one message for the rest: {last}"
    );
}

/// A service that says 400 to whatever it does not like, and counts who asks.
async fn touchy() -> (Arc<AtomicU32>, Arc<dyn ReputationSource>) {
    async fn take(State(asked): State<Arc<AtomicU32>>, body: String) -> (StatusCode, String) {
        asked.fetch_add(1, Ordering::SeqCst);
        match body.contains("odd") {
            true => (StatusCode::BAD_REQUEST, "no".to_owned()),
            false => (StatusCode::OK, "{}".to_owned()),
        }
    }
    let asked = Arc::new(AtomicU32::new(0));
    let app = Router::new().fallback(any(take)).with_state(asked.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    let source = SafeBrowsing::new(&url, Secret::new("a-key-of-some-length")).unwrap();
    (asked, Arc::new(source))
}

async fn pays(house: &House, agent: &str, url: &str) -> String {
    let request = ProposeRequest {
        tool: "create_payout".to_owned(),
        arguments: json!({"fund_account_id": "fa_00000000000001", "amount": 100, "currency": "INR",
            "mode": "IMPS", "purpose": "payout", "notes": {"vendor_url": url}}),
        ..ProposeRequest::default()
    };
    let answer = house
        .broker
        .pay
        .propose(&agent_of(agent), request)
        .await
        .unwrap();
    answer.proposal.fixed.reason.code().to_owned()
}

#[tokio::test]
async fn nobody_outside_is_asked_about_what_our_own_books_refuse() {
    let (asked, source) = touchy().await;
    let plan = Plan {
        reputation: Some(source),
        ..Plan::default()
    };
    let house = House::with(plan).await;
    for n in 0..10 {
        let reason = pays(&house, "nobody", &format!("https://odd{n}.example")).await;
        assert_eq!(reason, "NO_POLICY");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn odd_urls_do_not_open_the_breaker_for_others() {
    let (asked, source) = touchy().await;
    let plan = Plan {
        reputation: Some(source),
        ..Plan::default()
    };
    let house = House::with(plan).await;
    house.policy("odd", &Policy::default()).await;
    house.policy("honest", &Policy::default()).await;
    for n in 0..8 {
        let reason = pays(&house, "odd", &format!("https://odd{n}.example")).await;
        assert_eq!(
            reason, "REPUTATION_UNAVAILABLE",
            "held, because nobody said it is safe"
        );
    }
    assert_eq!(asked.load(Ordering::SeqCst), 8);
    assert_eq!(
        pays(&house, "honest", "https://acme.example").await,
        "POLICY_OK"
    );
    assert_eq!(asked.load(Ordering::SeqCst), 9, "the service was asked");
}
