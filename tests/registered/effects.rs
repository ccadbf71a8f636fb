//! What a tool would work on, shown when it is proposed and compared when it is committed; and what
//! holds for the results of tools that write.

use serde_json::{Value, json};
use sqlx::{Connection, Executor, SqliteConnection};

use super::api::Api;
use super::{Shop, discount};
use crate::support::postgres::{connect, fresh_schema};

fn shown() -> Value {
    let mut tool = discount();
    tool["name"] = json!("shown");
    tool["exec"]["preview"] = json!("select id, email, total from invoices where id = :id");
    tool["masks"] = json!([{"path": "$.rows[*].email", "do": "last4"}]);
    tool
}

async fn proposed(shop: &Shop, tool: &str, arguments: &Value) -> Value {
    let asked = json!({"tool": tool, "arguments": arguments});
    let (status, proposed) = shop.as_agent("/v1/proposals", asked).await;
    assert_eq!(status, 200, "{proposed}");
    proposed
}

async fn committed(shop: &Shop, proposed: &Value, arguments: &Value) -> Value {
    let id = proposed["proposal_id"].as_str().unwrap();
    let path = format!("/v1/proposals/{id}/commit");
    let commit = json!({"commit_token": proposed["commit_token"], "arguments": arguments});
    shop.as_agent(&path, commit).await.1
}

async fn by_another_hand(shop: &Shop, text: &'static str) {
    let url = format!("sqlite://{}", shop.path());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    connection.execute(text).await.unwrap();
}

#[tokio::test]
async fn a_write_is_done_on_the_state_that_it_was_shown_for_and_on_no_other() {
    let shop = Shop::furnished().await;
    let (status, made) = shop.post("/v1/tools", shown()).await;
    assert_eq!(status, 201, "{made}");
    let arguments = json!({"id": 1});
    let first = proposed(&shop, "shown", &arguments).await;
    let effect = &first["effect"];
    let rows = json!([{"id": 1, "email": "****mple", "total": 500}]);
    assert_eq!(effect["before"]["rows"], rows, "{first}");
    assert_eq!(effect["rows"], 1, "{first}");
    assert_eq!(effect["state"].as_str().map(str::len), Some(64), "{first}");
    let path = format!("/v1/proposals/{}", first["proposal_id"].as_str().unwrap());
    let seen = shop.server.get(&shop.server.admin_key, &path).await;
    assert_eq!(&seen["effect"], effect, "the approver sees the same");
    let listed = shop
        .server
        .get(&shop.server.admin_key, "/v1/proposals")
        .await;
    let listed = &listed["proposals"][0]["effect"];
    assert_eq!(listed["state"], effect["state"], "{listed}");
    assert!(listed.get("before").is_none(), "{listed}");

    by_another_hand(&shop, "update invoices set total = 501 where id = 1").await;
    let refused = committed(&shop, &first, &arguments).await;
    assert_eq!(refused["reason"], "precondition_failed", "{refused}");
    assert_eq!(refused["recovery"], "propose_again", "{refused}");
    assert_eq!(shop.total(1).await, 501, "nothing was done");

    let second = proposed(&shop, "shown", &arguments).await;
    assert_ne!(second["effect"]["state"], effect["state"]);
    let done = committed(&shop, &second, &arguments).await;
    assert_eq!(done["status"], "committed", "{done}");
    let again = committed(&shop, &second, &arguments).await;
    assert_eq!(again["status"], "blocked", "{again}");
    assert_eq!(shop.total(1).await, 491, "once");
    // Neither the audit log nor anything else that is told knows the address.
    let log = shop
        .server
        .get(&shop.server.admin_key, "/v1/audit?limit=50")
        .await;
    assert!(!log.to_string().contains("a@acme"), "{log}");
}

