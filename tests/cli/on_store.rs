//! Commands that work on the store, beside a running server and without one.

use serde_json::{Value, json};

use super::{Place, Serving, mode};

#[test]
fn a_key_is_shown_once_and_ends_when_it_is_revoked() {
    let place = Place::new();
    let made = place.run(&[
        "key", "create", "--role", "auditor", "--name", "eve", "--json",
    ]);
    let made = made.done().json();
    let (id, text) = (made["id"].as_str().unwrap(), made["key"].as_str().unwrap());
    assert!(text.starts_with(&format!("hk_{id}_")));
    assert_eq!(mode(&place.path("hundi-data")), 0o700);
    assert_eq!(mode(&place.path("hundi-data/hundi.db")), 0o600);

    let listed = place.run(&["key", "list", "--json"]).done();
    assert!(!listed.out.contains(text));
    assert_eq!(listed.json()["keys"][0]["role"], "auditor");

    let as_eve = |arguments: &[&str]| place.run(&[arguments, &["--key", text]].concat());
    as_eve(&["key", "list"]).done();
    let refused = as_eve(&["key", "create", "--role", "agent", "--name", "x"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.err.contains("forbidden") && !refused.err.contains(text),
        "{}",
        refused.err
    );

    let revoked = place.run(&["key", "revoke", text]).done();
    assert!(revoked.out.contains("is revoked") && !revoked.out.contains(text));
    assert_eq!(as_eve(&["key", "list"]).code, 1);
    assert_eq!(place.run(&["key", "revoke", "0000000000000000"]).code, 1);
}

#[test]
fn the_name_of_the_banks_agent_is_taken() {
    let create = ["key", "create", "--role", "agent", "--name"];
    let place = Place::new();
    let refused = place.run(&[&create[..], &["external"]].concat());
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("name_reserved"), "{}", refused.err);
    // Whatever it is called here.
    let place = Place::new().set("HUNDI_RAZORPAY_EXTERNAL_AGENT", "the-bank");
    for name in ["external", "the-bank"] {
        let refused = place.run(&[&create[..], &[name]].concat());
        assert!(refused.err.contains("name_reserved"), "{}", refused.err);
    }
    place.run(&[&create[..], &["a-bank"]].concat()).done();
}

#[test]
fn token_keys_are_rotated_and_retired() {
    let place = Place::new();
    assert_eq!(
        place.run(&["keyring", "rotate"]).code,
        1,
        "there is no ring to rotate yet"
    );
    place.run(&["migrate"]).done();
    let ring = || place.run(&["keyring", "list", "--json"]).done().json()["keys"].take();
    let first = ring();
    let old = first[0]["kid"].as_str().unwrap();
    let new = place.run(&["keyring", "rotate", "--json"]).done().json();
    assert_eq!(new["sealing"], true);
    let keys = ring();
    assert_eq!(
        (&keys[0]["state"], &keys[1]["state"]),
        (&json!("rotated"), &json!("active"))
    );
    place.run(&["keyring", "retire", old]).done();
    let keys = ring();
    assert_eq!(keys[0]["state"], "retired");
    assert_eq!(place.run(&["keyring", "retire", "k000"]).code, 1);

    let log = place
        .run(&["audit", "--json", "--limit", "100"])
        .done()
        .json();
    let told = |kind: &str, kid: &Value| {
        let records = log.as_array().or(log["records"].as_array()).unwrap();
        let about = |record: &&Value| record["kind"] == kind && record["detail"]["kid"] == *kid;
        records.iter().filter(about).count()
    };
    assert_eq!(told("token_key_created", &new["kid"]), 1, "{log}");
    assert_eq!(told("token_key_rotated", &first[0]["kid"]), 1);
    assert_eq!(told("token_key_retired", &first[0]["kid"]), 1);

    let text = std::fs::read_to_string(place.path("hundi-data/token-keys.json")).unwrap();
    let ring: Value = serde_json::from_str(&text).unwrap();
    let secret = ring["keys"][1]["secret"].as_str().unwrap();
    assert!(
        !place
            .run(&["keyring", "list"])
            .done()
            .out
            .contains(&secret[..16])
    );
}

#[test]
fn keys_from_outside_are_not_rotated_here() {
    let key = "c0ffee00c0ffee01c0ffee02c0ffee03a1b2c3d4e5f60718293a4b5c6d7e8f90";
    let place = Place::new().set("HUNDI_TOKEN_KEY", key);
    let listed = place.run(&["keyring", "list"]).done().out;
    assert!(listed.contains("given from outside"), "{listed}");
    for arguments in [&["keyring", "rotate"][..], &["keyring", "retire", "e1"]] {
        let refused = place.run(arguments);
        assert_eq!(refused.code, 1);
        assert!(refused.err.contains("HUNDI_TOKEN_KEY"), "{}", refused.err);
    }
}

