//! Propose, read, commit, decide.

use hundi::domain::call::Reply;
use hundi::domain::ids::OrgId;
use hundi::domain::principal::Role;
use serde_json::{Value, json};

use super::door::{Answer, Door};

const NEVER: &str = "0190a0a0-0000-7000-8000-000000000000";

async fn with_agent() -> (Door, String) {
    let door = Door::new().await;
    let agent = door.fixture.key(Role::Agent, "payer").await;
    door.fixture.allow_noop("payer", 1_000).await;
    (door, agent)
}

fn noop(amount: i64) -> Value {
    json!({"tool": "noop", "arguments": {"amount": amount}})
}

async fn proposed(door: &Door, agent: &str, amount: i64) -> Value {
    let answer = door.post("/v1/proposals", agent, noop(amount)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn id_of(body: &Value) -> &str {
    body["proposal_id"].as_str().unwrap()
}

async fn commit(door: &Door, agent: &str, proposed: &Value, arguments: Value) -> Answer {
    let path = format!("/v1/proposals/{}/commit", id_of(proposed));
    let body = json!({"commit_token": proposed["commit_token"], "arguments": arguments});
    door.post(&path, agent, body).await
}

#[tokio::test]
async fn an_allowed_proposal_is_committed_once() {
    let (door, agent) = with_agent().await;
    let allowed = proposed(&door, &agent, 500).await;
    assert_eq!(allowed["status"], "allowed");
    let token = allowed["commit_token"].as_str().unwrap();
    assert!(token.starts_with("v1."), "{token}");

    let first = commit(&door, &agent, &allowed, json!({"amount": 500})).await;
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(first.json()["status"], "committed");
    assert_eq!(first.json()["outcome"], "executed");

    let again = commit(&door, &agent, &allowed, json!({"amount": 500})).await;
    assert_eq!(again.status, 409);
    assert_eq!(again.json()["reason"], "nonce_replay");
    assert_eq!(again.json()["recovery"], "read_outcome");
    assert_eq!(
        again.json()["original"]["commit_id"],
        first.json()["commit_id"]
    );
    assert_eq!(door.fixture.wire.sent(), 1);

    let read = door
        .get(&format!("/v1/proposals/{}", id_of(&allowed)), &agent)
        .await;
    assert_eq!(read.json()["state"], "executed");
    assert_eq!(read.json().get("commit_token"), None);
}

#[tokio::test]
async fn other_arguments_are_refused_and_leave_the_token_usable() {
    let (door, agent) = with_agent().await;
    let allowed = proposed(&door, &agent, 500).await;
    for other in [
        json!({"amount": 501}),
        json!({}),
        json!({"amount": 500, "x": 1}),
    ] {
        let answer = commit(&door, &agent, &allowed, other.clone()).await;
        assert_eq!(answer.status, 409, "{other}");
        assert_eq!(answer.json()["reason"], "args_hash_mismatch", "{other}");
    }
    assert_eq!(door.fixture.wire.sent(), 0);
    let answer = commit(&door, &agent, &allowed, json!({"amount": 500})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn no_text_is_too_long_to_be_refused_as_a_token() {
    let (door, agent) = with_agent().await;
    let allowed = proposed(&door, &agent, 500).await;
    let path = format!("/v1/proposals/{}/commit", id_of(&allowed));
    for length in [0, 8 * 1024, 8 * 1024 + 1, 100_000, 1_000_000] {
        let body = json!({"commit_token": "A".repeat(length), "arguments": {"amount": 500}});
        let answer = door.post(&path, &agent, body).await;
        let told = (answer.status, answer.json()["reason"].clone());
        assert_eq!(told, (409, json!("bad_signature")), "{length}");
    }
}

#[tokio::test]
async fn a_blocked_proposal_is_a_result_with_its_draft() {
    let door = Door::new().await;
    let agent = door.fixture.key(Role::Agent, "nobody").await;
    let answer = door.post("/v1/proposals", &agent, noop(5)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let body = answer.json();
    assert_eq!(body["status"], "blocked");
    assert_eq!(body["reason"], "NO_POLICY");
    assert_eq!(
        body["draft"],
        json!({"tool": "noop", "arguments": {"amount": 5}})
    );
    assert_eq!(body.get("commit_token"), None);
}

#[tokio::test]
async fn too_many_requests_say_when_to_come_back() {
    let (door, agent) = with_agent().await;
    let policy = json!({"allowed_tools": ["noop"], "rate_limit": {"max": 2, "window_secs": 60}});
    door.fixture.policy("payer", policy).await;
    for _ in 0..2 {
        assert_eq!(proposed(&door, &agent, 1).await["status"], "allowed");
    }
    let answer = door.post("/v1/proposals", &agent, noop(1)).await;
    assert_eq!(answer.status, 429, "{}", answer.text());
    assert_eq!(answer.json()["reason"], "RATE_LIMITED");
    let secs: u32 = answer.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&secs), "{secs}");
}

#[tokio::test]
async fn a_held_proposal_waits_for_somebody_else() {
    let (door, agent) = with_agent().await;
    let approver = door.fixture.key(Role::Approver, "ann").await;
    let held = proposed(&door, &agent, 2_000).await;
    assert_eq!(held["status"], "held");
    assert_eq!(held["reason"], "APPROVAL_REQUIRED");
    assert_eq!(held["approval"]["needed"], 1);
    let path = format!("/v1/proposals/{}", id_of(&held));
    let auditor = door.fixture.key(Role::Auditor, "eve").await;
    let metrics = door.get("/metrics", &auditor).await.text();
    assert!(
        metrics.contains("\nhundi_held 1\n"),
        "seen at once: {metrics}"
    );

    // No body, an empty object, and a second time.
    let answer = door.poke(&format!("{path}/approve"), &approver).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["state"], "allowed");
    assert_eq!(
        answer.json().get("commit_token"),
        None,
        "the token is the proposer's"
    );
    let again = door
        .post(&format!("{path}/approve"), &approver, json!({}))
        .await;
    assert_eq!(
        (again.status, again.code()),
        (409, "wrong_state".to_owned())
    );

    let read = door.get(&path, &agent).await.json();
    let answer = commit(&door, &agent, &read, json!({"amount": 2_000})).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn a_rejection_is_final() {
    let (door, agent) = with_agent().await;
    let approver = door.fixture.key(Role::Approver, "ann").await;
    let held = proposed(&door, &agent, 2_000).await;
    let path = format!("/v1/proposals/{}", id_of(&held));
    let reason = json!({"reason": "not this month"});
    let answer = door
        .post(&format!("{path}/reject"), &approver, reason)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["state"], "rejected");
    assert_eq!(answer.json()["ending"]["reason"], "not this month");
    let answer = door.poke(&format!("{path}/approve"), &approver).await;
    assert_eq!(
        (answer.status, answer.code()),
        (409, "wrong_state".to_owned())
    );

    let held = proposed(&door, &agent, 2_000).await;
    let path = format!("/v1/proposals/{}/reject", id_of(&held));
    assert_eq!(
        door.poke(&path, &approver).await.status,
        200,
        "a reason may be left out"
    );
}

#[tokio::test]
async fn the_proposer_takes_back_and_so_does_an_operator() {
    let (door, agent) = with_agent().await;
    let operator = door.fixture.key(Role::Operator, "ops").await;
    for (key, amount) in [(&agent, 500), (&operator, 2_000)] {
        let made = proposed(&door, &agent, amount).await;
        let path = format!("/v1/proposals/{}/cancel", id_of(&made));
        let answer = door.poke(&path, key).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.json()["state"], "cancelled");
        if amount == 500 {
            let answer = commit(&door, &agent, &made, json!({"amount": 500})).await;
            assert_eq!(answer.json()["reason"], "unknown_proposal");
        }
    }
}

#[tokio::test]
async fn doubt_is_told_and_an_operator_can_end_it() {
    let (door, agent) = with_agent().await;
    let operator = door.fixture.key(Role::Operator, "ops").await;
    door.fixture
        .wire
        .answers(Some(Reply::Lost("the line went dead".into())));
    let allowed = proposed(&door, &agent, 500).await;
    let answer = commit(&door, &agent, &allowed, json!({"amount": 500})).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(answer.json()["status"], "in_doubt");
    assert_eq!(answer.json()["recovery"], "wait");
    let path = format!("/v1/proposals/{}/settle", id_of(&allowed));
    let answer = door.post(&path, &agent, json!({})).await;
    assert_eq!(answer.status, 403, "the role comes before the request");
    for bad in [
        json!({}),
        json!({"outcome": "maybe", "reason": "x"}),
        json!({"outcome": "failed"}),
    ] {
        let answer = door.post(&path, &operator, bad.clone()).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, "invalid_request".to_owned()),
            "{bad}"
        );
    }
    let seen = json!({"outcome": "executed", "reason": "it is on the statement"});
    let answer = door.post(&path, &operator, seen.clone()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["state"], "executed");
    let answer = door.post(&path, &operator, seen).await;
    assert_eq!(
        (answer.status, answer.code()),
        (409, "wrong_state".to_owned())
    );
}

