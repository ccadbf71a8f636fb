//! Names and words that mean to deceive, on every page: nothing of them is markup, nothing of them
//! hides, and none is so long that a list is lost.

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::visitor::{PAGES, Visitor};
use super::{admin, made};
use crate::support::server::Server;

/// What a hostile text is made of: markup, a turned direction, what has no width, a line of its own.
const EVIL: &str =
    "<b onclick=x>pay</b>\u{202e}tcca\u{202c}\u{200b}\u{2066}\u{feff}\u{ad}\u{2028}\u{1b}[2J";
/// What hides, wherever it stands.
const HIDES: [char; 8] = [
    '\u{202e}', '\u{202c}', '\u{200b}', '\u{2066}', '\u{feff}', '\u{ad}', '\u{2028}', '\u{1b}',
];

#[tokio::test]
async fn hostile_names_are_shown_as_text_on_every_page_and_lists_stay_lists() {
    let server = Server::start().await;
    let policy = json!({"require_approval_above": 1});
    admin(&server, Method::PATCH, "/v1/agents/agent-1/policy", policy).await;
    let long = format!("{EVIL}{}", "x".repeat(60_000));
    let vendor = json!({"vendor_name": EVIL, "vendor_url": "https://acme.example"});
    let mut ids = Vec::new();
    for arguments in [
        json!({"amount": 5_000, "to": "acct_1", "note": EVIL}),
        json!({"amount": 5_000, "to": long}),
        json!({"amount": 5_000, "currency": "INR", "fund_account_id": "fa_00000000000001", "mode": "IMPS",
            "purpose": "vendor bill", "narration": "x", "notes": vendor}),
    ] {
        let tool = if arguments["mode"].is_string() {
            "create_payout"
        } else {
            "transfer_funds"
        };
        let body = json!({"tool": tool, "arguments": arguments, "prompt": EVIL});
        let (_, told) = server
            .post(&server.agent_key, "/v1/proposals", &body)
            .await
            .unwrap();
        ids.extend(told["proposal_id"].as_str().map(str::to_owned));
    }
    assert!(!ids.is_empty(), "nothing hostile was taken up");
    // Whoever refuses such a text shows none of it.
    let reason = json!({"scope": "agent", "id": "agent-1", "reason": EVIL});
    let _ = server.post(&server.admin_key, "/v1/freeze", &reason).await;
    let billing = json!({"name": "evil", "title": EVIL, "description": EVIL, "tools": ["noop"]});
    let _ = server
        .post(&server.admin_key, "/v1/servers", &billing)
        .await;
    let key = json!({"name": EVIL, "role": "auditor"});
    let _ = server.post(&server.admin_key, "/v1/keys", &key).await;
    let person = json!({"name": EVIL, "roles": ["auditor"]});
    let _ = server.post(&server.admin_key, "/v1/people", &person).await;

    let visitor = Visitor::signed_in(&server).await;
    let mut pages = PAGES.map(str::to_owned).to_vec();
    pages.extend(made(&server).await);
    for id in &ids {
        pages.push(format!("/console/approvals/{id}"));
        pages.push(format!("/console/proposals/{id}"));
    }
    let asked = url::form_urlencoded::byte_serialize(EVIL.as_bytes()).collect::<String>();
    pages.push(format!("/console/proposals?agent={asked}&tool={asked}"));
    pages.push(format!("/console/audit?agent={asked}"));
    for path in &pages {
        let page = visitor.get(path).await;
        assert_ne!(
            page.status,
            StatusCode::INTERNAL_SERVER_ERROR,
            "{path}: {}",
            page.text
        );
        assert!(!page.text.contains("<b onclick"), "{path}");
        let hidden = page.text.chars().find(|c| HIDES.contains(c));
        assert_eq!(hidden, None, "{path}");
        if !path.contains("/console/approvals/") && !path.contains("/console/proposals/") {
            let size = page.text.len();
            assert!(size < 200_000, "{path}: {size} bytes");
        }
    }
}

/// The first page, with all it needs, is small.
#[tokio::test]
async fn a_first_visit_is_at_most_sixty_kibibytes() {
    let server = Server::start().await;
    let visitor = Visitor::signed_in(&server).await;
    let page = visitor.get("/console").await.text;
    let mut total = page.len();
    let parts = page
        .split('"')
        .filter(|part| part.starts_with("/console/assets/"));
    let parts: std::collections::BTreeSet<&str> = parts.collect();
    assert!(parts.len() >= 3, "style, script and icon: {parts:?}");
    for part in parts {
        let answer = visitor.get(part).await;
        assert_eq!(answer.status, StatusCode::OK, "{part}");
        total += answer.text.len();
    }
    assert!(total <= 60 * 1024, "{total} bytes");
}
