//! Reputation services as they are in life: answering, failing, hanging, talking rubbish. Each test
//! runs against a real HTTP server of its own.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use hundi::broker::ProposeRequest;
use hundi::domain::facts::{Entity, Fact, Reputation};
use hundi::domain::principal::Role;
use hundi::domain::reason::Reason;
use hundi::domain::secret::Secret;
use hundi::wire::gleif::Gleif;
use hundi::wire::reputation::SafeBrowsing;
use hundi::wire::{EntitySource, ReputationSource};
use serde_json::{Value, json};

use crate::support::house::{House, Plan, agent_of, person};

/// What the server does with every request.
#[derive(Clone, Copy, Debug)]
enum Mood {
    Answer(u16, &'static str),
    Redirect,
    Hang,
    /// More than anybody would read.
    Flood,
}

#[derive(Clone)]
struct Server {
    url: String,
    mood: Arc<Mutex<Mood>>,
    asked: Arc<AtomicUsize>,
    last: Arc<Mutex<(String, String)>>,
}

impl Server {
    async fn start(mood: Mood) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            mood: Arc::new(Mutex::new(mood)),
            asked: Arc::default(),
            last: Arc::default(),
        };
        let router = Router::new().fallback(answer).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn last(&self) -> (String, String) {
        self.last.lock().unwrap().clone()
    }

    fn safe_browsing(&self) -> SafeBrowsing {
        SafeBrowsing::new(&self.url, Secret::new("sb-key")).unwrap()
    }

    fn gleif(&self) -> Gleif {
        Gleif::new(&self.url).unwrap()
    }
}

async fn answer(State(server): State<Server>, request: Request) -> Response {
    server.asked.fetch_add(1, Ordering::SeqCst);
    let target = request.uri().to_string();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20)
        .await
        .unwrap();
    *server.last.lock().unwrap() = (target, String::from_utf8(body.to_vec()).unwrap());
    let mood = *server.mood.lock().unwrap();
    match mood {
        Mood::Answer(status, body) => (StatusCode::from_u16(status).unwrap(), body).into_response(),
        Mood::Redirect => (StatusCode::FOUND, [("location", "/elsewhere")]).into_response(),
        Mood::Hang => std::future::pending().await,
        Mood::Flood => "x".repeat(3 << 20).into_response(),
    }
}

