//! The town: the processes, the people, and what they answer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::routing::any;
use hundi::domain::secret::Secret;
use rmcp::ServiceExt;
use rmcp::model::{CallToolRequestParams, ClientConfig};
use rmcp::service::{RoleClient, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use serde_json::{Value, json};

use crate::support::server::Server;

pub const WEBHOOK_SECRET: &str = "whsec_4f9a1c7e2b8d5063";
const SIGNING_SECRET: &str = "8f742231b10e4b6ab1d3c0a5e9f27d85";
/// Longest that anything in the town may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Slack's name for the person whom an approver's key is mapped to.
pub const ASHA: &str = "U0ASHA";

/// A server that plays several services and remembers what it got.
#[derive(Clone)]
struct Fake {
    url: String,
    got: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Fake {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let fake = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            got: Arc::default(),
        };
        let app = Router::new().fallback(any(answer)).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        fake
    }

    fn got(&self, path: &str) -> Vec<Value> {
        let got = self.got.lock().unwrap();
        let here = got.iter().filter(|(at, _)| at == path);
        here.map(|(_, body)| body.clone()).collect()
    }
}

async fn answer(State(fake): State<Fake>, uri: Uri, body: String) -> (StatusCode, String) {
    let read: Value = serde_json::from_str(&body).unwrap_or(Value::Null);
    let mut got = fake.got.lock().unwrap();
    got.push((uri.path().to_owned(), read.clone()));
    match uri.path() {
        "/v4/threatMatches:find" if body.contains("silent.example") => {
            (StatusCode::INTERNAL_SERVER_ERROR, String::new())
        }
        "/v4/threatMatches:find" if body.contains("malware.example") => {
            let listed = json!({"matches": [{"threatType": "MALWARE", "threat": {"url": "x"}}]});
            (StatusCode::OK, listed.to_string())
        }
        "/v4/threatMatches:find" => (StatusCode::OK, "{}".to_owned()),
        "/api/v1/lei-records" => {
            let known = uri.query().unwrap_or_default().contains("Acme");
            let acme = json!({"id": "529900T8BM49AURSDO55", "attributes": {
                "lei": "529900T8BM49AURSDO55",
                "entity": {"legalName": {"name": "Acme Ltd"}, "status": "ACTIVE",
                           "legalAddress": {"country": "IN"}},
                "registration": {"status": "ISSUED"},
            }});
            let found: &[Value] = if known { &[acme] } else { &[] };
            (StatusCode::OK, json!({"data": found}).to_string())
        }
        _ => {
            let ts = read["ts"]
                .as_str()
                .map_or(format!("{}.0", got.len()), str::to_owned);
            let told = json!({"ok": true, "channel": read["channel"], "ts": ts});
            (StatusCode::OK, told.to_string())
        }
    }
}

pub struct Town {
    pub server: Server,
    fake: Fake,
}

impl Town {
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    pub async fn with(more: &[(&str, &str)]) -> Self {
        let fake = Fake::start().await;
        let env = env(&fake.url, more);
        let server = Server::start_with(&env).await;
        let town = Self { server, fake };
        let mapped = json!({"role": "approver", "name": "Asha", "slack_user": ASHA});
        town.make_key(&mapped).await;
        town.aim_bank().await;
        town
    }

    /// The next process on the same folder and bank.
    pub async fn again(&self, more: &[(&str, &str)]) -> Self {
        let server = self.server.again(&env(&self.fake.url, more));
        let fake = self.fake.clone();
        let town = Self { server, fake };
        town.aim_bank().await;
        town
    }

    /// From now on the bank tells this server.
    async fn aim_bank(&self) {
        let url = format!("{}/webhooks/razorpay", self.server.url);
        self.bank(
            "/sandbox/webhook",
            &json!({"url": url, "secret": WEBHOOK_SECRET}),
        )
        .await;
    }

