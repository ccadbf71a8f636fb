//! How people are told and asked: real HTTP servers play Slack and ntfy.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::any;
use hundi::broker::access::people::NewPerson;
use hundi::broker::{Ntfy, People, Settings, Slack};
use hundi::domain::ids::ProposalId;
use hundi::domain::policy::Policy;
use hundi::domain::principal::{Principal, Role};
use hundi::domain::proposal::State as Standing;
use hundi::domain::reason::Reason;
use hundi::domain::secret::Secret;
use hundi::entry::http::{HttpOptions, router};
use hundi::store::RecordFilter;
use hundi::wire::post::Poster;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::house::{House, Plan, agent_of, person};

const SIGNING: &str = "8f742231b10e8888abcd99yyyzzz85a5";

/// A server that remembers what it got and answers as it is told.
#[derive(Clone, Default)]
struct Fake {
    got: Arc<Mutex<Vec<(String, Value)>>>,
    failures: Arc<Mutex<VecDeque<u16>>>,
    auth: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    async fn start() -> (Self, String) {
        let fake = Self::default();
        let app = Router::new()
            .fallback(any(Self::take))
            .with_state(fake.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (fake, url)
    }

    async fn take(
        State(fake): State<Fake>,
        uri: Uri,
        headers: HeaderMap,
        body: String,
    ) -> (StatusCode, String) {
        let auth = headers.get("authorization");
        let auth = auth.map_or("", |value| value.to_str().unwrap());
        fake.auth.lock().unwrap().push(auth.to_owned());
        if let Some(status) = fake.failures.lock().unwrap().pop_front() {
            return (StatusCode::from_u16(status).unwrap(), "no".to_owned());
        }
        let body: Value = serde_json::from_str(&body).unwrap();
        let mut got = fake.got.lock().unwrap();
        got.push((uri.path().to_owned(), body.clone()));
        let ts = body["ts"]
            .as_str()
            .map_or(format!("{}.0", got.len()), str::to_owned);
        let mut answer = json!({"ok": true, "channel": body["channel"], "ts": ts});
        if uri.path() == "/api/auth.test" {
            answer = json!({"ok": true, "team": "Ours", "team_id": "T0OURS", "user_id": "U0BOT"});
        }
        (StatusCode::OK, answer.to_string())
    }

    /// What came to this path so far.
    fn got(&self, path: &str) -> Vec<Value> {
        let got = self.got.lock().unwrap();
        let here = got.iter().filter(|(at, _)| at == path);
        here.map(|(_, body)| body.clone()).collect()
    }

    fn fail(&self, times: usize, status: u16) {
        self.failures.lock().unwrap().extend(vec![status; times]);
    }
}

struct Scene {
    house: House,
    slack: Fake,
    ntfy: Fake,
    slack_url: String,
    app: Router,
}

const POST: &str = "/api/chat.postMessage";
const UPDATE: &str = "/api/chat.update";

async fn scene() -> Scene {
    scene_with(true).await
}

async fn scene_with(slack_on: bool) -> Scene {
    let (slack, slack_url) = Fake::start().await;
    let (ntfy, ntfy_url) = Fake::start().await;
    let people = People {
        slack: slack_on.then(|| Slack {
            api_base: slack_url.clone(),
            bot_token: Secret::new("xoxb-canary-token"),
            channel: "C0AUDIT".to_owned(),
            signing_secret: Some(Secret::new(SIGNING)),
            teams: Vec::new(),
        }),
        ntfy: Some(Ntfy {
            url: ntfy_url,
            topic: "payouts".to_owned(),
            token: Some(Secret::new("tk_canary")),
        }),
        ..People::default()
    };
    let plan = Plan {
        settings: Settings {
            people,
            ..Settings::default()
        },
        outbound: Some(Arc::new(Poster::new().unwrap())),
        ..Plan::default()
    };
    let house = House::with(plan).await;
    let admin = person(Role::Admin);
    for (name, user) in [("Asha", "U0ASHA"), ("Bala", "U0BALA")] {
        let new = NewPerson {
            name: name.to_owned(),
            email: None,
            roles: Role::Approver.into(),
            slack_user: Some(user.to_owned()),
        };
        let access = &house.broker.access;
        access.create_person(&admin, new).await.unwrap();
    }
    let policy = Policy {
        require_approval_above: Some(1_000),
        per_txn_limit: Some(1_000_000),
        daily_limit: Some(2_000_000),
        ..Policy::default()
    };
    house.policy("agent-1", &policy).await;
    let two = Policy {
        approvals_needed: 2,
        ..policy
    };
    house.policy("agent-2", &two).await;
    let app = router(house.broker.clone(), HttpOptions::default());
    Scene {
        house,
        slack,
        ntfy,
        slack_url,
        app,
    }
}

impl Scene {
    async fn held(&self, agent: &str) -> ProposalId {
        let answer = self.house.transfer(agent, 5_000).await;
        assert_eq!(answer.proposal.state, Standing::Held);
        answer.proposal.id()
    }

