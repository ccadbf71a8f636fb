//! Servers, requests, providers and usage on the console: what is done there happened, what is shown
//! once is shown once, and figures are those of the ledger.

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::admin;
use super::visitor::{Page, Visitor};
use crate::support::server::Server;

/// Sends a form of a page as its button would.
async fn sent(visitor: &Visitor, path: &str, op: &str, fields: &[(&str, &str)]) -> Page {
    let token = visitor.token(path).await;
    let own = [("op", op), ("token", token.as_str())];
    visitor.post(path, &[&own, fields].concat()).await
}

/// What stands in the part of a page that is shown once.
fn once(page: &Page) -> String {
    let rest = page.text.split("<code data-once id=\"once\">").nth(1);
    let rest = rest.unwrap_or_else(|| panic!("{}", page.text));
    rest.split('<').next().unwrap().to_owned()
}

/// Whether this key opens the server: without one, nothing else of a request is looked at.
async fn opens(server: &Server, key: &str) -> bool {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}});
    let sent = server.http.post(format!("{}/mcp/billing", server.url));
    let answer = sent.bearer_auth(key).json(&body).send().await.unwrap();
    answer.status() != StatusCode::UNAUTHORIZED
}

#[tokio::test]
async fn a_server_is_made_its_tools_are_picked_and_its_keys_are_shown_once() {
    let server = Server::start().await;
    let visitor = Visitor::signed_in(&server).await;
    let made = [
        ("name", "billing"),
        ("title", "Billing"),
        ("many", "tools"),
        ("tools", "noop"),
        ("tools", ""),
        ("next", "/console/servers/{name}"),
    ];
    let made = sent(&visitor, "/console/servers/new", "create_server", &made).await;
    assert_eq!(made.status, StatusCode::SEE_OTHER, "{}", made.text);
    assert!(
        made.location.starts_with("/console/servers/billing?"),
        "{}",
        made.location
    );
    let path = "/console/servers/billing";
    let told = visitor.get(path).await.text;
    assert!(
        told.contains("name=\"tools\" value=\"noop\" checked"),
        "{told}"
    );
    assert!(told.contains("/mcp/billing") && told.contains("hs_YOUR_KEY"));

    // A refused form keeps what was typed, ticks included.
    let wrong = [
        ("server", "billing"),
        ("name", "billing"),
        ("many", "tools"),
        ("tools", "transfer_funds"),
        ("tools", "no_such_tool"),
    ];
    let wrong = sent(&visitor, path, "replace_server", &wrong).await;
    assert!(wrong.status.is_client_error(), "{}", wrong.status);
    assert!(wrong.text.contains("value=\"transfer_funds\" checked"));
    assert!(wrong.text.contains("no_such_tool</textarea>"));

    // No tool at all is a list, too.
    let none = [
        ("server", "billing"),
        ("name", "billing"),
        ("many", "tools"),
        ("tools", ""),
    ];
    let none = sent(&visitor, path, "replace_server", &none).await;
    assert_eq!(none.status, StatusCode::SEE_OTHER, "{}", none.text);
    let told = admin(&server, Method::GET, "/v1/servers/billing", json!({})).await;
    assert_eq!(told["tools"], json!([]));

    let made = [("server", "billing"), ("name", "ana"), ("then", "show")];
    let made = sent(&visitor, path, "create_server_key", &made).await;
    assert_eq!(made.status, StatusCode::OK);
    let first = once(&made);
    assert!(first.starts_with("hs_") && made.text.contains(&format!("Bearer {first}")));
    assert!(!visitor.get(path).await.text.contains(&first), "shown once");
    assert!(opens(&server, &first).await);
    let id = first.split('_').nth(1).unwrap();
    let turn = [
        ("server", "billing"),
        ("server_key", id),
        ("grace_secs", "3600"),
        ("then", "show"),
    ];
    let second = once(&sent(&visitor, path, "rotate_server_key", &turn).await);
    assert_ne!(first, second);
    for key in [&first, &second] {
        assert!(opens(&server, key).await, "both, for an hour");
    }
    let turn = [
        ("server", "billing"),
        ("server_key", id),
        ("grace_secs", "0"),
        ("then", "show"),
    ];
    let third = once(&sent(&visitor, path, "rotate_server_key", &turn).await);
    assert!(!opens(&server, &second).await, "ended at once");
    assert!(opens(&server, &third).await);
}

