//! The console over HTTP: who gets in, what a form needs, and that a decision is about what was seen.
//! What only a browser shows is in `console/browser.rs`.

mod browser;
mod driver;
mod forms;
mod hostile;
mod models;
mod passkeys;
mod past;
mod visitor;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::server::Server;
use visitor::Visitor;

/// A held payment of the first agent.
async fn held(server: &Server, amount: i64, to: &str) -> String {
    let admin = &server.admin_key;
    let policy = json!({"require_approval_above": 1_000});
    let path = "/v1/agents/agent-1/policy";
    let sent = server.http.patch(format!("{}{path}", server.url));
    let sent = sent.bearer_auth(admin).json(&policy).send().await.unwrap();
    assert!(sent.status().is_success());
    let body = json!({"tool": "transfer_funds", "arguments": {"amount": amount, "to": to},
        "prompt": "pay it"});
    let sent = server.http.post(format!("{}/v1/proposals", server.url));
    let sent = sent.bearer_auth(&server.agent_key).json(&body).send();
    let answer: Value = sent.await.unwrap().json().await.unwrap();
    assert_eq!(answer["status"], "held", "{answer}");
    answer["proposal_id"].as_str().unwrap().to_owned()
}

/// What the first admin is answered over REST.
async fn admin(server: &Server, method: reqwest::Method, path: &str, body: Value) -> Value {
    let sent = server
        .http
        .request(method.clone(), format!("{}{path}", server.url));
    let sent = sent.bearer_auth(&server.admin_key);
    let sent = match method == reqwest::Method::DELETE {
        true => sent,
        false => sent.json(&body),
    };
    let answer = sent.send().await.unwrap();
    let (status, text) = (answer.status(), answer.text().await.unwrap());
    assert!(status.is_success(), "{path}: {text}");
    serde_json::from_str(&text).unwrap()
}

/// Pages of what has to be made first: a server and a tool.
async fn made(server: &Server) -> Vec<String> {
    let billing = json!({"name": "billing", "tools": ["noop"]});
    admin(server, reqwest::Method::POST, "/v1/servers", billing).await;
    admin(
        server,
        reqwest::Method::POST,
        "/v1/servers/billing/keys",
        json!({}),
    )
    .await;
    let pages = [
        "/console/servers/billing",
        "/console/tools/noop",
        "/console/audit?proof=1",
    ];
    pages.map(str::to_owned).to_vec()
}