async fn post(serving: &Serving, path: &str, body: Value) -> Value {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(format!("{}{path}", serving.url()));
    let answer = request
        .bearer_auth(serving.agent_key())
        .json(&body)
        .send()
        .await
        .unwrap();
    answer.json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_proposal_is_decided_and_its_token_explained() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let place = Place::new();
    place.write("hundi.toml", "[tools.noop]\nhold = true\n");
    let serving = place.serve();
    let propose = || {
        post(
            &serving,
            "/v1/proposals",
            json!({"tool": "noop", "arguments": {"note": "x"}}),
        )
    };
    let (first, second, third) = (propose().await, propose().await, propose().await);
    assert_eq!(first["status"], "held", "{first}");
    let id = |proposal: &Value| proposal["proposal_id"].as_str().unwrap().to_owned();

    let held = place
        .run(&["proposal", "list", "--state", "held", "--json"])
        .done()
        .json();
    assert_eq!(held["proposals"].as_array().unwrap().len(), 3);
    let two = place.run(&["proposal", "list", "--limit", "2"]).done();
    assert!(two.err.contains("there are more"), "{}", two.err);
    let three = place.run(&["proposal", "list", "--limit", "3"]).done();
    assert!(!three.err.contains("there are more"), "{}", three.err);
    let approved = place
        .run(&["proposal", "approve", &id(&first), "--json"])
        .done();
    assert_eq!(approved.json()["state"], "allowed");
    assert!(
        !approved.out.contains("commit_token"),
        "the token is its proposer's alone"
    );
    place
        .run(&["proposal", "reject", &id(&second), "--reason", "not today"])
        .done();
    place.run(&["proposal", "cancel", &id(&third)]).done();
    let shown = place.run(&["proposal", "show", &id(&second)]).done().out;
    assert!(
        shown.contains("rejected") && shown.contains("not today"),
        "{shown}"
    );
    let again = place.run(&["proposal", "approve", &id(&second)]);
    assert_eq!(again.code, 1);
    let unknown = "01900000-0000-7000-8000-000000000000";
    assert_eq!(place.run(&["proposal", "show", unknown]).code, 1);
    let by_agent = place.run(&[
        "proposal",
        "approve",
        &id(&first),
        "--key",
        serving.agent_key(),
    ]);
    assert_eq!(by_agent.code, 1, "an agent can never approve");

    let show = [
        "proposal",
        "show",
        &id(&first),
        "--json",
        "--key",
        serving.agent_key(),
    ];
    let token = place.run(&show).done().json()["commit_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let good = place
        .fed(&["token", "inspect", "--json"], token.as_bytes())
        .done()
        .json();
    assert_eq!(
        (&good["valid"], &good["claims"]["proposal_id"]),
        (&json!(true), &first["proposal_id"])
    );
    let kid = good["kid"].as_str().unwrap();
    let bad = place.fed(
        &["token", "inspect", "--json"],
        format!("{token}A").as_bytes(),
    );
    assert_eq!(
        (bad.code, &bad.json()["reason"]),
        (1, &json!("bad_signature"))
    );

    place.run(&["keyring", "retire", kid]).done();
    let commit = json!({"commit_token": token, "arguments": {"note": "x"}});
    let refused = post(
        &serving,
        &format!("/v1/proposals/{}/commit", id(&first)),
        commit,
    )
    .await;
    assert_eq!(
        refused["reason"], "bad_signature",
        "a retired key holds at once: {refused}"
    );
}

#[test]
fn the_load_test_counts_cycles_by_both_doors() {
    let place = Place::new();
    let serving = place.serve();
    let bench = |more: &[&str]| {
        let url = [
            "bench",
            "--url",
            serving.url(),
            "--key",
            serving.agent_key(),
            "--json",
        ];
        place.run(&[&url, more].concat())
    };
    for door in ["rest", "mcp"] {
        for tool in ["noop", "transfer_funds"] {
            let told = bench(&[
                "--cycles",
                "6",
                "--concurrency",
                "3",
                "--door",
                door,
                "--tool",
                tool,
            ]);
            let told = told.done().json();
            assert_eq!(
                (&told["cycles"], &told["failed"]),
                (&json!(6), &json!(0)),
                "{door} {tool}"
            );
            for phase in ["propose", "commit"] {
                let phase = &told["phases"][phase];
                let [p50, p99] = ["p50_ms", "p99_ms"].map(|p| phase[p].as_f64().unwrap());
                assert!(p50 > 0.0 && p99 >= p50, "{phase}");
            }
        }
    }
    for door in ["chat", "requests"] {
        let provider = format!(
            "{}/sandbox/models/v1",
            serving.first["sandbox_url"].as_str().unwrap()
        );
        let told = bench(&[
            "--seconds",
            "1",
            "--concurrency",
            "2",
            "--door",
            door,
            "--floor",
            "--provider",
            &provider,
        ]);
        let told = told.done().json();
        assert_eq!(told["failed"], 0, "{told}");
        assert!(
            told["phases"]["ask"]["p50_ms"].as_f64().unwrap() > 0.0,
            "{told}"
        );
        for figure in ["machine_ms_per_cycle", "relay_ms_per_cycle"] {
            assert!(
                told["cpu"][figure].as_f64().unwrap() > 0.0,
                "{figure}: {told}"
            );
        }
        assert!(told["ratio"].as_f64().unwrap() > 0.0, "{told}");
    }
    let told = bench(&["--seconds", "1", "--concurrency", "2", "--floor"])
        .done()
        .json();
    let [ours, floor, ratio] = ["cycles_per_s", "floor_per_s", "ratio"].map(|name| {
        told[name]
            .as_f64()
            .unwrap_or_else(|| panic!("no {name} in {told}"))
    });
    assert!(floor > 0.0 && (ours / floor - ratio).abs() < 0.01, "{told}");
    let executed = place
        .run(&["proposal", "list", "--state", "executed", "--json"])
        .done();
    assert!(executed.json()["proposals"].as_array().unwrap().len() >= 24);

    let wrong_key = place.run(&[
        "bench",
        "--url",
        serving.url(),
        "--key",
        "hk_0_0",
        "--cycles",
        "2",
    ]);
    assert_eq!(wrong_key.code, 1);
    assert!(
        wrong_key.err.contains("2 cycles failed"),
        "{}",
        wrong_key.err
    );
    drop(serving);
    let nobody = place.run(&[
        "bench",
        "--url",
        "http://127.0.0.1:1",
        "--key",
        "hk_0_0",
        "--cycles",
        "1",
    ]);
    assert_eq!(nobody.code, 1);
    assert!(
        nobody.err.contains("nothing answers at 127.0.0.1:1"),
        "{}",
        nobody.err
    );
}

#[test]
fn the_catalogue_is_shown_and_only_upstreams_are_accepted() {
    let place = Place::new();
    let tools = place.run(&["tool", "list", "--json"]).done().json();
    let names: Vec<&str> = tools["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"create_payout") && names.contains(&"noop"));
    place.run(&["tool", "show", "create_payout"]).done();
    assert_eq!(place.run(&["tool", "show", "nothing"]).code, 1);
    assert_eq!(place.run(&["tool", "accept", "create_payout"]).code, 1);
    let none = place.run(&["tool", "list", "--waiting"]).done().out;
    assert!(none.contains("no tool waits for you"));
}

#[test]
fn keys_are_made_where_they_can_be_shown() {
    let place = Place::new();
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "t", "version": "0"},
    }});
    place.fed(&["mcp"], format!("{hello}\n").as_bytes()).done();
    let made = place.run(&["key", "list", "--json"]).done().json();
    assert_eq!(
        made,
        json!({"keys": []}),
        "a client on stdio is shown no key"
    );

    let serving = place.serve();
    let first = serving.first.clone();
    assert_eq!(first["agent_id"], "agent-1");
    drop(serving);
    // Later starts show no key, and may answer elsewhere.
    let again = place.serve();
    assert_eq!(again.first["admin_key"], first["admin_key"]);
    assert_eq!(again.first["agent_key"], first["agent_key"]);
    assert_ne!(again.url(), first["url"]);
    drop(again);

    place.write("bootstrap.json", "{\"mine\":1}");
    let refused = place.run(&["serve", "--bootstrap", "bootstrap.json"]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("is left as it is"), "{}", refused.err);
}

#[test]
fn a_command_that_finds_no_store_says_so_and_makes_none() {
    let place = Place::new();
    for command in [
        &["proposal", "list"][..],
        &["audit"],
        &["audit", "verify"],
        &["audit", "export"],
        &["key", "list"],
        &["policy", "list"],
    ] {
        let ended = place.run(command);
        assert_eq!(ended.code, 1, "{command:?}: {}", ended.out);
        assert!(ended.err.contains("there is no store at"), "{}", ended.err);
        assert!(ended.err.contains("--data-dir"), "{}", ended.err);
    }
    assert!(!place.path("hundi-data").exists());
}