#[tokio::test]
async fn whoever_is_refused_is_shown_nothing_and_what_cannot_be_shown_is_not_proposed() {
    let shop = Shop::furnished().await;
    let (status, _) = shop.post("/v1/tools", shown()).await;
    assert_eq!(status, 201);
    let asked = json!({"tool": "shown", "arguments": {"id": 1}});
    let frozen = json!({"scope": "tool", "id": "shown", "reason": "looked into"});
    let (status, answer) = shop.post("/v1/freeze", frozen).await;
    assert!(status < 300, "{answer}");
    let (_, refused) = shop.as_agent("/v1/proposals", asked.clone()).await;
    assert_eq!(refused["status"], "blocked", "{refused}");
    assert!(refused.get("effect").is_none(), "{refused}");
    let lifted = json!({"scope": "tool", "id": "shown", "reason": "done"});
    let (status, answer) = shop.post("/v1/unfreeze", lifted).await;
    assert!(status < 300, "{answer}");
    by_another_hand(&shop, "alter table invoices rename to bills").await;
    let (status, problem) = shop.as_agent("/v1/proposals", asked).await;
    assert!(status >= 500, "{problem}");
    assert_eq!(problem["origin"], "source", "{problem}");
}

#[tokio::test]
async fn masks_pace_and_schema_hold_for_what_a_write_brings_back() {
    let shop = Shop::furnished().await;
    let mut tool = discount();
    tool["name"] = json!("told");
    tool["exec"]["statement"] =
        json!("update invoices set total = total - 10 where id = :id returning email, total");
    tool["masks"] = json!([{"path": "$.rows[*].email", "do": "redact"}]);
    tool["rate_limit"] = json!({"per_min": 2, "by": "tool"});
    tool["timeout_ms"] = json!(5_000);
    tool["output_schema"] = json!({"type": "object", "properties": {"rows": {"items": {
        "properties": {"total": {"minimum": 600}},
    }}}});
    let (status, made) = shop.post("/v1/tools", tool).await;
    assert_eq!(status, 201, "{made}");
    for (id, fits) in [(2, true), (1, false)] {
        let arguments = json!({"id": id});
        let allowed = proposed(&shop, "told", &arguments).await;
        let done = committed(&shop, &allowed, &arguments).await;
        assert_eq!(done["status"], "committed", "{done}");
        let told = if fits { json!(690) } else { json!(null) };
        assert_eq!(done["result"]["rows"][0]["total"], told, "{done}");
        let withheld = done["result"]["withheld"] == "output_invalid";
        assert_eq!(withheld, !fits, "{done}");
        assert!(!done.to_string().contains("example"), "{done}");
        let path = format!("/v1/proposals/{}", allowed["proposal_id"].as_str().unwrap());
        let seen = shop.server.get(&shop.server.admin_key, &path).await;
        assert!(!seen.to_string().contains("example"), "{seen}");
    }
    let asked = json!({"tool": "told", "arguments": {"id": 1}});
    let (status, refused) = shop.as_agent("/v1/proposals", asked).await;
    assert_eq!(
        (status, &refused["code"]),
        (429, &json!("rate_limited")),
        "{refused}"
    );
}

/// Two hands at the same row: one of two proposals for the same state is carried out.
#[tokio::test]
async fn of_two_writes_shown_the_same_state_one_is_done() {
    let Some(server) = fresh_schema().await else {
        return;
    };
    let name = format!("hundi_effects_{}", std::process::id());
    let mut owner = connect(&server).await;
    let make = format!("drop database if exists {name} with (force)");
    owner.execute(sqlx::AssertSqlSafe(make)).await.unwrap();
    let make = format!("create database {name}");
    owner.execute(sqlx::AssertSqlSafe(make)).await.unwrap();
    let mut url: url::Url = server.parse().unwrap();
    url.set_query(None);
    url.set_path(&name);
    let mut database = connect(url.as_str()).await;
    for text in [
        "create table invoices (id int primary key, total int)",
        "insert into invoices values (1, 500)",
    ] {
        database.execute(text).await.unwrap();
    }
    let shop = Shop::open().await;
    let source = json!({"name": "shop", "kind": "postgres", "config": {"tls": "disable"},
        "secrets": {"url": url.as_str()}});
    let (status, made) = shop.post("/v1/sources", source).await;
    assert_eq!(status, 201, "{made}");
    let (_, said) = shop.post("/v1/sources/shop/prepare", json!({})).await;
    assert_eq!(said["ok"], true, "{said}");
    let mut tool = shown();
    tool["exec"]["preview"] = json!("select id, total from invoices where id = :id");
    let (status, made) = shop.post("/v1/tools", tool).await;
    assert_eq!(status, 201, "{made}");
    let arguments = json!({"id": 1});
    let first = proposed(&shop, "shown", &arguments).await;
    let second = proposed(&shop, "shown", &arguments).await;
    let (one, other) = tokio::join!(
        committed(&shop, &first, &arguments),
        committed(&shop, &second, &arguments),
    );
    let both = [&one, &other];
    let done = both
        .iter()
        .filter(|answer| answer["status"] == "committed")
        .count();
    let stopped = both
        .iter()
        .filter(|answer| answer["reason"] == "precondition_failed");
    assert_eq!((done, stopped.count()), (1, 1), "{one} {other}");
    let total: i32 = sqlx::query_scalar("select total from invoices")
        .fetch_one(&mut database)
        .await
        .unwrap();
    assert_eq!(total, 490);
    paid_once(&shop, &mut database).await;
    drop((shop, database));
    let gone = format!("drop database {name} with (force)");
    owner.execute(sqlx::AssertSqlSafe(gone)).await.unwrap();
}

