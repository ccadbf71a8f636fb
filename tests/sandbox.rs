//! The sandbox bank as a client sees it: RazorpayX's rules, its ledger, and its faults.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::HeaderMap;
use hmac::{Hmac, KeyInit, Mac};
use hundi::domain::ids::hex;
use hundi::sandbox::{ACCOUNT_NUMBER, SandboxOptions};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::support::bank::{TestBank, payout, read};

fn with(mut body: Value, field: &str, value: Value) -> Value {
    body[field] = value;
    body
}

fn without(mut body: Value, field: &str) -> Value {
    body.as_object_mut().unwrap().remove(field);
    body
}

#[tokio::test]
async fn a_payout_is_made_once_per_key_and_arrives() {
    let folder = tempfile::tempdir().unwrap();
    let bank = TestBank::start(folder.path()).await;
    let (status, first) = bank.create("key-0001", &payout("ref-1")).await;
    assert_eq!((status, &first["status"]), (200, &json!("processing")));
    assert_eq!(first["notes"], json!([]), "empty notes are shown as a list");
    assert_eq!(
        (&first["reference_id"], &first["amount"]),
        (&json!("ref-1"), &json!(10_000))
    );
    let id = first["id"].as_str().unwrap();
    assert!(id.starts_with("pout_") && id.len() == 19, "{id}");

    let (status, again) = bank.create("key-0001", &payout("ref-1")).await;
    assert_eq!((status, &again["id"]), (200, &first["id"]));

    let other = with(payout("ref-1"), "amount", json!(10_001));
    let (status, refused) = bank.create("key-0001", &other).await;
    assert_eq!(status, 400);
    assert_eq!(
        refused["error"]["description"],
        "Different request body sent for the same Idempotency Header."
    );

    let arrived = bank.until(id, "processed").await;
    assert!(arrived["utr"].is_string() && arrived["fees"] == 590);

    let rows = bank.ledger().await;
    let told: Vec<(u64, &Value, bool)> = rows
        .iter()
        .map(|row| {
            (
                row["seq"].as_u64().unwrap(),
                &row["id"],
                row["replayed"] == true,
            )
        })
        .collect();
    assert_eq!(told, [(1, &first["id"], false), (2, &first["id"], true)]);
    assert_eq!(rows[0]["body"], payout("ref-1"));
    assert_eq!(
        (&rows[0]["kind"], &rows[0]["idempotency_key"]),
        (&json!("payout"), &json!("key-0001"))
    );
}

#[tokio::test]
#[rustfmt::skip]
async fn what_razorpay_would_refuse_is_refused_and_leaves_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let bank = TestBank::start(folder.path()).await;
    let p = || payout("r");
    let cases = [
        ("abc",             p(),                                                "X-Payout-Idempotency"),
        ("a/bcd",           p(),                                                "X-Payout-Idempotency"),
        (&"k".repeat(37),   p(),                                                "X-Payout-Idempotency"),
        ("good",            without(p(), "account_number"),                     "account_number"),
        ("good",            without(p(), "fund_account_id"),                    "fund_account_id"),
        ("good",            without(p(), "amount"),                             "amount"),
        ("good",            without(p(), "currency"),                           "currency"),
        ("good",            without(p(), "mode"),                               "mode"),
        ("good",            without(p(), "purpose"),                            "purpose"),
        ("good",            with(p(), "amount", json!(99)),                     "amount"),
        ("good",            with(p(), "amount", json!(100.5)),                  "amount"),
        ("good",            with(p(), "amount", json!("100")),                  "amount"),
        ("good",            with(p(), "currency", json!("inr")),                "currency"),
        ("good",            with(p(), "mode", json!("imps")),                   "mode"),
        ("good",            with(p(), "fund_account_id", json!("fa_1")),        "fund_account_id"),
        ("good",            with(p(), "reference_id", json!("x".repeat(41))),   "reference_id"),
        ("good",            with(p(), "narration", json!("no #")),              "narration"),
        ("good",            with(p(), "narration", json!("x".repeat(31))),      "narration"),
        ("good",            with(p(), "queue_if_low_balance", json!("true")),   "queue_if_low_balance"),
        ("good",            with(p(), "notes", json!({"n": 1})),                "notes"),
        ("good",            with(p(), "notes", json!("n")),                     "notes"),
        ("good",            with(p(), "unknown", json!(1)),                     "unknown"),
    ];
    for (key, body, field) in cases {
        let (status, refused) = bank.create(key, &body).await;
        let error = &refused["error"];
        assert_eq!((status, &error["field"]), (400, &json!(field)), "{key} {body}");
        assert_eq!((&error["code"], &error["reason"]), (&json!("BAD_REQUEST_ERROR"), &json!("input_validation_failed")));
    }
    let (status, refused) = read(bank.post("/v1/payouts", &p())).await;
    assert_eq!((status, &refused["error"]["field"]), (400, &json!("X-Payout-Idempotency")), "no key");
    let twice = bank.post("/v1/payouts", &p()).header("X-Payout-Idempotency", "good").body(r#"{"amount":1,"amount":2}"#);
    assert_eq!(read(twice).await.0, 400);
    assert_eq!(bank.ledger().await, Vec::<Value>::new());

    let wrapped = with(p(), "notes", json!({"vendor_name": "Acme"}));
    let (status, made) = bank.create("good", &wrapped).await;
    assert_eq!((status, &made["notes"]), (200, &wrapped["notes"]), "a refused key is still free");
}

