//! Programs that are told of what happens: a real HTTP server receives, verifies and refuses.

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::any;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use hundi::broker::{Ntfy, People, Settings, Webhook};
use hundi::domain::notice::NoticeKind;
use hundi::domain::policy::Policy;
use hundi::domain::secret::Secret;
use hundi::wire::post::Poster;
use serde_json::Value;
use sha2::Sha256;

use crate::support::house::{House, Plan};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ORIGIN: &str = "https://pay.example.com";

/// A receiver that keeps what it got, and answers as it is told.
#[derive(Clone)]
struct Receiver {
    got: Arc<Mutex<Vec<(HeaderMap, String)>>>,
    status: Arc<AtomicU16>,
}

impl Receiver {
    async fn start() -> (Self, String) {
        let receiver = Self {
            got: Arc::default(),
            status: Arc::new(AtomicU16::new(200)),
        };
        let app = Router::new()
            .fallback(any(Self::take))
            .with_state(receiver.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        (receiver, url)
    }

    async fn take(State(this): State<Self>, headers: HeaderMap, body: String) -> StatusCode {
        this.got.lock().unwrap().push((headers, body));
        StatusCode::from_u16(this.status.load(Ordering::SeqCst)).unwrap()
    }

    fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    fn taken(&self) -> Vec<(HeaderMap, String)> {
        std::mem::take(&mut self.got.lock().unwrap())
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers[name].to_str().unwrap()
}

/// As a receiver does it, from the published rules.
fn verified((headers, body): &(HeaderMap, String)) -> Value {
    let key = STANDARD.decode(&SECRET["whsec_".len()..]).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    let (id, at) = (
        header(headers, "webhook-id"),
        header(headers, "webhook-timestamp"),
    );
    mac.update(format!("{id}.{at}.{body}").as_bytes());
    let expected = format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()));
    assert_eq!(header(headers, "webhook-signature"), expected);
    serde_json::from_str(body).unwrap()
}

struct Scene {
    house: House,
    all: Receiver,
    alerts: Receiver,
    ntfy: Receiver,
}

async fn scene() -> Scene {
    let (all, all_url) = Receiver::start().await;
    let (alerts, alerts_url) = Receiver::start().await;
    let (ntfy, ntfy_url) = Receiver::start().await;
    let hook = |url: String, events| Webhook {
        url: Secret::new(url + "/in?token=canary-4711"),
        events,
        secret: Secret::new(SECRET),
    };
    let people = People {
        webhooks: vec![
            hook(all_url, vec![]),
            hook(alerts_url, vec![NoticeKind::Alert]),
        ],
        ntfy: Some(Ntfy {
            url: ntfy_url,
            topic: "payouts".to_owned(),
            token: None,
        }),
        ..People::default()
    };
    let house = House::with(Plan {
        settings: Settings {
            people,
            ..Settings::default()
        },
        outbound: Some(Arc::new(Poster::new().unwrap())),
        ..Plan::default()
    })
    .await;
    house.broker.set_public_origin(ORIGIN);
    let policy = Policy {
        require_approval_above: Some(1_000),
        ..Policy::default()
    };
    house.policy("agent-1", &policy).await;
    Scene {
        house,
        all,
        alerts,
        ntfy,
    }
}

impl Scene {
    async fn held(&self) -> String {
        let held = self.house.transfer("agent-1", 5_000).await;
        held.proposal.id().to_string()
    }

    async fn deliver(&self) {
        while self.house.broker.pay.deliver().await.unwrap() > 0 {}
    }

    fn health(&self) -> (bool, String) {
        let channels = self.house.broker.pay.channels();
        let hook = channels
            .iter()
            .find(|one| one.name.starts_with("webhook 1 "));
        let hook = hook.unwrap();
        assert!(!format!("{} {}", hook.name, hook.detail).contains("4711"));
        (hook.ok, hook.detail.clone())
    }
}

#[tokio::test]
async fn a_program_is_told_signed_and_linked_beside_people() {
    let scene = scene().await;
    let id = scene.held().await;
    scene.deliver().await;
    let told = scene.all.taken();
    assert_eq!(told.len(), 1);
    let event = verified(&told[0]);
    assert_eq!(event["type"], "proposal.held");
    assert_eq!(event["data"]["proposal_id"], id);
    assert_eq!(event["data"]["amount"]["minor"], 5_000);
    let page = format!("{ORIGIN}/console/approvals/{id}");
    assert_eq!(event["data"]["url"], page);
    // People are told as ever, and their message leads to the same page.
    let people: Value = serde_json::from_str(&scene.ntfy.taken().remove(0).1).unwrap();
    assert_eq!(people["click"], page);
    assert!(people["message"].as_str().unwrap().contains(&page));
    // It wants to hear of alerts alone.
    assert!(scene.alerts.taken().is_empty());
    assert!(scene.health().0);
}

#[tokio::test]
async fn what_a_program_did_not_take_comes_again_under_the_same_id() {
    let scene = scene().await;
    scene.all.answers(500);
    scene.held().await;
    scene.deliver().await;
    assert!(!scene.health().0);
    scene.house.clock.forward(500);
    scene.all.answers(200);
    scene.deliver().await;
    scene.deliver().await;
    let told = scene.all.taken();
    assert_eq!(told.len(), 2);
    told.iter().for_each(|one| drop(verified(one)));
    let of = |name| [header(&told[0].0, name), header(&told[1].0, name)];
    assert_eq!(of("webhook-id")[0], of("webhook-id")[1]);
    assert_ne!(of("webhook-timestamp")[0], of("webhook-timestamp")[1]);
    // Nobody else was told twice.
    assert_eq!(scene.ntfy.taken().len(), 1);
    assert!(scene.health().0);
}

#[tokio::test]
async fn a_program_that_takes_nothing_for_a_day_is_let_go_and_people_hear_of_it() {
    let scene = scene().await;
    scene.all.answers(503);
    scene.held().await;
    scene.deliver().await;
    scene.house.clock.forward(12 * 60 * 60);
    scene.held().await;
    scene.deliver().await;
    assert!(!scene.all.taken().is_empty());
    assert!(scene.health().1.contains("tried again"));
    scene.house.clock.forward(12 * 60 * 60);
    scene.deliver().await;
    assert!(!scene.all.taken().is_empty());
    let (ok, detail) = scene.health();
    assert!(!ok && detail.starts_with("disabled"), "{detail}");
    let people = scene.ntfy.taken();
    assert!(
        people
            .last()
            .unwrap()
            .1
            .contains("webhook 1 (127.0.0.1) takes no messages")
    );
    let alert = verified(&scene.alerts.taken().remove(0));
    assert_eq!(alert["data"]["reason"], "webhook_disabled");
    // From now on it is left alone, and nothing waits for it.
    scene.all.answers(200);
    scene.held().await;
    scene.house.clock.forward(1_000);
    scene.deliver().await;
    assert!(scene.all.taken().is_empty());
}

#[tokio::test]
async fn a_program_that_is_gone_is_let_go_at_once() {
    let scene = scene().await;
    scene.all.answers(410);
    scene.held().await;
    scene.deliver().await;
    assert_eq!(scene.all.taken().len(), 1);
    assert!(scene.health().1.contains("disabled"));
}
