//! A form that is saved as it was shown changes nothing: what it does not show it must not take away.

use std::collections::BTreeMap;

use hundi::entry::operations;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::admin;
use super::visitor::Visitor;
use crate::support::server::Server;

/// What a browser would send of the form with this operation, untouched.
fn untouched(page: &str, op: &str) -> Vec<(String, String)> {
    let mark = format!("name=\"op\" value=\"{op}\"");
    let form = page
        .split("<form")
        .skip(1)
        .find(|form| form.contains(&mark));
    let form = form.unwrap_or_else(|| panic!("no form for {op}"));
    let form = form.split("</form>").next().unwrap();
    let mut fields: Vec<(String, String)> = Vec::new();
    for tag in form.split('<').skip(1) {
        let (head, text) = tag.split_once('>').unwrap();
        let attribute = |name: &str| {
            let rest = head.split(&format!(" {name}=\"")).nth(1)?;
            Some(plain(rest.split('"').next().unwrap()))
        };
        let Some(name) = attribute("name") else {
            // The chosen one of the list that came last.
            if head.starts_with("option") && head.contains(" selected") {
                fields.last_mut().unwrap().1 = attribute("value").unwrap();
            }
            continue;
        };
        let unticked = head.contains("type=\"checkbox\"") && !head.contains(" checked");
        if head.starts_with("button") || unticked {
            continue;
        }
        let value = match head.starts_with("textarea") {
            true => plain(text),
            false => attribute("value").unwrap_or_default(),
        };
        fields.push((name, value));
    }
    fields
}

fn plain(html: &str) -> String {
    let mut text = html.to_owned();
    for (escaped, sign) in [
        ("&#34;", "\""),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&#60;", "<"),
        ("&lt;", "<"),
        ("&#62;", ">"),
        ("&gt;", ">"),
        ("&#38;", "&"),
        ("&amp;", "&"),
    ] {
        text = text.replace(escaped, sign);
    }
    text
}

async fn saved(visitor: &Visitor, path: &str, op: &str) {
    let page = visitor.get(path).await.text;
    let fields = untouched(&page, op);
    let fields: Vec<(&str, &str)> = fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let sent = visitor.post(path, &fields).await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER, "{op}: {}", sent.text);
}

/// A document without what every change of it moves.
fn kept(mut told: Value) -> BTreeMap<String, Value> {
    let fields = told.as_object_mut().unwrap();
    for moves in ["version", "changed_by", "changed_at", "warnings"] {
        fields.remove(moves);
    }
    fields.clone().into_iter().collect()
}

#[tokio::test]
async fn what_is_saved_untouched_stays_as_it_was() {
    let server = Server::start().await;
    let visitor = Visitor::signed_in(&server).await;
    let mut policy = json!({
        "daily_limit": 500_000, "per_txn_limit": 100_000, "require_approval_above": 50_000,
        "approvals_needed": 1, "allowed_domains": ["a.example"], "blocked_domains": ["b.example"],
        "allowed_tools": ["transfer_funds", "pay_*"], "rate_limit": {"max": 5, "window_secs": 30},
        "duplicates": {"window_secs": 60, "then": "report"},
        "approval_above": [{"amount": 100, "window_secs": 60, "per": "payee"}],
        "approval": {"needed": 1, "expires_secs": 600},
        "taint": {"tools": ["noop"], "then": "block", "for_secs": 60},
        "require_verified_entity": true, "payees": "registered",
        "valid_from": "2026-01-01T00:00:00Z", "valid_until": "2099-01-01T00:00:00Z",
        "currency": "USD", "execute_on_approval": true,
        "llm": {"daily_usd": "1", "per_request_usd": "0.1"},
    });
    let operation = operations::named("set_policy").unwrap();
    for field in operation.input()["properties"].as_object().unwrap().keys() {
        let about = ["agent", "agent_id", "version", "warnings"].contains(&field.as_str());
        assert!(
            about || policy.get(field).is_some(),
            "give {field} a value here, and a place in the form"
        );
    }
    let (rest, page) = ("/v1/agents/agent-1/policy", "/console/agents/agent-1");
    for tools in [json!(["transfer_funds", "pay_*"]), json!([])] {
        policy["allowed_tools"] = tools;
        admin(&server, Method::PUT, rest, policy.clone()).await;
        let before = kept(server.get(&server.admin_key, rest).await);
        saved(&visitor, page, "set_policy").await;
        assert_eq!(kept(server.get(&server.admin_key, rest).await), before);
    }

    let config = json!({"base_url": "https://shop.example"});
    let source = json!({"name": "shop", "kind": "rest", "config": config});
    admin(&server, Method::POST, "/v1/sources", source).await;
    let tool = json!({
        "name": "get_order", "kind": "rest", "source": "shop", "risk": "low", "description": "Reads.",
        "title": "Order", "annotations": {"readOnlyHint": true}, "timeout_ms": 2_000,
        "rate_limit": {"per_min": 5, "burst": 2, "by": "caller"},
        "input_schema": {"type": "object", "properties": {}},
        "exec": {"method": "GET", "path": "/orders"}, "enabled": false,
    });
    admin(&server, Method::POST, "/v1/tools", tool).await;
    let rest = "/v1/tools/get_order";
    let before = kept(server.get(&server.admin_key, rest).await);
    saved(&visitor, "/console/tools/get_order/edit", "replace_tool").await;
    assert_eq!(kept(server.get(&server.admin_key, rest).await), before);
}

#[tokio::test]
async fn a_form_that_is_sent_twice_is_done_once_and_pages_are_for_those_who_may() {
    let server = Server::start().await;
    let visitor = Visitor::signed_in(&server).await;
    let path = "/console/keys";
    let count = async || {
        let told = server.get(&server.admin_key, "/v1/keys").await;
        told["keys"].as_array().unwrap().len()
    };
    let before = count().await;
    let page = visitor.get(path).await.text;
    let mut fields = untouched(&page, "create_key");
    fields.push(("name".to_owned(), "twice".to_owned()));
    fields.push(("role".to_owned(), "operator".to_owned()));
    let fields: Vec<(&str, &str)> = fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let first = visitor.post(path, &fields).await;
    assert!(first.text.contains("data-once"), "{}", first.text);
    assert_eq!(count().await, before + 1);
    let again = visitor.post(path, &fields).await;
    assert!(
        again.text.contains("sent already") && !again.text.contains("data-once"),
        "{}",
        again.text
    );
    assert_eq!(count().await, before + 1);

    // What is no page is told as one.
    let missing = visitor.get("/console/nope").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert!(
        missing.text.contains("<html") && missing.text.contains("there is no such page"),
        "{}",
        missing.text
    );

    // A form is shown to nobody who may not send it.
    let ana = admin(
        &server,
        Method::POST,
        "/v1/people",
        json!({"name": "Ana", "roles": ["approver"]}),
    )
    .await;
    let id = ana["person_id"].as_str().or(ana["id"].as_str()).unwrap();
    let link = admin(
        &server,
        Method::POST,
        &format!("/v1/people/{id}/link"),
        json!({}),
    )
    .await;
    let link = link["console_link"]
        .as_str()
        .or(link["link"].as_str())
        .unwrap();
    let approver = Visitor::by(&server, link).await;
    for path in ["/console/tools/new", "/console/servers/new"] {
        assert_eq!(
            approver.get(path).await.status,
            StatusCode::FORBIDDEN,
            "{path}"
        );
    }
}