/// The preview reads a table that it does not lock, in sight and inside of a view.
async fn paid_once(shop: &Shop, database: &mut sqlx::PgConnection) {
    for text in [
        "create table ledger (invoice int)",
        "create view unpaid as select id from invoices i \
         where not exists (select 1 from ledger l where l.invoice = i.id)",
    ] {
        database.execute(text).await.unwrap();
    }
    for (name, preview) in [
        (
            "pay_once",
            "select i.id from invoices i where i.id = :id \
             and not exists (select 1 from ledger l where l.invoice = i.id)",
        ),
        ("pay_seen", "select id from unpaid where id = :id"),
    ] {
        let mut tool = shown();
        tool["name"] = json!(name);
        tool["masks"] = json!([]);
        tool["exec"] = json!({
            "statement": "insert into ledger (invoice) select id from invoices where id = :id",
            "preview": preview,
        });
        let (status, made) = shop.post("/v1/tools", tool).await;
        assert_eq!(status, 201, "{made}");
        let arguments = json!({"id": 1});
        let mut all = Vec::new();
        for _ in 0..5 {
            all.push(proposed(shop, name, &arguments).await);
        }
        let commits = all.iter().map(|one| committed(shop, one, &arguments));
        futures_util::future::join_all(commits).await;
        let rows: i64 = sqlx::query_scalar("select count(*) from ledger")
            .fetch_one(&mut *database)
            .await
            .unwrap();
        assert_eq!(rows, 1, "{name}");
        database.execute("delete from ledger").await.unwrap();
    }
}

#[tokio::test]
async fn an_api_is_changed_in_the_version_that_was_shown() {
    let env = [("HUNDI_SOURCES_PRIVATE_ALLOWED", "127.0.0.1")];
    let (shop, api) = (Shop::open_with(&env).await, Api::start().await);
    let config = json!({"base_url": api.url, "allow_private": true});
    let source = json!({"name": "bank", "kind": "rest", "config": config});
    let (status, made) = shop.post("/v1/sources", source).await;
    assert_eq!(status, 201, "{made}");
    let tool = json!({
        "name": "set_balance", "kind": "rest", "source": "bank", "risk": "high",
        "description": "Sets it.", "masks": [{"path": "$.iban", "do": "last4"}],
        "input_schema": {
            "type": "object", "properties": {"to": {"type": "integer"}}, "required": ["to"],
        },
        "exec": {
            "method": "PUT", "path": "/account", "body": {"balance": {"$arg": "/to"}},
            "preview": {"path": "/account"},
        },
    });
    let (status, made) = shop.post("/v1/tools", tool).await;
    assert_eq!(status, 201, "{made}");
    let arguments = json!({"to": 5});
    let first = proposed(&shop, "set_balance", &arguments).await;
    let before = json!({"balance": 0, "iban": "****7890"});
    assert_eq!(first["effect"]["before"], before, "{first}");
    api.set_account(1);
    let refused = committed(&shop, &first, &arguments).await;
    assert_eq!(refused["reason"], "precondition_failed", "{refused}");
    assert_eq!(api.account(), 1);
    let second = proposed(&shop, "set_balance", &arguments).await;
    let done = committed(&shop, &second, &arguments).await;
    assert_eq!(done["status"], "committed", "{done}");
    assert_eq!(api.account(), 5);
    let put = api.asked().pop().unwrap();
    assert_eq!(put.headers["if-match"], "\"v1\"");
}