#[tokio::test]
async fn only_its_own_key_and_account_are_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = SandboxOptions::new(folder.path());
    options.credentials = Some(("rzp_test_key".to_owned(), "secret".to_owned().into()));
    options.account_number = Some(ACCOUNT_NUMBER.to_owned());
    let bank = TestBank::start_with(options).await;
    let stranger = reqwest::Client::new().get(format!("{}/v1/banking_balances", bank.url));
    let (status, refused) = read(stranger.basic_auth("rzp_test_key", Some("other"))).await;
    assert_eq!(
        (status, &refused["error"]["reason"]),
        (401, &json!("authentication_failed"))
    );
    let elsewhere = with(payout("r"), "account_number", json!("999999"));
    let (status, refused) = bank.create("good", &elsewhere).await;
    assert_eq!(
        (status, &refused["error"]["field"]),
        (400, &json!("account_number"))
    );
    assert_eq!(bank.create("good", &payout("r")).await.0, 200);

    let open = tempfile::tempdir().unwrap();
    let bank = TestBank::start(open.path()).await;
    let nobody = reqwest::Client::new().get(format!("{}/v1/banking_balances", bank.url));
    assert_eq!(read(nobody).await.0, 401);
}

#[tokio::test]
async fn payouts_are_found_by_reference_state_and_page() {
    let folder = tempfile::tempdir().unwrap();
    let bank = TestBank::start(folder.path()).await;
    let mut ids = Vec::new();
    for n in 0..12 {
        let body = with(
            payout(&format!("ref-{n}")),
            "mode",
            json!(["IMPS", "NEFT"][n % 2]),
        );
        let (_, made) = bank.create(&format!("key-{n}"), &body).await;
        ids.push(made["id"].clone());
    }
    let list = async |query: &str| -> Vec<Value> {
        let path = format!("/v1/payouts?account_number={ACCOUNT_NUMBER}{query}");
        let (status, found) = read(bank.get(&path)).await;
        assert_eq!(
            (status, &found["entity"]),
            (200, &json!("collection")),
            "{query} {found}"
        );
        let items = found["items"].as_array().unwrap().iter();
        let ids: Vec<Value> = items.map(|item| item["id"].clone()).collect();
        assert_eq!(found["count"], ids.len());
        ids
    };
    assert_eq!(list("&reference_id=ref-3").await, [ids[3].clone()]);
    assert!(list("&reference_id=ref-99").await.is_empty());
    let newest: Vec<Value> = ids.iter().rev().take(10).cloned().collect();
    assert_eq!(list("").await, newest, "ten, newest first");
    assert_eq!(
        list("&count=2&skip=10").await,
        [ids[1].clone(), ids[0].clone()]
    );
    assert_eq!(
        list("&mode=NEFT&count=2").await,
        [ids[11].clone(), ids[9].clone()]
    );
    assert!(list("&status=rejected").await.is_empty());
    for bad in ["&count=101", "&count=0", "&status=odd", "&amount=1"] {
        let path = format!("/v1/payouts?account_number={ACCOUNT_NUMBER}{bad}");
        assert_eq!(read(bank.get(&path)).await.0, 400, "{bad}");
    }
    assert_eq!(
        read(bank.get("/v1/payouts")).await.0,
        400,
        "the account is mandatory"
    );
    assert!(read(bank.get("/v1/payouts?account_number=999999")).await.1["items"] == json!([]));
    let (status, refused) = read(bank.get("/v1/payouts/pout_00000000000001")).await;
    assert_eq!(status, 400);
    assert_eq!(
        refused["error"]["description"],
        "The id provided does not exist"
    );
}

