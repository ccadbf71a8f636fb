//! The doors of the registry: REST and the command line, who may use them, and what they refuse.

use hundi::domain::principal::Role;
use serde_json::{Value, json};

use crate::rest::door::Door;
use crate::support::server::Server;

const ACCOUNT: &str = "fa_00000000000001";

fn acme() -> Value {
    json!({"name": "Acme Ltd", "vendor_url": "https://acme.example", "fund_accounts": [ACCOUNT]})
}

fn names(listed: &Value) -> Vec<&str> {
    let payees = listed["payees"].as_array().unwrap().iter();
    payees
        .map(|payee| payee["name"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn operators_keep_the_registry_over_rest() {
    let door = Door::new().await;
    let ops = door.fixture.key(Role::Operator, "ops").await;
    let made = door.post("/v1/payees", &ops, acme()).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let again = door.post("/v1/payees", &ops, acme()).await;
    assert_eq!((again.status, again.json()), (200, made.json()));
    let listed = door.get("/v1/payees", &ops).await.json();
    assert_eq!(listed["payees"][0], made.json());

    let other = json!({"name": "Other", "fund_accounts": [ACCOUNT]});
    let taken = door.post("/v1/payees", &ops, other).await;
    assert_eq!((taken.status, taken.code()), (409, "account_taken".into()));

    // By its id, its name or an account; then it is as if it had never been.
    for named in [id.as_str(), "acme%20LTD", ACCOUNT] {
        door.post("/v1/payees", &ops, acme()).await;
        let path = format!("/v1/payees/{named}");
        let removed = door.ask("DELETE", &path, &ops, None).await;
        assert_eq!(
            (removed.status, &removed.json()["name"]),
            (200, &json!("Acme Ltd"))
        );
        assert_eq!(
            door.ask("DELETE", &path, &ops, None).await.status,
            404,
            "{named}"
        );
    }
    assert_eq!(names(&door.get("/v1/payees", &ops).await.json()), [""; 0]);
}

#[tokio::test]
#[rustfmt::skip]
async fn each_role_does_with_the_registry_what_is_its_own() {
    let door = Door::new().await;
    let gone = format!("/v1/payees/{ACCOUNT}");
    //                                          agent app  aud  ops  dev  stew adm  none
    let table = [
        ("GET",    "/v1/payees", None,          [403, 200, 200, 200, 403, 403, 200, 401]),
        ("POST",   "/v1/payees", Some(acme()),  [403, 403, 403, 200, 403, 403, 200, 401]),
        ("DELETE", &gone,        None,          [403, 403, 403, 200, 403, 403, 200, 401]),
    ];
    let ops = door.fixture.key(Role::Operator, "ops").await;
    let mut keys = Vec::new();
    for role in Role::ALL {
        keys.push(door.fixture.key(role, &format!("a {}", role.name())).await);
    }
    keys.push(String::new());
    for (method, path, body, statuses) in table {
        for (key, status) in keys.iter().zip(statuses) {
            door.post("/v1/payees", &ops, acme()).await;
            let answer = door.ask(method, path, key, body.as_ref().map(Value::to_string)).await;
            let role = Role::ALL.get(keys.iter().position(|k| k == key).unwrap());
            assert_eq!(answer.status, status, "{role:?} {method} {}", answer.text());
        }
    }
    assert_eq!(names(&door.get("/v1/payees", &ops).await.json()), ["Acme Ltd"]);
}

#[tokio::test]
#[rustfmt::skip]
async fn what_could_be_no_payee_is_refused_and_named() {
    let door = Door::new().await;
    let ops = door.fixture.key(Role::Operator, "ops").await;
    let with = |name: &str, value: Value| {
        let mut body = acme();
        body[name] = value;
        body
    };
    let cases = [
        (json!({}),                                          "name"),
        (with("name", json!(7)),                             "name"),
        (with("name", json!(" ")),                           "name"),
        (with("fund_accounts", Value::Null),                 "fund_accounts"),
        (with("fund_accounts", json!([])),                   "fund_accounts"),
        (with("fund_accounts", json!("fa_1")),               "fund_accounts"),
        (with("fund_accounts", json!([7])),                  "fund_accounts"),
        (with("vendor_url", json!("http://169.254.169.254/")), "vendor_url"),
        (with("lei", json!("short")),                        "lei"),
        (with("labels", json!([""])),                        "labels"),
        // A slip of the hand would otherwise leave out what was meant to be written.
        (with("vendor", json!("https://acme.example")),      "vendor"),
        (with("fund_account", json!("fa_1")),                "fund_account"),
    ];
    for (body, named) in cases {
        let refused = door.post("/v1/payees", &ops, body.clone()).await;
        assert_eq!((refused.status, refused.code()), (400, "invalid_request".into()), "{body}");
        assert!(refused.text().contains(named), "{body}: {}", refused.text());
    }
    let twice = r#"{"name":"a","name":"b","fund_accounts":["fa_1"]}"#.to_owned();
    let refused = door.ask("POST", "/v1/payees", &ops, Some(twice)).await;
    assert_eq!((refused.status, refused.code()), (400, "invalid_json".into()));
    assert_eq!(names(&door.get("/v1/payees", &ops).await.json()), [""; 0]);
}

#[tokio::test]
async fn another_organisations_payees_are_unknown() {
    let door = Door::new().await;
    let ops = door.fixture.key(Role::Operator, "ops").await;
    let elsewhere = "elsewhere".parse().unwrap();
    let theirs = door.fixture.key_in(&elsewhere, Role::Operator, "ops").await;
    let made = door.post("/v1/payees", &theirs, acme()).await.json();
    assert_eq!(names(&door.get("/v1/payees", &ops).await.json()), [""; 0]);
    let never = door.ask("DELETE", "/v1/payees/Nobody", &ops, None).await;
    for named in [made["id"].as_str().unwrap(), "Acme%20Ltd", ACCOUNT] {
        let path = format!("/v1/payees/{named}");
        let unknown = door.ask("DELETE", &path, &ops, None).await;
        assert_eq!(unknown.status, 404);
        // Word for word as one that never existed.
        assert_eq!(unknown.json()["detail"], never.json()["detail"], "{named}");
    }
    // The same account may be somebody else's here.
    let ours = json!({"name": "Ours", "fund_accounts": [ACCOUNT]});
    assert_eq!(door.post("/v1/payees", &ops, ours).await.status, 201);
    assert_eq!(
        names(&door.get("/v1/payees", &theirs).await.json()),
        ["Acme Ltd"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_and_a_running_server_have_one_registry() {
    let server = Server::start().await;
    let json = |args: &[&str]| -> Value {
        let told = server.command(&[args, &["--json"]].concat());
        serde_json::from_str(&told).unwrap_or_else(|_| panic!("{args:?}: {told}"))
    };
    let add = ["payee", "add", "--name", "Acme Ltd", "--account", ACCOUNT];
    let made = json(
        &[
            &add[..],
            &["--vendor-url", "https://acme.example", "--label", "core"],
        ]
        .concat(),
    );
    assert_eq!(made["fund_accounts"], json!([ACCOUNT]));
    assert_eq!(json(&["payee", "list"])["payees"], json!([made]));
    let seen = server.get(&server.admin_key, "/v1/payees").await;
    assert_eq!(seen["payees"], json!([made]));
    assert!(server.command(&["payee", "list"]).contains("Acme Ltd"));

    // The server decides by it from the next proposal on.
    let payout = json!({
        "fund_account_id": ACCOUNT, "amount": 10_000, "currency": "INR", "mode": "IMPS",
        "purpose": "payout", "notes": {"vendor_name": "Acme Evil Ltd"},
    });
    let body = json!({"tool": "create_payout", "arguments": payout});
    let (_, held) = server
        .post(&server.agent_key, "/v1/proposals", &body)
        .await
        .unwrap();
    assert_eq!(
        (&held["status"], &held["reason"]),
        (&json!("held"), &json!("PROMPT_CONTRADICTED"))
    );

    let auditor = json(&["key", "create", "--role", "auditor", "--name", "eve"]);
    let auditor = auditor["key"].as_str().unwrap();
    let refused = [
        (
            &["payee", "list", "--key", &server.agent_key][..],
            1,
            "forbidden",
        ),
        (&[&add[..], &["--key", auditor]].concat(), 1, "forbidden"),
        (
            &["payee", "remove", "Acme Ltd", "--key", auditor],
            1,
            "forbidden",
        ),
        (&["payee", "remove", "Nobody"], 1, "not_found"),
        (
            &["payee", "add", "--name", "Other", "--account", ACCOUNT],
            1,
            "account_taken",
        ),
        (
            &[
                "payee",
                "add",
                "--name",
                "x",
                "--account",
                "fa_2",
                "--vendor-url",
                "localhost",
            ],
            1,
            "vendor_url",
        ),
        (&["payee", "add", "--name", "Other"], 2, "--account"),
        (&["payee", "remove"], 2, "PAYEE"),
    ];
    for (args, code, word) in refused {
        let ran = server.run(args);
        let told = String::from_utf8(ran.stderr).unwrap();
        assert_eq!(ran.status.code(), Some(code), "{args:?}: {told}");
        assert!(
            told.contains(word) && !told.contains(auditor),
            "{args:?}: {told}"
        );
    }
    assert_eq!(
        json(&["payee", "list", "--key", auditor])["payees"],
        json!([made])
    );
    assert_eq!(json(&["payee", "remove", ACCOUNT]), made);
    assert_eq!(json(&["payee", "list"])["payees"], json!([]));
}