#[tokio::test]
async fn a_providers_no_is_a_result() {
    let (door, agent) = with_agent().await;
    // Nothing left this process, so nothing can have happened.
    door.fixture
        .wire
        .answers(Some(Reply::NotSent("no such upstream".into())));
    let allowed = proposed(&door, &agent, 500).await;
    let answer = commit(&door, &agent, &allowed, json!({"amount": 500})).await;
    let body = answer.json();
    assert!(
        (answer.status == 200 && body["status"] == "failed")
            || (answer.status == 202 && body["status"] == "in_doubt"),
        "{body}"
    );
}

#[tokio::test]
async fn the_same_idempotency_key_names_the_same_proposal() {
    let (door, agent) = with_agent().await;
    let mut request = noop(500);
    request["idempotency_key"] = json!("invoice-7");
    let first = door
        .post("/v1/proposals", &agent, request.clone())
        .await
        .json();
    let second = door
        .post("/v1/proposals", &agent, request.clone())
        .await
        .json();
    assert_eq!(first["proposal_id"], second["proposal_id"]);
    assert_eq!(second["replayed"], true);
    request["arguments"]["amount"] = json!(501);
    let other = door.post("/v1/proposals", &agent, request).await;
    assert_eq!(
        (other.status, other.code()),
        (409, "idempotency_key_reused".to_owned())
    );
}

