//! The console in a real Chromium: what only a browser shows.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::driver::Browser;
use super::visitor::{PAGES, Visitor};
use super::{held, made, state};
use crate::support::complete;
use crate::support::server::Server;

/// A browser, or nothing where there is none and tests need not be complete.
async fn browser() -> Option<Browser> {
    complete::needed(
        Browser::start().await,
        "chromium and chromedriver are not installed",
    )
}

fn origin(server: &Server) -> String {
    Visitor::new(server).origin().to_owned()
}

async fn signed_in(server: &Server) -> Option<Browser> {
    let browser = browser().await?;
    browser
        .open(&format!(
            "{}{}",
            origin(server),
            Visitor::new(server).link()
        ))
        .await;
    browser.press("Sign in").await;
    browser
        .until("return document.body.dataset.page === 'home'")
        .await;
    Some(browser)
}

#[tokio::test]
async fn a_hold_appears_without_a_reload_and_is_approved_with_the_keyboard() {
    let server = Server::start().await;
    let Some(browser) = signed_in(&server).await else {
        return;
    };
    let origin = origin(&server);
    browser.open(&format!("{origin}/console/approvals")).await;
    browser
        .until("return document.body.dataset.stream === 'open'")
        .await;
    browser.script("window.kept = true").await;
    let id = held(&server, 12_345_670, "acct_1").await;
    browser
        .until(&format!(
            "return !!document.querySelector('tr[data-id=\"{id}\"]')"
        ))
        .await;
    assert_eq!(
        browser.script("return window.kept").await,
        json!(true),
        "the same document"
    );
    browser
        .script(&format!(
            "document.querySelector('tr[data-id=\"{id}\"] a').focus()"
        ))
        .await;
    browser.keys("\u{e007}").await;
    browser
        .until("return !!document.querySelector('pre[data-statement]')")
        .await;
    let amount = browser
        .script("return document.querySelector('h1').textContent.trim()")
        .await;
    assert_eq!(amount, json!("₹\u{a0}1,23,456.70"));
    // From the top of the page to the button with the keyboard alone.
    browser.script("document.activeElement.blur()").await;
    let mut reached = false;
    for _ in 0..60 {
        browser.keys("\u{e004}").await;
        let on = browser
            .script("return document.activeElement.textContent.trim()")
            .await;
        if on == "Approve" {
            reached = true;
            break;
        }
    }
    assert!(reached, "no key leads to the button");
    browser.keys("\u{e007}").await;
    browser
        .until("return !!document.querySelector('[role=status]')")
        .await;
    assert_eq!(state(&server, &id).await, "allowed");
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

#[tokio::test]
async fn two_clicks_freeze_everything() {
    let server = Server::start().await;
    let Some(browser) = signed_in(&server).await else {
        return;
    };
    browser
        .open(&format!("{}/console/proposals", origin(&server)))
        .await;
    browser.follow("Home").await;
    browser
        .until("return document.body.dataset.page === 'home'")
        .await;
    browser.press("Freeze").await;
    browser
        .until("return !!document.querySelector('[role=status]')")
        .await;
    let sent = server.http.get(format!("{}/v1/freeze", server.url));
    let sent = sent.bearer_auth(&server.admin_key).send().await.unwrap();
    let frozen: Value = sent.json().await.unwrap();
    assert_eq!(frozen["frozen"][0]["scope"], "all", "{frozen}");
    browser.press("Unfreeze").await;
    browser
        .until("return location.search.includes('unfreeze')")
        .await;
}

#[tokio::test]
async fn a_passkey_signs_in_and_signs_decisions() {
    let server = Server::start().await;
    let Some(browser) = signed_in(&server).await else {
        return;
    };
    let origin = origin(&server);
    browser.virtual_authenticator().await;
    browser.open(&format!("{origin}/console/me")).await;
    browser.press("Add passkey").await;
    browser
        .until("return location.search.includes('add_passkey')")
        .await;
    browser.press("Sign out").await;
    browser
        .until("return document.body.dataset.page === 'sign-in'")
        .await;
    browser.press("Sign in with a passkey").await;
    browser
        .until("return document.body.dataset.page === 'home'")
        .await;
    let id = held(&server, 5_000, "acct_1").await;
    browser
        .open(&format!("{origin}/console/approvals/{id}"))
        .await;
    browser.press("Approve with passkey").await;
    browser
        .until("return location.search.includes('approve_proposal')")
        .await;
    assert_eq!(state(&server, &id).await, "allowed");
    let sent = server
        .http
        .get(format!("{}/v1/audit?proposal={id}", server.url));
    let sent = sent.bearer_auth(&server.admin_key).send().await.unwrap();
    let log: Value = sent.json().await.unwrap();
    let mut records = log["records"].as_array().unwrap().iter();
    let approved = records.find(|record| record["kind"] == "approved").unwrap();
    assert_eq!(
        hundi::domain::signed::check(approved),
        Ok(true),
        "{approved}"
    );
}

/// Every page in both languages and both themes, from a phone to a wide screen: nothing sticks out
/// sideways, every control has a name, and there is a picture of each to look at.
#[tokio::test]
async fn every_page_holds_in_both_languages_and_themes() {
    let server = Server::start().await;
    let id = held(&server, 5_000, "acct_1").await;
    let Some(browser) = signed_in(&server).await else {
        return;
    };
    let origin = origin(&server);
    let shots = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("console");
    std::fs::create_dir_all(&shots).unwrap();
    let mut pages = PAGES.map(str::to_owned).to_vec();
    pages.push(format!("/console/approvals/{id}"));
    pages.push(format!("/console/proposals/{id}"));
    pages.extend(made(&server).await);
    let mut wrong = Vec::new();
    for (lang, direction) in [("en", "ltr"), ("fa", "rtl")] {
        browser
            .open(&format!("{origin}/console/language?to={lang}"))
            .await;
        for (width, dark) in [(1280, false), (1280, true), (390, false)] {
            browser.look(width, dark).await;
            for page in &pages {
                browser.open(&format!("{origin}{page}")).await;
                let name = page
                    .trim_start_matches('/')
                    .replace('/', "-")
                    .replace(&id, "one");
                let theme = if dark { "dark" } else { "light" };
                let name = format!("{name}-{lang}-{theme}-{width}.png");
                browser.picture(&shots.join(&name)).await;
                let found = browser.script(CHECK).await;
                let mut found = found.as_array().unwrap().clone();
                found.extend(axe(&browser, dark || width < 600).await);
                wrong.extend(found.iter().map(|what| format!("{name}: {what}")));
                let told = browser.script("return document.documentElement.dir").await;
                assert_eq!(told, json!(direction), "{name}");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(browser.complaints().await, Vec::<String>::new());
}

/// What axe finds of WCAG 2.2 A and AA, and of what is good practice: nothing where it was not
/// fetched (`tests/run` does), or need not be asked again.
async fn axe(browser: &Browser, again: bool) -> Vec<Value> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let fetched = std::fs::read_to_string(folder.join("axe.min.js"));
    let (Ok(axe), false) = (fetched, again) else {
        return Vec::new();
    };
    let found = browser.script_later(&format!("{axe}\n{AXE}")).await;
    found.as_array().unwrap().clone()
}

const AXE: &str = r#"
const done = arguments[arguments.length - 1];
const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
axe.run(document, { runOnly: tags }).then(
  (told) => done(told.violations.map((one) => `axe: ${one.id}: ${one.nodes[0].html.slice(0, 160)}`)),
  (error) => done([String(error)]));
"#;

/// What must hold of a page whatever it shows.
const CHECK: &str = r#"
const wrong = [];
const root = document.documentElement;
if (root.scrollWidth > root.clientWidth + 1) wrong.push("sticks out sideways by " + (root.scrollWidth - root.clientWidth));
for (const control of document.querySelectorAll("input:not([type=hidden]), select, textarea")) {
  if (!control.labels?.length && !control.getAttribute("aria-label")) wrong.push("no label: " + control.name);
}
for (const button of document.querySelectorAll("button, a[href]")) {
  if (!button.textContent.trim()) wrong.push("no name: " + button.outerHTML.slice(0, 80));
}
const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
if (new Set(ids).size !== ids.length) wrong.push("an id twice");
if (document.querySelectorAll("h1").length !== 1) wrong.push("not one heading");
const light = (color) => {
  const [r, g, b] = color.match(/[\d.]+/g).map((part) => { const c = part / 255; return c <= .03928 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4; });
  return .2126 * r + .7152 * g + .0722 * b;
};
const behind = (one) => {
  for (; one; one = one.parentElement) {
    const color = getComputedStyle(one).backgroundColor;
    if (!/, 0\)$/.test(color) && color !== "transparent") return color;
  }
  return "rgb(255, 255, 255)";
};
for (const one of document.querySelectorAll("p, a, td, th, dt, dd, button, label, h1, h2, .state, .muted, code")) {
  if (!one.textContent.trim() || !one.checkVisibility()) continue;
  const [a, b] = [light(getComputedStyle(one).color), light(behind(one))];
  const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  if (ratio < 4.5) wrong.push("contrast " + ratio.toFixed(1) + ": " + one.tagName + " " + one.className + " " + one.textContent.trim().slice(0, 30));
}
return [...new Set(wrong)];
"#;

/// How long a page may take until it is what is waited for.
pub const PATIENCE: Duration = Duration::from_secs(20);