    /// Asks one of the bank's controls.
    pub async fn bank(&self, path: &str, body: &Value) -> Value {
        let asked = self
            .server
            .http
            .post(format!("{}{path}", self.server.bank.url));
        let answer = asked.json(body).send().await.unwrap();
        let (status, body) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Where a payout stands at the bank.
    pub async fn at_bank(&self, payout: &str) -> String {
        let url = format!("{}/v1/payouts/{payout}", self.server.bank.url);
        let asked = self
            .server
            .http
            .get(url)
            .basic_auth("rzp_test_key", Some("secret"));
        let body: Value = asked.send().await.unwrap().json().await.unwrap();
        body["status"].as_str().unwrap_or_default().to_owned()
    }

    pub async fn make_key(&self, body: &Value) -> Value {
        let made = self
            .server
            .post(&self.server.admin_key, "/v1/keys", body)
            .await;
        let (status, made) = made.unwrap();
        assert!(status < 300, "{made}");
        made
    }

    pub async fn key(&self, role: &str) -> String {
        let made = self
            .make_key(&json!({"role": role, "name": format!("the {role}")}))
            .await;
        made["key"].as_str().unwrap().to_owned()
    }

    /// Puts a policy into force; `null` takes it away. What is left out of it is none, and the
    /// same may be paid again and again.
    pub async fn policy(&self, agent: &str, policy: &Value) {
        let mut policy = policy.clone();
        if let Some(map) = policy.as_object_mut() {
            for limit in ["daily_limit", "per_txn_limit", "require_approval_above"] {
                map.entry(limit).or_insert(Value::Null);
            }
            map.entry("duplicates").or_insert(json!({"then": "off"}));
        }
        let policy = &policy;
        let url = format!("{}/v1/agents/{agent}/policy", self.server.url);
        let http = &self.server.http;
        let asked = match policy {
            Value::Null => http.delete(url),
            policy => http.put(url).json(policy),
        };
        let answer = asked
            .bearer_auth(&self.server.admin_key)
            .send()
            .await
            .unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success() || status == 404, "{policy}: {text}");
    }

    pub async fn freeze(&self, on: bool) {
        let path = if on { "/v1/freeze" } else { "/v1/unfreeze" };
        let body = json!({"scope": "all", "reason": "drill"});
        let asked = self.server.post(&self.server.admin_key, path, &body).await;
        assert!(asked.unwrap().0 < 300);
    }

    pub async fn client(&self, key: &str) -> Client {
        let config =
            StreamableHttpClientTransportConfig::with_uri(format!("{}/mcp", self.server.url))
                .auth_header(key);
        let transport = StreamableHttpClientTransport::from_config(config);
        Client(ClientConfig::default().serve(transport).await.unwrap())
    }

    /// What Slack posts when somebody presses a button of the message about this hold.
    pub async fn press(&self, user: &str, action: &str, held: &Value) -> Press {
        let hash = held["tool_args_hash"].as_str().unwrap();
        let message = until("a message in Slack", async || {
            let messages = self.fake.got("/api/chat.postMessage");
            let asks = |message: &Value| {
                let text = message.to_string();
                text.contains("\"actions\"") && text.contains(hash)
            };
            messages.into_iter().rfind(asks)
        });
        let message = message.await;
        let blocks = message["blocks"].as_array().unwrap();
        let buttons = blocks
            .iter()
            .find(|block| block["type"] == "actions")
            .unwrap();
        let buttons = buttons["elements"].as_array().unwrap();
        let named = |b: &&Value| b["action_id"].as_str().unwrap().starts_with(action);
        let button = buttons.iter().find(named).unwrap();
        let payload = json!({
            "type": "block_actions",
            "user": {"id": user},
            "response_url": format!("{}/response/{user}", self.fake.url),
            "actions": [{"action_id": button["action_id"], "value": button["value"],
                         "type": "button"}],
        });
        let body = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("payload", &payload.to_string())
            .finish();
        let now = hundi::ambient::Ambient::real().now().secs();
        let signed = Secret::new(SIGNING_SECRET).sign(&[format!("v0:{now}:{body}").as_bytes()]);
        Press {
            body,
            timestamp: now.to_string(),
            signature: format!("v0={signed}"),
        }
    }

    pub async fn send_press(&self, press: &Press) -> u16 {
        let asked = self
            .server
            .http
            .post(format!("{}/slack/actions", self.server.url));
        let asked = asked
            .header("content-type", "application/x-www-form-urlencoded")
            .header("x-slack-request-timestamp", &press.timestamp)
            .header("x-slack-signature", &press.signature)
            .body(press.body.clone());
        asked.send().await.unwrap().status().as_u16()
    }