#[tokio::test]
#[rustfmt::skip]
async fn people_decide_only_where_the_state_allows() {
    let folder = tempfile::tempdir().unwrap();
    let bank = TestBank::start(folder.path()).await;
    let remarks = json!({"remarks": "looked at it"});
    //            made as      verb       body               status  ends as
    let cases = [
        ("pending",   "approve", remarks.clone(),   200, "processing"),
        ("pending",   "reject",  remarks.clone(),   200, "rejected"),
        ("pending",   "cancel",  json!({}),         400, "pending"),
        ("pending",   "approve", json!({}),         400, "pending"),
        ("pending",   "reject",  json!({"remarks": " "}), 400, "pending"),
        ("queued",    "approve", remarks.clone(),   400, "queued"),
        ("queued",    "reject",  remarks.clone(),   400, "queued"),
        ("queued",    "cancel",  json!({}),         200, "cancelled"),
        ("scheduled", "cancel",  json!({}),         200, "cancelled"),
    ];
    for (made, verb, body, expected, ends) in cases {
        let notes = json!({"vendor_name": "Acme"});
        let (status, payout) = read(bank.post("/sandbox/payouts", &json!({"status": made, "notes": notes}))).await;
        assert_eq!((status, &payout["status"], &payout["notes"]), (200, &json!(made), &notes));
        let id = payout["id"].as_str().unwrap();
        let (status, answer) = read(bank.post(&format!("/v1/payouts/{id}/{verb}"), &body)).await;
        assert_eq!(status, expected, "{made} {verb} {answer}");
        if status == 200 {
            assert_eq!(answer["status"], ends);
            let (status, again) = read(bank.post(&format!("/v1/payouts/{id}/{verb}"), &body)).await;
            assert_eq!(status, 400, "{verb} is not idempotent: {again}");
        }
        if ends != "processing" {
            bank.until(id, ends).await;
        }
    }
    let (_, refused) = read(bank.post("/v1/payouts/pout_00000000000001/approve", &remarks)).await;
    assert_eq!(refused["error"]["description"], "The id provided does not exist");
    assert_eq!(bank.ledger().await, Vec::<Value>::new(), "what people made is no request of ours");
}

#[tokio::test]
async fn a_payout_waits_for_balance_if_it_may_and_money_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let bank = TestBank::start(folder.path()).await;
    let set = json!({"balance": 15_000});
    assert_eq!(read(bank.post("/sandbox/balance", &set)).await.0, 200);
    let balance =
        async || read(bank.get("/v1/banking_balances")).await.1["items"][0]["amount"].clone();

    let (_, first) = bank.create("key-1", &payout("ref-1")).await;
    assert_eq!(
        (&first["status"], balance().await),
        (&json!("processing"), json!(5_000))
    );
    let (status, refused) = bank.create("key-2", &payout("ref-2")).await;
    assert_eq!(
        (status, &refused["error"]["reason"]),
        (400, &json!("insufficient_funds"))
    );
    let may_wait = with(payout("ref-3"), "queue_if_low_balance", json!(true));
    let (_, queued) = bank.create("key-3", &may_wait).await;
    assert_eq!(
        (&queued["status"], balance().await),
        (&json!("queued"), json!(5_000))
    );

    let id = first["id"].as_str().unwrap();
    bank.until(id, "processed").await;
    let reversed = bank.post(
        &format!("/sandbox/payouts/{id}/state"),
        &json!({"status": "reversed"}),
    );
    assert_eq!(read(reversed).await.1["status"], "reversed");
    assert_eq!(balance().await, json!(15_000));
    let back = bank.post(
        &format!("/sandbox/payouts/{id}/state"),
        &json!({"status": "processed"}),
    );
    assert_eq!(read(back).await.0, 400, "no way leads back");

    read(bank.post("/sandbox/balance", &json!({"balance": 20_000}))).await;
    bank.until(queued["id"].as_str().unwrap(), "processed")
        .await;
    assert_eq!(balance().await, json!(10_000));
}

