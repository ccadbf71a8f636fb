//! Targets that knock at a whole door: a real broker over a real store, and bytes from outside.
//!
//! Whatever is sent, the door answers, with JSON or a short refusal, never with a 5xx, and
//! nothing is ever paid: no input here holds a commit token.

use std::cell::OnceCell;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use hundi::broker::{BankSettings, People, Settings, Slack};
use hundi::domain::policy::{Policy, RateLimit};
use hundi::domain::principal::Role;
use hundi::domain::secret::Secret;
use hundi::entry::http::{HttpOptions, router};
use hundi::entry::mcp::{self, McpHttpOptions};
use serde_json::Value;
use tokio::runtime::Runtime;
use tower::ServiceExt;

use crate::support::house::{House, Plan, START, person};

const SECRET: &str = "whsec_of_the_fuzz_targets";
/// Longest that an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
/// The same where the door may hold a stream open.
const STREAM_PATIENCE: Duration = Duration::from_millis(500);

struct Doors {
    runtime: Runtime,
    house: House,
    rest: Router,
    mcp: Router,
    bearer: String,
}

thread_local! {
    static DOORS: OnceCell<Doors> = const { OnceCell::new() };
}

fn with<T>(work: impl FnOnce(&Doors) -> T) -> T {
    DOORS.with(|doors| work(doors.get_or_init(Doors::open)))
}

impl Doors {
    fn open() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let (house, bearer) = runtime.block_on(async {
            let house = House::with(plan()).await;
            let policy = Policy {
                rate_limit: RateLimit {
                    max: 0,
                    window_secs: 60,
                },
                allowed_tools: Some(vec!["*".to_owned()]),
                ..serde_json::from_value(serde_json::json!({"duplicates": {"then": "off"}}))
                    .unwrap()
            };
            let admin = person(Role::Admin);
            let made = house
                .broker
                .access
                .create_key(&admin, Role::Agent, "fuzz", None);
            let (info, bearer) = made.await.unwrap();
            let agent = info.agent_id.unwrap();
            house.policy(agent.as_str(), &policy).await;
            (house, format!("Bearer {bearer}"))
        });
        // The doors start tasks of their own.
        let inside = runtime.enter();
        let rest = router(house.broker.clone(), HttpOptions::default());
        let mcp = mcp::router(house.broker.clone(), McpHttpOptions::default());
        drop(inside);
        Self {
            runtime,
            house,
            rest,
            mcp: Router::new().nest("/mcp", mcp),
            bearer,
        }
    }

    /// The status and the body, unless the door keeps the answer open.
    fn ask(
        &self,
        door: &Router,
        request: Request<Body>,
        patience: Duration,
    ) -> Option<(StatusCode, Vec<u8>)> {
        let door = door.clone();
        let asked = async move {
            let answer = door.oneshot(request).await.unwrap();
            let status = answer.status();
            let body = axum::body::to_bytes(answer.into_body(), 1 << 22).await;
            (status, body.unwrap().to_vec())
        };
        let asked = async { tokio::time::timeout(patience, asked).await.ok() };
        let heard = self.runtime.block_on(asked);
        for tool in ["create_payout", "create_transfer", "approve_payout"] {
            let paid = self.house.bank.calls(tool);
            assert!(
                paid.is_empty(),
                "something was paid without a token: {paid:?}"
            );
        }
        if let Some((status, body)) = &heard {
            let text = String::from_utf8_lossy(body);
            assert!(!status.is_server_error(), "{status}: {text}");
        }
        heard
    }
}

fn plan() -> Plan {
    Plan {
        settings: Settings {
            bank: BankSettings {
                webhook_secrets: vec![Secret::new(SECRET)],
                ..BankSettings::default()
            },
            people: People {
                slack: Some(Slack {
                    api_base: "http://127.0.0.1:9".to_owned(),
                    bot_token: Secret::new("xoxb-of-the-fuzz-targets"),
                    channel: "C0".to_owned(),
                    signing_secret: Some(Secret::new(SECRET)),
                    teams: Vec::new(),
                }),
                ..People::default()
            },
            ..Settings::default()
        },
        ..Plan::default()
    }
}