    /// What was told in Slack, replacements included.
    pub fn told_in_slack(&self) -> String {
        let paths = ["/api/chat.postMessage", "/api/chat.update"];
        let told = paths.iter().flat_map(|path| self.fake.got(path));
        told.map(|message| message.to_string()).collect()
    }

    /// Audit records, oldest first.
    pub async fn records(&self, filter: &str) -> Vec<Value> {
        let path = format!("/v1/audit?limit=500&{filter}");
        let body = self.server.get(&self.server.admin_key, &path).await;
        let mut records = body["records"].as_array().unwrap().clone();
        records.reverse();
        records
    }

    /// Posts a webhook and gives back the status; 0 if the server went away meanwhile.
    pub async fn webhook(&self, body: &str, event_id: &str) -> u16 {
        let asked = self
            .server
            .http
            .post(format!("{}/webhooks/razorpay", self.server.url));
        let asked = asked
            .header("x-razorpay-signature", signed(body))
            .header("x-razorpay-event-id", event_id)
            .body(body.to_owned());
        asked
            .send()
            .await
            .map_or(0, |answer| answer.status().as_u16())
    }
}

pub struct Press {
    pub body: String,
    pub timestamp: String,
    pub signature: String,
}

/// The bank's signature over a body.
pub fn signed(body: &str) -> String {
    Secret::new(WEBHOOK_SECRET).sign(&[body.as_bytes()])
}

/// An event about a payout as the bank shows it.
pub fn event(name: &str, payout: &Value) -> String {
    let event = json!({
        "entity": "event", "account_id": "acc_1", "event": name, "contains": ["payout"],
        "payload": {"payout": {"entity": payout}}, "created_at": 1_567_674_599,
    });
    event.to_string()
}

fn env<'a>(fake: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let usual = [
        ("HUNDI_RAZORPAY_WEBHOOK_SECRET", WEBHOOK_SECRET),
        ("HUNDI_SLACK_BOT_TOKEN", "xoxb-3f1c9a7d5e2b"),
        ("HUNDI_SLACK_CHANNEL_ID", "C0PAYOUTS"),
        ("HUNDI_SLACK_SIGNING_SECRET", SIGNING_SECRET),
        ("HUNDI_SLACK_API_BASE", fake),
        ("HUNDI_NTFY_URL", fake),
        ("HUNDI_NTFY_TOPIC", "payouts"),
        ("HUNDI_SAFE_BROWSING_KEY", "sb-9c4e7a1f3d6b"),
        ("HUNDI_SAFE_BROWSING_API_BASE", fake),
        ("HUNDI_GLEIF_API_BASE", fake),
    ];
    usual.into_iter().chain(more.iter().copied()).collect()
}

/// An MCP client over HTTP.
pub struct Client(RunningService<RoleClient, ClientConfig>);

impl Client {
    /// The structured answer, and whether it is called an error.
    pub async fn call(&self, tool: &str, arguments: Value) -> (Value, bool) {
        let arguments = arguments.as_object().unwrap().clone();
        let request = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let result = self.0.call_tool(request).await.unwrap();
        let body = result.structured_content.unwrap();
        let text = &result.content[0].as_text().unwrap().text;
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), body, "{tool}");
        (body, result.is_error == Some(true))
    }

    /// An answer that is no error.
    pub async fn ask(&self, tool: &str, arguments: Value) -> Value {
        let (body, error) = self.call(tool, arguments).await;
        assert!(!error, "{tool}: {body}");
        body
    }

    pub async fn tools(&self) -> Vec<rmcp::model::Tool> {
        self.0.list_all_tools().await.unwrap()
    }
}

/// Asks again and again until there is something: other processes work in their own time.
pub async fn until<T>(what: &str, ask: impl AsyncFn() -> Option<T>) -> T {
    let asked = async {
        let mut turns = tokio::time::interval(Duration::from_millis(40));
        loop {
            turns.tick().await;
            if let Some(found) = ask().await {
                return found;
            }
        }
    };
    let found = tokio::time::timeout(PATIENCE, asked).await;
    found.unwrap_or_else(|_| panic!("{what} never came"))
}

/// Arguments of a payout.
pub fn payout(amount: i64, notes: Value) -> Value {
    json!({
        "fund_account_id": "fa_00000000000001", "amount": amount, "currency": "INR",
        "mode": "IMPS", "purpose": "vendor bill", "notes": notes,
    })
}