#[tokio::test]
async fn everything_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let bank = TestBank::start(folder.path()).await;
    let (_, first) = bank.create("key-1", &payout("ref-1")).await;
    let id = first["id"].as_str().unwrap().to_owned();
    bank.until(&id, "processed").await;
    let made = read(bank.post("/sandbox/payouts", &json!({"amount": 700})))
        .await
        .1;
    let transfer = json!({"amount": 100, "to": "acct_123", "reference_id": "t-1"});
    let transfer = bank.post("/sandbox/transfers", &transfer);
    let (status, moved) = read(transfer.header("X-Payout-Idempotency", "key-1")).await;
    assert_eq!((status, &moved["status"]), (200, &json!("processed")));
    let (ledger, balances) = (
        bank.ledger().await,
        read(bank.get("/v1/banking_balances")).await.1,
    );
    bank.stop().await;

    let bank = TestBank::start(folder.path()).await;
    assert_eq!(bank.ledger().await, ledger);
    let (_, after) = read(bank.get("/v1/banking_balances")).await;
    assert_eq!(after["items"][0]["amount"], balances["items"][0]["amount"]);
    let (_, replayed) = bank.create("key-1", &payout("ref-1")).await;
    assert_eq!(
        (replayed["id"].as_str(), &replayed["status"]),
        (Some(&*id), &json!("processed"))
    );
    let found = read(bank.get("/sandbox/transfers?reference_id=t-1"))
        .await
        .1;
    assert_eq!(found["items"], json!([moved]));
    let (_, still) = read(bank.get(&format!("/v1/payouts/{}", made["id"].as_str().unwrap()))).await;
    assert_eq!(still, made);

    assert_eq!(read(bank.post("/sandbox/reset", &json!({}))).await.0, 200);
    assert_eq!(bank.ledger().await, Vec::<Value>::new());
    assert_eq!(
        read(bank.get(&format!("/v1/payouts/{id}"))).await.0,
        400,
        "ids are new as well"
    );
    bank.create("key-1", &payout("ref-1")).await;
    bank.stop().await;
    let bank = TestBank::start(folder.path()).await;
    assert_eq!(bank.ledger().await.len(), 1, "a reset survives too");
}

/// What a client can tell of an answer under a fault.
async fn seen(bank: &TestBank, key: &str) -> String {
    let request = bank
        .post("/v1/payouts", &payout(key))
        .header("X-Payout-Idempotency", key);
    match request.timeout(Duration::from_millis(400)).send().await {
        Err(error) if error.is_timeout() => "silence".to_owned(),
        Err(error) => {
            let mut cause: &dyn std::error::Error = &error;
            while let Some(inner) = cause.source() {
                cause = inner;
            }
            let io = cause.downcast_ref::<std::io::Error>();
            io.map_or_else(|| cause.to_string(), |error| format!("{:?}", error.kind()))
        }
        Ok(response) => {
            let status = response.status().as_u16();
            let text = response.text().await.unwrap();
            let json: Option<Value> = serde_json::from_str(&text).ok();
            let what = match json {
                None if text.is_empty() => "empty",
                None if text.matches("\"entity\":\"payout\"").count() == 2 => "doubled",
                None => "garbage",
                Some(body) if body["reference_id"] == *key => "ours",
                Some(body) if body["entity"] == "payout" => "another",
                Some(_) => "error",
            };
            format!("{status} {what}")
        }
    }
}

#[tokio::test]
#[rustfmt::skip]
async fn each_fault_does_what_it_says_before_and_after() {
    let folder = tempfile::tempdir().unwrap();
    let bank = TestBank::start(folder.path()).await;
    //   fault                                                  seen                created
    let cases = [
        (json!({"kind": "5xx"}),                                "503 error",        0),
        (json!({"kind": "5xx", "when": "after", "status": 500}), "500 error",       1),
        (json!({"kind": "5xx", "status": 502, "body": "<html>"}), "502 garbage",    0),
        (json!({"kind": "reset"}),                              "ConnectionReset",  0),
        (json!({"kind": "reset", "when": "after"}),             "ConnectionReset",  1),
        (json!({"kind": "hang"}),                               "silence",          0),
        (json!({"kind": "hang", "when": "after"}),              "silence",          1),
        (json!({"kind": "slow", "delay_ms": 50}),               "200 ours",         1),
        (json!({"kind": "slow", "delay_ms": 50, "when": "after"}), "200 ours",      1),
        (json!({"kind": "slow", "when": "after"}),              "silence",          1),
        (json!({"kind": "garbage"}),                            "200 garbage",      0),
        (json!({"kind": "garbage", "when": "after"}),           "200 garbage",      1),
        (json!({"kind": "garbage", "body": "{}"}),              "200 error",        0),
        (json!({"kind": "empty"}),                              "200 empty",        0),
        (json!({"kind": "empty", "when": "after"}),             "200 empty",        1),
        (json!({"kind": "duplicate"}),                          "200 doubled",      1),
        (json!({"kind": "wrong_id"}),                           "200 another",      1),
        (json!({"kind": "forget_keys"}),                        "200 ours",         1),
        (json!({"kind": "redirect"}),                           "307 empty",        0),
        (json!({"kind": "redirect", "when": "after"}),          "307 empty",        1),
    ];
    for (n, (fault, expected, created)) in cases.into_iter().enumerate() {
        let key = format!("key-{n}");
        let before = bank.ledger().await.len();
        let mut armed = fault.clone();
        armed["operation"] = json!("create");
        bank.arm(armed).await;
        assert_eq!(seen(&bank, &key).await, expected, "{fault}");
        assert_eq!(bank.ledger().await.len() - before, created, "{fault}");
        assert_eq!(seen(&bank, &key).await, "200 ours", "{fault} struck more than once");
    }
}