/// A webhook under a true signature: heard, never an error of ours, and the same again is the same.
pub fn webhook_door(input: &[u8]) -> String {
    with(|doors| {
        let signature = Secret::new(SECRET).sign(&[input]);
        let knock = || {
            let request = Request::post("/webhooks/razorpay")
                .header("x-razorpay-signature", signature.as_str())
                .body(Body::from(input.to_vec()))
                .unwrap();
            doors.ask(&doors.rest, request, PATIENCE)
        };
        let first = knock();
        assert_eq!(first.as_ref().map(|(s, _)| *s), knock().map(|(s, _)| s));
        let worked = doors
            .runtime
            .block_on(doors.house.broker.bank.work_webhooks());
        assert!(worked.is_ok(), "{worked:?}");
        told(first)
    })
}

/// A callback under Slack's true signature.
pub fn slack_door(input: &[u8]) -> String {
    with(|doors| {
        let at = START.secs().to_string();
        let parts: [&[u8]; 4] = [b"v0:", at.as_bytes(), b":", input];
        let signature = format!("v0={}", Secret::new(SECRET).sign(&parts));
        let request = Request::post("/slack/actions")
            .header("x-slack-request-timestamp", at)
            .header("x-slack-signature", signature)
            .body(Body::from(input.to_vec()))
            .unwrap();
        told(doors.ask(&doors.rest, request, PATIENCE))
    })
}

/// A message of the stateless protocol, its headers as its body says.
pub fn mcp_stateless(input: &[u8]) -> String {
    let message = serde_json::from_slice::<Value>(input).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let headers = [
        ("mcp-protocol-version", "2026-07-28".to_owned()),
        ("mcp-method", text(&message["method"])),
        ("mcp-name", text(&message["params"]["name"])),
    ];
    mcp_message(input, &headers)
}

/// A message as older clients send it.
pub fn mcp_plain(input: &[u8]) -> String {
    mcp_message(input, &[])
}

fn mcp_message(input: &[u8], headers: &[(&str, String)]) -> String {
    with(|doors| {
        let mut request = Request::post("/mcp")
            .header("authorization", &doors.bearer)
            .header("host", "127.0.0.1")
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        for (name, value) in headers {
            let value = axum::http::HeaderValue::from_str(value);
            if let Some(value) = value.ok().filter(|value| !value.is_empty()) {
                request = request.header(*name, value);
            }
        }
        let request = request.body(Body::from(input.to_vec())).unwrap();
        told(doors.ask(&doors.mcp, request, STREAM_PATIENCE))
    })
}

/// The status, and of an answer what kind it is.
fn told(heard: Option<(StatusCode, Vec<u8>)>) -> String {
    let Some((status, body)) = heard else {
        return "kept open".to_owned();
    };
    let text = String::from_utf8(body).unwrap();
    let line = text
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .rfind(|line| line.len() > 2);
    let json = line.map_or(text.as_str(), str::trim);
    if json.is_empty() {
        return status.to_string();
    }
    let Ok(answer) = serde_json::from_str::<Value>(json) else {
        // The protocol's library words some refusals of sessions itself.
        if status.is_client_error() && json.len() < 200 {
            return format!("{status} in words");
        }
        panic!("{status}, and not JSON: {text}");
    };
    let about = [
        "/code",
        "/status",
        "/error/code",
        "/error/data/code",
        "/ignored",
    ];
    let words = about.iter().filter_map(|path| answer.pointer(path));
    let words: Vec<String> = words.map(Value::to_string).collect();
    let result = answer["result"]["structuredContent"]["code"].to_string();
    format!("{status} {} {result}", words.join(" "))
}