const SAFE: Mood = Mood::Answer(200, "{}");
const LISTED: Mood = Mood::Answer(
    200,
    r#"{"matches":[{"threatType":"SOCIAL_ENGINEERING","platformType":"ANY_PLATFORM","threat":{"url":"x"}}]}"#,
);
const BROKEN: [Mood; 9] = [
    Mood::Answer(500, "{}"),
    Mood::Answer(503, ""),
    Mood::Answer(429, "{}"),
    Mood::Answer(403, r#"{"error":{"code":403}}"#),
    Mood::Answer(200, "<html>welcome</html>"),
    Mood::Answer(200, ""),
    Mood::Answer(200, r#"{"matches":"none"}"#),
    Mood::Redirect,
    Mood::Flood,
];

#[tokio::test]
async fn a_url_is_asked_about_once_in_five_minutes() {
    let server = Server::start(SAFE).await;
    let source = server.safe_browsing();
    assert_eq!(
        source.reputation("https://a.example").await,
        Fact::Known(Reputation::Safe)
    );
    server.set(LISTED);
    assert_eq!(
        source.reputation("https://a.example/").await,
        Fact::Known(Reputation::Safe)
    );
    assert_eq!(server.asked(), 1, "the answer was kept");
    let listed = Reputation::Unsafe(vec!["SOCIAL_ENGINEERING".to_owned()]);
    assert_eq!(source.reputation("b.example").await, Fact::Known(listed));

    let (target, body) = server.last();
    assert_eq!(target, "/v4/threatMatches:find?key=sb-key");
    let body: Value = serde_json::from_str(&body).unwrap();
    let info = &body["threatInfo"];
    assert_eq!(info["threatTypes"].as_array().unwrap().len(), 4);
    assert_eq!(info["threatEntries"], json!([{"url": "http://b.example/"}]));
}

#[tokio::test]
async fn a_hundred_at_once_share_one_question() {
    let server = Server::start(SAFE).await;
    let source = Arc::new(server.safe_browsing());
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let source = Arc::clone(&source);
            tokio::spawn(async move { source.reputation("https://a.example").await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), Fact::Known(Reputation::Safe));
    }
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn whatever_is_no_clear_answer_is_missing_and_not_kept() {
    for mood in BROKEN {
        let server = Server::start(mood).await;
        let source = server.safe_browsing();
        assert_eq!(
            source.reputation("https://a.example").await,
            Fact::Missing,
            "{mood:?}"
        );
        server.set(SAFE);
        let again = source.reputation("https://a.example").await;
        assert_eq!(again, Fact::Known(Reputation::Safe), "{mood:?}");
    }
    let nobody = SafeBrowsing::new("http://127.0.0.1:1", Secret::new("sb-key")).unwrap();
    assert_eq!(nobody.reputation("https://a.example").await, Fact::Missing);
    let server = Server::start(SAFE).await;
    assert_eq!(
        server.safe_browsing().reputation("not a url").await,
        Fact::Missing
    );
    assert_eq!(server.asked(), 0);
}

#[tokio::test]
async fn a_service_that_hangs_is_given_two_seconds_and_then_left_alone() {
    let server = Server::start(Mood::Hang).await;
    let source = Arc::new(server.safe_browsing());
    let started = Instant::now();
    let tasks: Vec<_> = (0..5)
        .map(|index| {
            let source = Arc::clone(&source);
            let url = format!("https://{index}.example");
            tokio::spawn(async move { source.reputation(&url).await })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), Fact::Missing);
    }
    let took = started.elapsed();
    assert!(
        took >= Duration::from_secs(2) && took < Duration::from_millis(2_400),
        "{took:?}"
    );
    server.set(SAFE);
    let started = Instant::now();
    assert_eq!(
        source.reputation("https://late.example").await,
        Fact::Missing
    );
    assert!(
        started.elapsed() < Duration::from_millis(100),
        "nobody was asked"
    );
    assert_eq!(server.asked(), 5);
    assert!(!source.health().ok);
}

const VERIFIED: Mood = Mood::Answer(
    200,
    r#"{"data":[{"attributes":{"lei":"529900T8BM49AURSDO55","entity":{"legalName":{"name":"Acme Ltd"},"status":"ACTIVE"},"registration":{"status":"ISSUED"}}}]}"#,
);
const LAPSED: Mood = Mood::Answer(
    200,
    r#"{"data":[{"attributes":{"entity":{"status":"ACTIVE"},"registration":{"status":"LAPSED"}}}]}"#,
);

#[tokio::test]
async fn an_entity_is_verified_by_name_or_lei_and_remembered() {
    let server = Server::start(VERIFIED).await;
    let gleif = server.gleif();
    assert_eq!(
        gleif.entity("Acme  Ltd").await,
        Fact::Known(Entity::Verified)
    );
    server.set(LAPSED);
    assert_eq!(
        gleif.entity(" acme ltd ").await,
        Fact::Known(Entity::Verified)
    );
    assert_eq!(server.asked(), 1, "the answer was kept");
    let (target, _) = server.last();
    assert_eq!(
        target,
        "/api/v1/lei-records?filter%5Bentity.legalName%5D=Acme+Ltd&page%5Bsize%5D=5"
    );
    assert_eq!(
        gleif.entity("Other Ltd").await,
        Fact::Known(Entity::Unverified)
    );
    server.set(Mood::Answer(404, ""));
    assert_eq!(
        gleif.entity("529900T8BM49AURSDO55").await,
        Fact::Known(Entity::Unverified)
    );
    assert_eq!(server.last().0, "/api/v1/lei-records/529900T8BM49AURSDO55");
    assert_eq!(gleif.entity("  ").await, Fact::Known(Entity::Unverified));
}

#[tokio::test]
async fn a_register_that_fails_says_nothing() {
    for mood in BROKEN {
        let server = Server::start(mood).await;
        assert_eq!(
            server.gleif().entity("Acme Ltd").await,
            Fact::Missing,
            "{mood:?}"
        );
    }
}

async fn pay(house: &House, url: &str) -> Reason {
    let request = ProposeRequest {
        tool: "create_payout".to_owned(),
        arguments: json!({
            "fund_account_id": "fa_00000000000001", "amount": 10_000, "currency": "INR",
            "mode": "IMPS", "purpose": "payout",
            "notes": {"vendor_url": url, "vendor_name": "Acme Ltd"},
        }),
        ..ProposeRequest::default()
    };
    let proposed = house
        .broker
        .pay
        .propose(&agent_of("a"), request)
        .await
        .unwrap();
    proposed.proposal.fixed.reason
}

#[tokio::test]
async fn what_the_services_say_decides() {
    let (urls, names) = (Server::start(SAFE).await, Server::start(VERIFIED).await);
    let plan = Plan {
        reputation: Some(Arc::new(urls.safe_browsing())),
        entities: Some(Arc::new(names.gleif())),
        ..Plan::default()
    };
    let house = House::with(plan).await;
    let (who, a) = (person(Role::Operator), "a".parse().unwrap());
    let policy = json!({
        "daily_limit": null, "per_txn_limit": null, "require_approval_above": null,
        "require_verified_entity": true, "duplicates": {"then": "off"},
    });
    house
        .broker
        .pay
        .set_policy(&who, &a, &policy, None)
        .await
        .unwrap();
    assert_eq!(pay(&house, "https://good.example").await, Reason::PolicyOk);
    urls.set(LISTED);
    assert_eq!(pay(&house, "https://bad.example").await, Reason::RiskHigh);
    urls.set(Mood::Answer(500, ""));
    assert_eq!(
        pay(&house, "https://other.example").await,
        Reason::ReputationUnavailable
    );
    assert_eq!(
        pay(&house, "https://good.example").await,
        Reason::PolicyOk,
        "kept"
    );

    names.set(LAPSED);
    let plan = Plan {
        entities: Some(Arc::new(names.gleif())),
        ..Plan::default()
    };
    let without_urls = house.again(plan).await;
    assert_eq!(
        pay(&without_urls, "https://any.example").await,
        Reason::EntityUnverified
    );
    names.set(Mood::Answer(500, ""));
    let plan = Plan {
        entities: Some(Arc::new(names.gleif())),
        ..Plan::default()
    };
    let unreachable = house.again(plan).await;
    assert_eq!(
        pay(&unreachable, "https://any.example").await,
        Reason::EntityUnverified
    );
}