    async fn deliver(&self) {
        while self.house.broker.pay.deliver().await.unwrap() > 0 {}
    }

    /// A press of the button in the newest message, as Slack posts it.
    fn press(&self, user: &str, action: &str) -> Value {
        let messages = [self.slack.got(POST), self.slack.got(UPDATE)].concat();
        let message = messages.last().unwrap();
        let blocks = message["blocks"].as_array().unwrap();
        let actions = blocks.iter().find(|block| block["type"] == "actions");
        let buttons = actions.unwrap()["elements"].as_array().unwrap();
        let button = buttons
            .iter()
            .find(|button| button["action_id"].as_str().unwrap().starts_with(action));
        let button = button.unwrap();
        self.press_of(user, &button["action_id"], &button["value"])
    }

    fn press_of(&self, user: &str, action: &Value, value: &Value) -> Value {
        json!({
            "type": "block_actions",
            "user": {"id": user, "username": "<!channel>"},
            "response_url": format!("{}/response/{user}", self.slack_url),
            "actions": [{"action_id": action, "value": value, "type": "button"}],
        })
    }

    async fn send(&self, payload: &Value) -> StatusCode {
        let now = self.house.broker.ports().ambient.now().secs();
        self.send_signed(payload, now, SIGNING).await
    }

    async fn send_signed(&self, payload: &Value, at: i64, secret: &str) -> StatusCode {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("payload", &payload.to_string())
            .finish();
        let parts = format!("v0:{at}:{body}");
        let signature = format!("v0={}", Secret::new(secret).sign(&[parts.as_bytes()]));
        let request = axum::http::Request::post("/slack/actions")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("x-slack-request-timestamp", at)
            .header("x-slack-signature", signature)
            .body(axum::body::Body::from(body))
            .unwrap();
        let answer = self.app.clone().oneshot(request).await.unwrap();
        answer.status()
    }

    async fn state(&self, id: ProposalId) -> Standing {
        let stored = self.house.store.proposal(id).await.unwrap();
        stored.unwrap().state
    }