#[tokio::test]
async fn a_model_is_asked_its_answer_is_read_and_its_cost_is_counted() {
    let private = ("HUNDI_SOURCES_PRIVATE_ALLOWED", "127.0.0.0/8");
    let server = Server::start_with(&[private]).await;
    let visitor = Visitor::signed_in(&server).await;
    let base = format!("{}/sandbox/models/v1", server.bank.url);
    let made = [
        ("name", "own"),
        ("kind", "openai"),
        ("base_url", base.as_str()),
        ("key", "sk-canary-1"),
        ("models", "m, n"),
        ("prices", "{\"m\": {\"input\": \"1\", \"output\": \"2\"}}"),
        ("allow_private", "true"),
    ];
    let made = sent(&visitor, "/console/providers", "create_provider", &made).await;
    assert_eq!(made.status, StatusCode::SEE_OTHER, "{}", made.text);
    let page = visitor.get("/console/providers").await.text;
    assert!(page.contains("data-id=\"own\"") && !page.contains("sk-canary-1"));
    let ping = [("provider", "own"), ("then", "show")];
    let ping = sent(&visitor, "/console/providers", "ping_provider", &ping).await;
    assert!(ping.text.contains("role=\"status\""), "{}", ping.text);
    let reset = sent(
        &visitor,
        "/console/providers",
        "reset_provider",
        &[("provider", "own")],
    )
    .await;
    assert_eq!(reset.status, StatusCode::SEE_OTHER);

    let ask = [
        ("prompt", "hello <b>there</b>"),
        ("model", "m"),
        ("priority", ""),
        ("budget.max_usd", "0.5"),
        ("next", "/console/requests/{request_id}"),
    ];
    let asked = sent(&visitor, "/console/requests", "create_request", &ask).await;
    assert_eq!(asked.status, StatusCode::SEE_OTHER, "{}", asked.text);
    let place = asked.location.split('?').next().unwrap().to_owned();
    let id = place.rsplit('/').next().unwrap();
    let events = server
        .http
        .get(format!("{}/v1/requests/{id}/events", server.url));
    // The stream ends with the request.
    let events = events.bearer_auth(&server.admin_key).send().await.unwrap();
    assert!(events.text().await.unwrap().contains("completed"));
    let page = visitor.get(&place).await.text;
    assert!(
        page.contains("data-answer>You asked: hello &#60;b&#62;there"),
        "{page}"
    );
    assert!(
        page.contains("class=\"state completed\"") && !page.contains("value=\"cancel_request\"")
    );
    let list = visitor.get("/console/requests?status=completed").await.text;
    assert!(list.contains(&format!("data-id=\"{id}\"")));
    let list = visitor.get("/console/requests?status=failed").await.text;
    assert!(!list.contains(&format!("data-id=\"{id}\"")));

    // What waits can be taken back.
    let pause = sent(
        &visitor,
        "/console/requests",
        "pause_queue",
        &[("paused", "true")],
    )
    .await;
    assert_eq!(pause.status, StatusCode::SEE_OTHER);
    let waits = sent(&visitor, "/console/requests", "create_request", &ask).await;
    let waits = waits.location.split('?').next().unwrap().to_owned();
    assert!(visitor.get(&waits).await.text.contains("Cancel request"));
    let waiting = waits.rsplit('/').next().unwrap();
    let cancel = sent(
        &visitor,
        &waits,
        "cancel_request",
        &[("request_id", waiting)],
    )
    .await;
    assert_eq!(cancel.status, StatusCode::SEE_OTHER, "{}", cancel.text);
    let page = visitor.get(&waits).await.text;
    assert!(
        page.contains("class=\"state cancelled\"") && !page.contains("value=\"cancel_request\"")
    );

    let told = admin(&server, Method::GET, "/v1/usage?by=model", json!({})).await;
    assert_eq!(told["usage"][0]["key"], "m", "{told}");
    let usage = visitor.get("/console/usage").await.text;
    for part in [
        "data-by=\"day\"",
        "data-by=\"model\"",
        "data-by=\"agent\"",
        "data-id=\"m\"",
    ] {
        assert!(usage.contains(part), "{part}");
    }
    let read = told["total"]["tokens_read"].to_string();
    assert!(
        usage.contains(&format!("<strong>{read}</strong> <span>tokens read")),
        "{usage}"
    );
    let long_ago = "/console/usage?until=2020-01-01T00:00:00Z&since=2019-12-01T00:00:00Z";
    assert!(!visitor.get(long_ago).await.text.contains("data-id=\"m\""));
}