#[tokio::test]
async fn a_slow_bank_pays_even_if_the_client_has_gone() {
    let folder = tempfile::tempdir().unwrap();
    let bank = TestBank::start(folder.path()).await;
    bank.arm(json!({"kind": "slow", "operation": "create", "delay_ms": 600}))
        .await;
    let mut hook = receiver(0).await;
    let target = json!({"url": hook.url, "secret": "whsec-sandbox"});
    assert_eq!(read(bank.post("/sandbox/webhook", &target)).await.0, 200);
    assert_eq!(seen(&bank, "key-1").await, "silence");
    assert_eq!(bank.ledger().await.len(), 0, "not yet");
    hook.heard(1).await;
    assert_eq!(bank.ledger().await.len(), 1);
}

#[tokio::test]
async fn a_bank_that_forgot_its_keys_pays_twice_but_can_be_searched() {
    let folder = tempfile::tempdir().unwrap();
    let bank = TestBank::start(folder.path()).await;
    bank.create("key-1", &payout("ref-1")).await;
    bank.arm(json!({"kind": "forget_keys", "operation": "create"}))
        .await;
    bank.create("key-1", &payout("ref-1")).await;
    let path = format!("/v1/payouts?account_number={ACCOUNT_NUMBER}&reference_id=ref-1");
    assert_eq!(read(bank.get(&path)).await.1["count"], 2);
    let (_, cleared) = read(bank.delete("/sandbox/faults")).await;
    assert_eq!(cleared, json!({"faults": []}));

    // After the request: it is remembered while it is answered, and forgotten by the next one.
    let after = json!({"kind": "forget_keys", "operation": "create", "when": "after"});
    bank.arm(after).await;
    let (_, first) = bank.create("key-2", &payout("ref-2")).await;
    let (_, second) = bank.create("key-2", &payout("ref-2")).await;
    assert_ne!(first["id"], second["id"]);
}

#[tokio::test]
async fn controls_are_not_for_browsers_and_say_who_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let bank = TestBank::start(folder.path()).await;
    let evil = bank
        .post("/sandbox/reset", &json!({}))
        .header("Origin", "https://evil.example");
    assert_eq!(read(evil).await.0, 403);
    let (_, health) = read(bank.get("/sandbox/health")).await;
    assert_eq!(
        (&health["service"], &health["status"]),
        (&json!("hundi-sandbox"), &json!("ok"))
    );
    assert_eq!(read(bank.get("/v2/nothing")).await.0, 404);
}

/// Somebody whom the bank's webhooks reach.
struct Receiver {
    url: String,
    deliveries: mpsc::UnboundedReceiver<(HeaderMap, Bytes)>,
}

impl Receiver {
    /// Waits for so many deliveries, turned away or not.
    async fn heard(&mut self, count: usize) -> Vec<(HeaderMap, Bytes)> {
        let mut heard = Vec::new();
        let all = async {
            while heard.len() < count {
                heard.push(self.deliveries.recv().await.unwrap());
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), all).await;
        waited.expect("all were delivered");
        heard
    }
}