async fn state(server: &Server, id: &str) -> String {
    let sent = server.http.get(format!("{}/v1/proposals/{id}", server.url));
    let answer = sent.bearer_auth(&server.admin_key).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    answer["state"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_link_lets_in_once_and_only_when_its_button_is_pressed() {
    let server = Server::start().await;
    let visitor = Visitor::new(&server);
    let link = visitor.link();
    for _ in 0..3 {
        let page = visitor.get(&link).await;
        assert_eq!(page.status, StatusCode::OK);
        assert!(page.text.contains("Sign in"));
        assert!(page.cookie.is_none(), "opening it uses nothing up");
    }
    let entered = visitor.enter().await;
    assert_eq!(entered.status, StatusCode::SEE_OTHER);
    let cookie = entered.cookie.unwrap();
    for flag in [
        "__Host-hundi=",
        "Secure",
        "HttpOnly",
        "SameSite=Lax",
        "Path=/",
    ] {
        assert!(cookie.contains(flag), "{cookie}");
    }
    assert!(!cookie.contains("Domain"));
    let again = Visitor::new(&server).enter().await;
    assert_eq!(again.status, StatusCode::FORBIDDEN, "used up");
    assert!(again.cookie.is_none());
}

#[tokio::test]
async fn without_a_session_every_page_leads_to_the_sign_in() {
    let server = Server::start().await;
    let visitor = Visitor::new(&server);
    for path in visitor::PAGES {
        let page = visitor.get(path).await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{path}");
        assert!(
            page.location.starts_with("/console/sign-in"),
            "{}",
            page.location
        );
    }
    let live = visitor.get("/console/live").await;
    assert_eq!(live.status, StatusCode::UNAUTHORIZED);
    let made_up = Visitor::with_cookie(&server, &"0f".repeat(32));
    assert_eq!(made_up.get("/console").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn every_form_carries_the_token_and_nothing_is_done_without_it() {
    let server = Server::start().await;
    let id = held(&server, 5_000, "acct_1").await;
    let visitor = Visitor::signed_in(&server).await;
    let mut walked = 0;
    let mut pages = visitor::PAGES.map(str::to_owned).to_vec();
    pages.push(format!("/console/approvals/{id}"));
    pages.push(format!("/console/proposals/{id}"));
    pages.extend(made(&server).await);
    for path in &pages {
        let page = visitor.get(path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
        let policy = page.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"));
        assert_eq!(page.header("referrer-policy"), "same-origin", "{path}");
        for inline in ["<style", " style=", " onclick=", "javascript:", "<script>"] {
            assert!(!page.text.contains(inline), "{path}: {inline}");
        }
        for form in page.text.split("<form").skip(1) {
            let form = form.split("</form>").next().unwrap();
            let (tag, fields) = form.split_once('>').unwrap();
            if tag.contains("method=\"post\"") {
                assert!(
                    fields
                        .trim_start()
                        .starts_with("<input type=\"hidden\" name=\"token\" value=\"")
                );
                walked += 1;
            }
        }
    }
    assert!(walked > pages.len(), "each page has one at least: {walked}");
    let path = format!("/console/approvals/{id}");
    let approve = [("op", "approve_proposal"), ("proposal_id", id.as_str())];
    let refused = visitor.post(&path, &approve).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST, "no token");
    let forged = [approve.as_slice(), &[("token", "00")]].concat();
    assert_eq!(
        visitor.post(&path, &forged).await.status,
        StatusCode::BAD_REQUEST
    );
    let token = visitor.token(&path).await;
    let good = [approve.as_slice(), &[("token", token.as_str())]].concat();
    for site in ["cross-site", "same-site", "none"] {
        let foreign = visitor.post_from(site, &path, &good).await;
        assert_eq!(foreign.status, StatusCode::FORBIDDEN, "{site}");
    }
    assert_eq!(state(&server, &id).await, "held");
    assert_eq!(
        visitor.post(&path, &good).await.status,
        StatusCode::SEE_OTHER
    );
    assert_eq!(state(&server, &id).await, "allowed");
}

#[tokio::test]
async fn what_is_signed_off_is_what_was_seen() {
    let server = Server::start().await;
    let id = held(&server, 5_000, "acct_1").await;
    let other = held(&server, 900_000, "acct_2").await;
    let visitor = Visitor::signed_in(&server).await;
    let path = format!("/console/approvals/{id}");
    let page = visitor.get(&path).await.text;
    let (bytes, digest) = visitor::statement(&page);
    assert_eq!(visitor::sha256(&bytes), digest);
    let told: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(told["proposal_id"], json!(id));
    assert_eq!(told["arguments"], json!({"amount": 5_000, "to": "acct_1"}));
    let jcs = serde_json_canonicalizer::to_vec(&told).unwrap();
    assert_eq!(jcs, bytes, "the one spelling");
    let asked_at = told["asked_at"].as_str().unwrap();
    let token = visitor.token(&path).await;
    let decide = |proposal: &str, digest: &str| {
        [
            ("op", "approve_proposal".to_owned()),
            ("token", token.clone()),
            ("proposal_id", proposal.to_owned()),
            ("seen.asked_at", asked_at.to_owned()),
            ("seen.digest", digest.to_owned()),
        ]
    };
    // What was seen of one says nothing about another, nor of what has changed.
    for (proposal, digest) in [(&other, &digest), (&id, &"0".repeat(64))] {
        let sent = visitor.post_owned(&path, &decide(proposal, digest)).await;
        assert_eq!(sent.status, StatusCode::CONFLICT, "{}", sent.text);
        assert_eq!(state(&server, proposal).await, "held");
    }
    let sent = visitor.post_owned(&path, &decide(&id, &digest)).await;
    assert_eq!(sent.status, StatusCode::SEE_OTHER, "{}", sent.text);
    assert_eq!(state(&server, &id).await, "allowed");
    assert_eq!(state(&server, &other).await, "held");
}

#[tokio::test]
async fn a_session_ends_when_its_holder_says_so_and_when_the_person_is_gone() {
    let server = Server::start().await;
    let visitor = Visitor::signed_in(&server).await;
    let token = visitor.token("/console").await;
    let out = visitor.post("/console/sign-out", &[("token", "00")]).await;
    assert_eq!(out.status, StatusCode::BAD_REQUEST);
    assert_eq!(visitor.get("/console").await.status, StatusCode::OK);
    let out = visitor
        .post("/console/sign-out-everywhere", &[("token", &token)])
        .await;
    assert_eq!(out.status, StatusCode::SEE_OTHER);
    assert_eq!(visitor.get("/console").await.status, StatusCode::SEE_OTHER);

    // Whoever is removed is out, and until then may do what their roles say.
    let id = held(&server, 5_000, "acct_1").await;
    let ravi = json!({"name": "Ravi", "roles": ["auditor"]});
    let ravi = admin(&server, reqwest::Method::POST, "/v1/people", ravi).await;
    let path = format!("/v1/people/{}", ravi["id"].as_str().unwrap());
    let link = admin(
        &server,
        reqwest::Method::POST,
        &format!("{path}/link"),
        json!({}),
    )
    .await;
    let visitor = Visitor::by(&server, link["link"].as_str().unwrap()).await;
    let hold = format!("/console/approvals/{id}");
    let page = visitor.get(&hold).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(
        !page.text.contains("value=\"approve_proposal\""),
        "no button for what is refused"
    );
    let token = visitor.token(&hold).await;
    let approve = [
        ("op", "approve_proposal"),
        ("proposal_id", &id),
        ("token", &token),
    ];
    assert_eq!(
        visitor.post(&hold, &approve).await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(state(&server, &id).await, "held");
    admin(&server, reqwest::Method::DELETE, &path, json!({})).await;
    // The node that removed them knows at once.
    assert_eq!(visitor.get("/console").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn pages_load_nothing_from_elsewhere_and_have_one_address() {
    let server = Server::start().await;
    let visitor = Visitor::signed_in(&server).await;
    let page = visitor.get("/console").await;
    let policy = page.header("content-security-policy");
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("referrer-policy"), "same-origin");
    assert_eq!(page.header("cache-control"), "no-store");
    for inline in ["<style", " style=", " onclick=", "javascript:", "<script>"] {
        assert!(!page.text.contains(inline), "{inline}");
    }
    let asset = page
        .text
        .split("href=\"/console/assets/console.css")
        .nth(1)
        .unwrap();
    let asset = format!(
        "/console/assets/console.css{}",
        asset.split('"').next().unwrap()
    );
    assert!(
        visitor
            .get(&asset)
            .await
            .header("cache-control")
            .contains("immutable")
    );
    let bare = server
        .http
        .get(format!("{}/console/approvals?x=1", server.url));
    let bare = Visitor::unredirected()
        .execute(bare.build().unwrap())
        .await
        .unwrap();
    assert_eq!(bare.status(), StatusCode::TEMPORARY_REDIRECT);
    let place = bare.headers()["location"].to_str().unwrap();
    assert!(place.starts_with("http://localhost:") && place.ends_with("/console/approvals?x=1"));
}

#[tokio::test]
async fn wrong_links_are_slowed_down() {
    let server = Server::start().await;
    let visitor = Visitor::new(&server);
    let wrong = "0f".repeat(32);
    for _ in 0..10 {
        let sent = visitor.post("/console/sign-in", &[("link", &wrong)]).await;
        assert_eq!(sent.status, StatusCode::FORBIDDEN);
    }
    let sent = visitor.post("/console/sign-in", &[("link", &wrong)]).await;
    assert_eq!(sent.status, StatusCode::TOO_MANY_REQUESTS);
}