    /// What this user alone was told.
    fn aside(&self, user: &str) -> Vec<String> {
        let got = self.slack.got(&format!("/response/{user}"));
        got.iter()
            .map(|body| {
                assert_eq!(body["response_type"], "ephemeral");
                body["text"].as_str().unwrap().to_owned()
            })
            .collect()
    }
}

#[tokio::test]
async fn a_hold_is_asked_in_slack_and_decided_by_a_press() {
    let scene = scene().await;
    let id = scene.held("agent-1").await;
    scene.deliver().await;
    let message = scene.slack.got(POST).remove(0);
    let text = message.to_string();
    for part in [
        "50.00 INR",
        "acct_123",
        "agent-1",
        "transfer_funds",
        "APPROVAL_REQUIRED",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let stored = scene.house.store.proposal(id).await.unwrap().unwrap();
    assert!(text.contains(&stored.fixed.args_hash.to_string()));
    assert_eq!(
        scene.slack.auth.lock().unwrap()[0],
        "Bearer xoxb-canary-token"
    );
    assert!(!text.contains("canary"));
    assert_eq!(
        scene.send(&scene.press("U0ASHA", "approve")).await,
        StatusCode::OK
    );
    assert_eq!(scene.state(id).await, Standing::Allowed);
    let update = scene.slack.got(UPDATE).remove(0);
    assert_eq!(update["ts"], "1.0");
    let text = update.to_string();
    assert!(
        text.contains("approved by Asha") && !text.contains("\"actions\""),
        "{text}"
    );
    assert!(
        scene.ntfy.got("/").is_empty(),
        "Slack took it, so nobody else is told"
    );
}

#[tokio::test]
async fn a_reject_gives_the_budget_back_and_says_who() {
    let scene = scene().await;
    let id = scene.held("agent-1").await;
    scene.deliver().await;
    scene.send(&scene.press("U0BALA", "reject")).await;
    assert_eq!(scene.state(id).await, Standing::Rejected);
    assert!(
        scene.slack.got(UPDATE)[0]
            .to_string()
            .contains("rejected by Bala")
    );
}

#[tokio::test]
async fn a_stale_replayed_foreign_or_forged_press_does_nothing() {
    let scene = scene().await;
    let id = scene.held("agent-1").await;
    scene.deliver().await;
    let press = scene.press("U0ASHA", "approve");
    let now = scene.house.broker.ports().ambient.now().secs();
    for (at, secret) in [
        (now - 301, SIGNING),
        (now + 301, SIGNING),
        (now, "another secret"),
    ] {
        let status = scene.send_signed(&press, at, secret).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    let approve = &press["actions"][0]["action_id"];
    let value = &press["actions"][0]["value"];
    let foreign = [
        scene.press_of("U0ASHA", approve, &json!("made up")),
        scene.press_of("U0ASHA", &json!("reject_payout"), value),
        scene.press_of("U0ASHA", &json!("handle"), value),
        scene.press_of("U0ASHA", approve, &json!(id)),
    ];
    for press in foreign {
        scene.send(&press).await;
        assert_eq!(scene.state(id).await, Standing::Held);
    }
    assert_eq!(scene.aside("U0ASHA").len(), 4);
    scene.send(&press).await;
    assert_eq!(scene.state(id).await, Standing::Allowed);
    scene.send(&press).await;
    assert_eq!(scene.aside("U0ASHA").len(), 5);
    let stored = scene.house.store.proposal(id).await.unwrap().unwrap();
    assert_eq!(stored.moving.approvals.len(), 1);
}

#[tokio::test]
async fn whoever_is_not_mapped_acts_on_nothing_and_hears_it_alone() {
    let scene = scene().await;
    let id = scene.held("agent-1").await;
    scene.deliver().await;
    let before = scene.slack.got(POST).len() + scene.slack.got(UPDATE).len();
    scene.send(&scene.press("U0MALLORY", "approve")).await;
    assert_eq!(scene.state(id).await, Standing::Held);
    assert!(scene.aside("U0MALLORY")[0].contains("Nothing was decided"));
    let after = scene.slack.got(POST).len() + scene.slack.got(UPDATE).len();
    assert_eq!(before, after, "the channel hears nothing of it");
    let filter = RecordFilter {
        limit: 5,
        ..RecordFilter::default()
    };
    let records = scene.house.store.records(&filter);
    let newest = records.await.unwrap().remove(0).record;
    assert_eq!(
        (newest.kind.name(), newest.actor.as_str()),
        ("press_refused", "slack:U0MALLORY")
    );
}

#[tokio::test]
async fn two_approvals_need_two_people_and_fresh_buttons() {
    let scene = scene().await;
    let id = scene.held("agent-2").await;
    scene.deliver().await;
    let first = scene.press("U0ASHA", "approve");
    scene.send(&first).await;
    assert_eq!(scene.state(id).await, Standing::Held);
    let second = scene.press("U0BALA", "approve");
    assert_ne!(first["actions"][0]["value"], second["actions"][0]["value"]);
    scene.send(&scene.press("U0ASHA", "approve")).await;
    assert_eq!(
        scene.state(id).await,
        Standing::Held,
        "the same person counts once"
    );
    scene.send(&second).await;
    assert_eq!(scene.state(id).await, Standing::Allowed);
    let old = scene.press_of(
        "U0BALA",
        &first["actions"][0]["action_id"],
        &first["actions"][0]["value"],
    );
    scene.send(&old).await;
    let stored = scene.house.store.proposal(id).await.unwrap().unwrap();
    assert_eq!(stored.moving.approvals.len(), 2);
}

#[tokio::test]
async fn of_many_presses_at_once_one_decides() {
    let scene = Arc::new(scene().await);
    let id = scene.held("agent-1").await;
    scene.deliver().await;
    let presses = [
        scene.press("U0ASHA", "approve"),
        scene.press("U0BALA", "reject"),
        scene.press("U0BALA", "approve"),
        scene.press("U0ASHA", "reject"),
    ];
    let tasks = presses.map(|press| {
        let scene = scene.clone();
        tokio::spawn(async move { scene.send(&press).await })
    });
    for task in tasks {
        task.await.unwrap();
    }
    let stored = scene.house.store.proposal(id).await.unwrap().unwrap();
    let approved = stored.moving.approvals.len() == 1 && stored.state == Standing::Allowed;
    let rejected = stored.moving.approvals.is_empty() && stored.state == Standing::Rejected;
    assert!(approved || rejected, "{:?}", stored.state);
}

#[tokio::test]
async fn ntfy_is_told_when_slack_is_off_or_failing() {
    let off = scene_with(false).await;
    off.held("agent-1").await;
    off.deliver().await;
    let message = off.ntfy.got("/").remove(0);
    assert_eq!(
        (&message["topic"], &message["priority"]),
        (&json!("payouts"), &json!(4))
    );
    assert!(message["message"].as_str().unwrap().contains("50.00 INR"));
    assert_eq!(off.ntfy.auth.lock().unwrap()[0], "Bearer tk_canary");
    let failing = scene().await;
    failing.slack.fail(1, 503);
    failing.held("agent-1").await;
    failing.deliver().await;
    assert_eq!(failing.ntfy.got("/").len(), 1);
    assert!(failing.slack.got(POST).is_empty());
}

#[tokio::test]
async fn a_message_that_nobody_took_is_tried_again_and_told_once() {
    let scene = scene().await;
    scene.slack.fail(2, 500);
    scene.ntfy.fail(2, 500);
    scene.held("agent-1").await;
    for tries in 1..=3 {
        scene.deliver().await;
        assert_eq!(
            scene.slack.got(POST).len(),
            usize::from(tries == 3),
            "{tries}"
        );
        // Past the longest pause, whatever chance added.
        scene.house.clock.forward(500);
    }
    scene.deliver().await;
    assert_eq!(
        (scene.slack.got(POST).len(), scene.ntfy.got("/").len()),
        (1, 0)
    );
}

#[tokio::test]
async fn people_hear_of_the_refusals_they_chose() {
    let scene = scene().await;
    let over_day = scene.house.transfer("agent-1", 999_000).await;
    assert_eq!(over_day.proposal.state, Standing::Held);
    scene.house.transfer("agent-1", 999_000).await;
    let blocked = scene.house.transfer("agent-1", 999_000).await;
    assert_eq!(blocked.proposal.fixed.reason, Reason::LimitExceeded);
    let quiet = scene.house.transfer("agent-1", 1_000_001).await;
    assert_eq!(quiet.proposal.fixed.reason, Reason::TxnLimitExceeded);
    let nobody = scene.house.transfer("agent-9", 5).await;
    assert_eq!(nobody.proposal.fixed.reason, Reason::NoPolicy);
    scene.deliver().await;
    let heads: Vec<String> = scene
        .slack
        .got(POST)
        .iter()
        .map(|message| {
            message["blocks"][0]["text"]["text"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let refused = heads
        .iter()
        .filter(|head| head.starts_with("Refused"))
        .count();
    assert_eq!(refused, 2, "{heads:?}");
    assert!(
        heads.iter().any(|head| head.contains("LIMIT_EXCEEDED")),
        "{heads:?}"
    );
    assert!(
        heads.iter().any(|head| head.contains("NO_POLICY")),
        "{heads:?}"
    );
}

#[tokio::test]
async fn a_hold_decided_elsewhere_before_it_was_told_is_not_told() {
    let scene = scene().await;
    let id = scene.held("agent-1").await;
    scene
        .house
        .broker
        .pay
        .reject(&asha(), id, "no")
        .await
        .unwrap();
    scene.deliver().await;
    assert!(scene.slack.got(POST).is_empty() && scene.slack.got(UPDATE).is_empty());
}

#[tokio::test]
async fn a_hold_decided_elsewhere_loses_its_buttons() {
    let scene = scene().await;
    let id = scene.held("agent-1").await;
    scene.deliver().await;
    let press = scene.press("U0BALA", "approve");
    scene
        .house
        .broker
        .pay
        .reject(&asha(), id, "no")
        .await
        .unwrap();
    scene.deliver().await;
    assert!(
        !scene.slack.got(UPDATE)[0]
            .to_string()
            .contains("\"actions\"")
    );
    scene.send(&press).await;
    assert_eq!(scene.state(id).await, Standing::Rejected);
    assert_eq!(scene.aside("U0BALA").len(), 1);
}

/// As Slack names the user's team and the place's.
fn of_teams(press: &Value, user: &str, place: &str) -> Value {
    let mut press = press.clone();
    press["user"]["team_id"] = json!(user);
    press["team"] = json!({"id": place, "domain": "somewhere"});
    press
}

#[tokio::test]
async fn a_user_of_another_team_decides_nothing_whatever_their_id() {
    let scene = scene().await;
    let id = scene.held("agent-1").await;
    scene.deliver().await;
    let press = scene.press("U0ASHA", "approve");
    let foreign = [
        ("T0OTHER", "T0OURS"),
        ("T0OURS", "T0OTHER"),
        ("T0OTHER", "T0OTHER"),
        ("", "T0OURS"),
    ];
    for (user, place) in foreign {
        scene.send(&of_teams(&press, user, place)).await;
        assert_eq!(scene.state(id).await, Standing::Held, "{user} {place}");
    }
    assert_eq!(scene.aside("U0ASHA").len(), foreign.len());
    scene.send(&of_teams(&press, "T0OURS", "T0OURS")).await;
    assert_eq!(scene.state(id).await, Standing::Allowed);
    assert_eq!(scene.slack.got("/api/auth.test").len(), 1, "asked once");
}

#[tokio::test]
async fn as_long_as_nobody_knows_which_team_is_ours_nobody_decides() {
    let scene = scene().await;
    let id = scene.held("agent-1").await;
    scene.deliver().await;
    let press = of_teams(&scene.press("U0ASHA", "approve"), "T0OURS", "T0OURS");
    scene.slack.fail(1, 500);
    scene.send(&press).await;
    assert_eq!(scene.state(id).await, Standing::Held);
    let told = scene.aside("U0ASHA").remove(0);
    assert!(told.contains("HUNDI_SLACK_TEAM_IDS"), "{told}");
    scene.send(&press).await;
    assert_eq!(scene.state(id).await, Standing::Allowed);
}

#[tokio::test]
async fn without_slack_there_are_no_callbacks() {
    let scene = scene_with(false).await;
    let press = scene.press_of("U0ASHA", &json!("approve_payout"), &json!("v"));
    assert_eq!(scene.send(&press).await, StatusCode::SERVICE_UNAVAILABLE);
}

fn asha() -> Principal {
    Principal {
        name: "Asha".to_owned(),
        ..person(Role::Approver)
    }
}

#[tokio::test]
async fn the_proposer_is_never_the_one_who_presses() {
    let scene = scene().await;
    let id = scene.held("agent-1").await;
    let refused = scene
        .house
        .broker
        .pay
        .approve(&agent_of("agent-1"), id)
        .await;
    assert!(refused.is_err());
}