/// A receiver of webhooks that turns the first `refusals` away.
async fn receiver(refusals: usize) -> Receiver {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (told, deliveries) = mpsc::unbounded_channel();
    let count = Arc::new(AtomicUsize::new(0));
    let hook = axum::routing::post(async move |headers: HeaderMap, body: Bytes| {
        // Nobody waits for more than a test asks for.
        let _ = told.send((headers, body));
        if count.fetch_add(1, Ordering::Relaxed) < refusals {
            axum::http::StatusCode::INTERNAL_SERVER_ERROR
        } else {
            axum::http::StatusCode::OK
        }
    });
    let router = axum::Router::new().route("/hook", hook);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    Receiver { url, deliveries }
}

#[tokio::test]
async fn webhooks_are_signed_named_repeated_and_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let bank = TestBank::start(folder.path()).await;
    let mut hook = receiver(1).await;
    let target = json!({"url": hook.url, "secret": "whsec-sandbox",
                        "events": ["payout.pending", "payout.processed"]});
    assert_eq!(read(bank.post("/sandbox/webhook", &target)).await.0, 200);
    let notes = json!({"vendor_url": "https://acme.example"});
    read(bank.post("/sandbox/payouts", &json!({"notes": notes}))).await;
    bank.create("key-1", &payout("ref-1")).await;
    let seen = hook.heard(3).await;
    let mut told: Vec<(String, String)> = Vec::new();
    for (headers, body) in &seen {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"whsec-sandbox").unwrap();
        mac.update(body);
        assert_eq!(
            headers["X-Razorpay-Signature"],
            *hex(&mac.finalize().into_bytes())
        );
        let event: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(
            (&event["entity"], &event["contains"]),
            (&json!("event"), &json!(["payout"]))
        );
        assert_eq!(event["payload"]["payout"]["entity"]["entity"], "payout");
        let id = headers["x-razorpay-event-id"].to_str().unwrap().to_owned();
        told.push((event["event"].as_str().unwrap().to_owned(), id));
    }
    told.sort();
    let events: Vec<&str> = told.iter().map(|(event, _)| event.as_str()).collect();
    let pending = events
        .iter()
        .filter(|event| **event == "payout.pending")
        .count();
    assert!(
        pending >= 1 && events.contains(&"payout.processed"),
        "{events:?}"
    );
    told.dedup();
    assert_eq!(
        told.len(),
        2,
        "a repeated delivery keeps its event id: {told:?}"
    );
}

/// The bank as its own process, on a port of its own.
struct Process {
    child: std::process::Child,
    url: String,
}

impl Process {
    fn start(folder: &std::path::Path) -> Self {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_hundi"))
            .arg("sandbox")
            .env("HUNDI_DATA_DIR", folder)
            .env("HUNDI_SANDBOX_LISTEN", "127.0.0.1:0")
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        let url = line.trim().rsplit(' ').next().unwrap().to_owned();
        Self { child, url }
    }

    fn kill_9(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[tokio::test]
async fn what_was_answered_before_a_kill_9_is_in_the_ledger_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path());
    let bank = TestBank::at(&process.url);
    let answered: Mutex<Vec<Value>> = Mutex::default();
    let (told, mut enough) = mpsc::unbounded_channel();
    let paying = futures_util::future::join_all((0..16).map(|worker| {
        let (bank, answered, told) = (&bank, &answered, told.clone());
        async move {
            for number in 0.. {
                let name = format!("key-{worker}-{number}");
                let request = bank.post("/v1/payouts", &payout(&name));
                let Ok(answer) = request.header("X-Payout-Idempotency", &name).send().await else {
                    return;
                };
                let Ok(made) = answer.json::<Value>().await else {
                    return;
                };
                answered.lock().unwrap().push(made["id"].clone());
                told.send(()).unwrap();
            }
        }
    }));
    let killing = async {
        for _ in 0..200 {
            enough.recv().await.unwrap();
        }
        process.kill_9();
    };
    tokio::join!(paying, killing);

    let process = Process::start(folder.path());
    let bank = TestBank::at(&process.url);
    let rows = bank.ledger().await;
    let kept: std::collections::BTreeSet<String> =
        rows.iter().map(|row| row["id"].to_string()).collect();
    assert_eq!(kept.len(), rows.len(), "one row per payout");
    for id in answered.lock().unwrap().iter() {
        assert!(
            kept.contains(&id.to_string()),
            "{id} was answered and is gone"
        );
    }
    let sequence: Vec<u64> = rows
        .iter()
        .map(|row| row["seq"].as_u64().unwrap())
        .collect();
    assert!(sequence.windows(2).all(|pair| pair[0] < pair[1]));
    process.kill_9();
}