#[tokio::test]
async fn pages_hang_together() {
    let (door, agent) = with_agent().await;
    let auditor = door.fixture.key(Role::Auditor, "audit").await;
    let mut made = Vec::new();
    for amount in 1..=5 {
        made.push(id_of(&proposed(&door, &agent, amount).await).to_owned());
    }
    made.reverse();
    for key in [&agent, &auditor] {
        let mut seen = Vec::new();
        let mut path = "/v1/proposals?limit=2".to_owned();
        loop {
            let page = door.get(&path, key).await.json();
            let ids = page["proposals"].as_array().unwrap();
            seen.extend(ids.iter().map(|one| id_of(one).to_owned()));
            assert!(ids.iter().all(|one| one.get("commit_token").is_none()));
            let Some(cursor) = page["next_cursor"].as_str() else {
                break;
            };
            path = format!("/v1/proposals?limit=2&cursor={cursor}");
        }
        assert_eq!(seen, made);
    }
    let held = door.get("/v1/proposals?state=held", &agent).await.json();
    assert_eq!(held["proposals"], json!([]));
    let others = door
        .get("/v1/proposals?agent=somebody", &auditor)
        .await
        .json();
    assert_eq!(others["proposals"], json!([]));
    for bad in [
        "state=open",
        "limit=0",
        "limit=501",
        "limit=x",
        "cursor=7",
        "agent=a%20b",
        "stat=held",
        "limit=1&limit=2",
    ] {
        let answer = door.get(&format!("/v1/proposals?{bad}"), &agent).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, "invalid_request".to_owned()),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn the_foreign_reads_as_what_never_existed() {
    let (door, agent) = with_agent().await;
    let made = proposed(&door, &agent, 2_000).await;
    let id = id_of(&made);
    let org: OrgId = "elsewhere".parse().unwrap();
    let strangers = [
        door.fixture.key(Role::Agent, "other").await,
        door.fixture.key_in(&org, Role::Agent, "payer").await,
        door.fixture.key_in(&org, Role::Admin, "boss").await,
    ];
    let settle = json!({"outcome": "failed", "reason": "x"}).to_string();
    let attempts = [
        ("GET", "", None),
        ("GET", "/events", None),
        ("POST", "/approve", None),
        ("POST", "/reject", None),
        ("POST", "/cancel", None),
        ("POST", "/settle", Some(settle)),
        (
            "POST",
            "/commit",
            Some(
                json!({"commit_token": made["commit_token"].as_str()
            .unwrap_or("v1.k.x.y"), "arguments": {"amount": 2000}})
                .to_string(),
            ),
        ),
    ];
    for key in &strangers {
        for (method, rest, body) in &attempts {
            let mut answers = Vec::new();
            for id in [id, NEVER, "not-an-id", "%FF"] {
                let path = format!("/v1/proposals/{id}{rest}");
                answers.push(door.ask(method, &path, key, body.clone()).await);
            }
            let seen: Vec<_> = answers.iter().map(|a| (a.status, a.text())).collect();
            assert_eq!(
                seen[0], seen[1],
                "{method} {rest}: foreign and never existed"
            );
            // What is not even text is no name; a commit looks at the token before the name.
            assert_eq!(
                seen[1], seen[2],
                "{method} {rest}: never existed and malformed"
            );
        }
        let page = door.get("/v1/proposals", key).await.json();
        assert_eq!(page["proposals"], json!([]));
        let records = door
            .get(&format!("/v1/audit?proposal={id}"), key)
            .await
            .json();
        // What a stranger tried is the stranger's own record; the proposal's own are unknown.
        let records = records["records"].as_array().unwrap();
        assert!(
            records
                .iter()
                .all(|record| record["kind"] == "commit_refused"),
            "{records:?}"
        );
    }
    let mine = door.get(&format!("/v1/proposals/{id}"), &agent).await;
    assert_eq!(mine.json()["state"], "held", "nobody else has moved it");
}

#[tokio::test]
#[rustfmt::skip]
async fn what_is_not_strict_json_is_refused_and_stores_nothing() {
    let (door, agent) = with_agent().await;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let wrapped = |inner: &str| format!(r#"{{"tool":"noop","arguments":{inner}}}"#);
    let long = wrapped(&format!(r#"{{"note":"{}"}}"#, "x".repeat(1024 * 1024)));
    let cases: &[(String, u16, &str, Option<&str>)] = &[
        (wrapped(r#"{"amount":1,"amount":2}"#),              400, "invalid_json", Some("duplicate_key")),
        (wrapped("{\"amount\":1,\"\\u0061mount\":2}"),       400, "invalid_json", Some("duplicate_key")),
        (wrapped(r#"{"amount":9007199254740993}"#),          400, "invalid_json", Some("integer_out_of_range")),
        (wrapped(r#"{"amount":1e400}"#),                     400, "invalid_json", Some("number_out_of_range")),
        (wrapped(r#"{"note":"\ud800"}"#),                    400, "invalid_json", Some("lone_surrogate")),
        (wrapped(r#"{"x":{"$serde_json::private::RawValue":"7"}}"#), 400, "invalid_json", Some("reserved_key")),
        (wrapped(&deep),                                     400, "invalid_json", Some("too_deep")),
        (format!("{}x", wrapped("{}")),                      400, "invalid_json", Some("invalid_json")),
        ("{".to_owned(),                                     400, "invalid_json", Some("invalid_json")),
        (long,                                               413, "too_large",    None),
        (r#"[]"#.to_owned(),                                 400, "invalid_request", None),
        (r#""noop""#.to_owned(),                             400, "invalid_request", None),
        (r#"{"arguments":{}}"#.to_owned(),                   400, "invalid_request", None),
        (r#"{"tool":5,"arguments":{}}"#.to_owned(),          400, "invalid_request", None),
        (r#"{"tool":"noop"}"#.to_owned(),                    400, "invalid_request", None),
        (wrapped("[]"),                                      400, "invalid_request", None),
        (wrapped("null"),                                    400, "invalid_request", None),
        (r#"{"tool":"noop","arguments":{},"promt":"x"}"#.to_owned(), 400, "invalid_request", None),
        (r#"{"tool":"noop","arguments":{},"samples":"x"}"#.to_owned(), 400, "invalid_request", None),
        (r#"{"tool":"noop","arguments":{},"samples":[1]}"#.to_owned(), 400, "invalid_request", None),
        (wrapped(r#"{"amount":1.5}"#),                       400, "invalid_arguments", None),
        (wrapped(r#"{"amount":"1"}"#),                       400, "invalid_arguments", None),
        (wrapped(r#"{"amount":1,"to":"me"}"#),               400, "invalid_arguments", None),
        (r#"{"tool":"nope","arguments":{}}"#.to_owned(),     404, "unknown_tool", None),
    ];
    for (body, status, code, cause) in cases {
        let answer = door.ask("POST", "/v1/proposals", &agent, Some(body.clone())).await;
        let told = answer.json();
        assert_eq!((answer.status, told["code"].as_str().unwrap()), (*status, *code), "{body:.80} {told}");
        assert_eq!(told["cause"].as_str(), *cause, "{body:.80}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert!(told["recovery"].is_string() && told["detail"].is_string());
    }
    let mut bytes = wrapped(r#"{"note":"?"}"#).into_bytes();
    let at = bytes.iter().position(|b| *b == b'?').unwrap();
    bytes[at] = 0xff;
    let request = axum::http::Request::post("/v1/proposals")
        .header("authorization", format!("Bearer {agent}"))
        .header("content-type", "application/json")
        .body(bytes.into()).unwrap();
    let answer = door.send(request).await;
    assert_eq!((answer.status, answer.json()["cause"].as_str()), (400, Some("invalid_utf8")));

    let auditor = door.fixture.key(Role::Auditor, "audit").await;
    let page = door.get("/v1/proposals", &auditor).await.json();
    assert_eq!(page["proposals"], json!([]), "nothing was stored");
    assert_eq!(proposed(&door, &agent, 1).await["status"], "allowed", "and the door lives");
}
