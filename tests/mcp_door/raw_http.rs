//! `/mcp` as a hostile or clumsy client meets it: bytes on the wire and nothing between.

use hundi::entry::mcp::{self, McpHttpOptions};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::house::House;

/// A house with its MCP door open on a port of its own.
pub struct Open {
    pub house: House,
    pub url: String,
    pub http: reqwest::Client,
    pub shutdown: CancellationToken,
    serving: JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

pub async fn open() -> Open {
    let house = House::new().await;
    // Another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let options = McpHttpOptions::default();
    let shutdown = options.shutdown.clone();
    let door = mcp::router(house.broker.clone(), options);
    let app = axum::Router::new().nest("/mcp", door);
    let serving = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    let http = reqwest::Client::new();
    Open {
        house,
        url,
        http,
        shutdown,
        serving,
    }
}

pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    /// The last message of an event stream.
    pub fn event(&self) -> Value {
        let data = self
            .text
            .lines()
            .filter_map(|line| line.strip_prefix("data:"));
        let last = data.map(str::trim).rfind(|data| !data.is_empty());
        serde_json::from_str(last.unwrap()).unwrap()
    }
}

impl Open {
    pub async fn send(&self, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> Answer {
        let mut request = self.http.post(&self.url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.send().await.unwrap()).await
    }

    /// As a client that does everything right but, perhaps, the body.
    pub async fn post(&self, body: impl Into<reqwest::Body>) -> Answer {
        let bearer = format!("Bearer {}", self.house.agent.key);
        self.send(&plain(&bearer), body).await
    }

    /// One request of the stateless protocol.
    pub async fn modern(&self, key: &str, method: &str, params: Value) -> Answer {
        let bearer = format!("Bearer {key}");
        let name = params["name"].as_str().map(str::to_owned);
        let mut headers = plain(&bearer).to_vec();
        headers.push(("mcp-protocol-version", "2026-07-28"));
        headers.push(("mcp-method", method));
        if let Some(name) = &name {
            headers.push(("mcp-name", name));
        }
        self.send(&headers, modern(7, method, params).to_string())
            .await
    }

    /// The same of a client that can do more than nothing.
    pub async fn able(&self, key: &str, able: &Value, method: &str, mut params: Value) -> Value {
        let bearer = format!("Bearer {key}");
        let named = ["name", "taskId"].map(|field| params[field].as_str().map(str::to_owned));
        let named = named.into_iter().flatten().next().unwrap();
        let mut headers = plain(&bearer).to_vec();
        headers.push(("mcp-protocol-version", "2026-07-28"));
        headers.push(("mcp-method", method));
        headers.push(("mcp-name", &named));
        params["_meta"] = json!({});
        let mut message = modern(7, method, params);
        message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = able.clone();
        self.send(&headers, message.to_string()).await.json()
    }

    /// Opens a session of the older protocol and returns its id.
    pub async fn session(&self, key: &str) -> String {
        let bearer = format!("Bearer {key}");
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": {"name": "t", "version": "0"},
        }});
        let answer = self.send(&plain(&bearer), hello.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.event()["result"]["protocolVersion"], "2025-11-25");
        answer.headers["mcp-session-id"]
            .to_str()
            .unwrap()
            .to_owned()
    }

    pub async fn in_session(&self, key: &str, session: &str, body: Value) -> Answer {
        let bearer = format!("Bearer {key}");
        let mut headers = plain(&bearer).to_vec();
        headers.push(("mcp-session-id", session));
        self.send(&headers, body.to_string()).await
    }
}

pub async fn answer(response: reqwest::Response) -> Answer {
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        text: response.text().await.unwrap(),
    }
}

fn plain(bearer: &str) -> [(&str, &str); 3] {
    [
        ("authorization", bearer),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
    ]
}

fn modern(id: i64, method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "0"},
    });
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

fn call_with(arguments: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"noop_propose","arguments":{{"arguments":{arguments}}}}}}}"#
    )
}

#[tokio::test]
#[rustfmt::skip]
async fn what_two_readers_could_read_differently_is_refused_and_the_door_lives() {
    let open = open().await;
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    //   body                                                                        code     cause
    let cases = [
        (call_with(r#"{"amount":1,"amount":1000000}"#),                              -32600, "duplicate_key"),
        (call_with(r#"{"amount":1,"\u0061mount":1000000}"#),                         -32600, "duplicate_key"),
        (call_with(r#"{"x":{"$serde_json::private::RawValue":"7"}}"#),               -32600, "reserved_key"),
        (call_with(r#"{"amount":9007199254740993}"#),                                -32600, "integer_out_of_range"),
        (call_with(r#"{"amount":18446744073709551617}"#),                            -32600, "integer_out_of_range"),
        (call_with(r#"{"amount":1e400}"#),                                           -32600, "number_out_of_range"),
        (call_with(r#"{"note":"\ud800"}"#),                                          -32700, "lone_surrogate"),
        (call_with(&deep),                                                           -32600, "too_deep"),
        (deep.clone(),                                                               -32600, "too_deep"),
        (r#"{"jsonrpc":"2.0","id":7,"id":8,"method":"ping"}"#.into(),                -32600, "duplicate_key"),
        (r#"{"jsonrpc":"2.0","method":"ping","method":"tools/list","id":7}"#.into(), -32600, "duplicate_key"),
        ("not json".into(),                                                          -32700, "invalid_json"),
        ("".into(),                                                                  -32700, "invalid_json"),
        (r#"{"jsonrpc":"2.0","id":7,"method":"ping"} {}"#.into(),                    -32700, "invalid_json"),
    ];
    for (body, code, cause) in cases {
        let answer = open.post(body.clone()).await;
        let json = answer.json();
        assert_eq!(answer.status, 400, "{body:.80}");
        assert_eq!(json["error"]["code"], code, "{body:.80}");
        assert_eq!(json["error"]["data"]["code"], cause, "{body:.80}");
        assert!(json["id"].is_null(), "{body:.80}");
    }
    let invalid = [&b"{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"p"[..], b"\xff\"}"].concat();
    assert_eq!(open.post(invalid).await.json()["error"]["code"], -32700);
    let stored = open.house.broker.pay.proposals(&open.house.admin.who, &Default::default()).await;
    assert!(stored.unwrap().rows.is_empty(), "nothing was stored");
    let alive = open.modern(&open.house.agent.key, "tools/list", json!({})).await;
    assert_eq!(alive.status, 200, "{}", alive.text);
}

#[tokio::test]
async fn a_client_that_takes_anything_is_answered() {
    let open = open().await;
    let bearer = format!("Bearer {}", open.house.agent.key);
    let list = modern(7, "tools/list", json!({})).to_string();
    for (accept, status) in [
        ("*/*", 200),
        ("text/html, */*;q=0.1", 200),
        ("text/html", 406),
    ] {
        let headers = [
            ("authorization", bearer.as_str()),
            ("content-type", "application/json"),
            ("accept", accept),
            ("mcp-protocol-version", "2026-07-28"),
            ("mcp-method", "tools/list"),
        ];
        let answer = open.send(&headers, list.clone()).await;
        assert_eq!(answer.status, status, "{accept}: {}", answer.text);
    }
}

#[tokio::test]
#[rustfmt::skip]
async fn a_misshapen_message_is_answered_not_dropped() {
    let open = open().await;
    let cases = [
        (json!([{"jsonrpc": "2.0", "id": 7, "method": "ping"}]),                  -32600, json!(null)),
        (json!({"jsonrpc": "1.0", "id": 7, "method": "ping"}),                    -32600, json!(7)),
        (json!({"jsonrpc": "2.0", "id": null, "method": "ping"}),                 -32600, json!(null)),
        (json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": [1]}), -32602, json!(7)),
    ];
    for (body, code, id) in cases {
        let answer = open.post(body.to_string()).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.json()["error"]["code"], code, "{body}");
        assert_eq!(answer.json()["id"], id, "{body}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_and_one_at_the_limit_is_read() {
    let open = open().await;
    let padded = |len: usize| {
        let start = r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":{"pad":""#;
        format!("{start}{}\"}}}}", "x".repeat(len - start.len() - 3))
    };
    let at = padded(1024 * 1024);
    assert_eq!(at.len(), 1024 * 1024);
    let answer = open.post(at).await;
    assert_ne!(answer.status, 413, "{:.200}", answer.text);
    let answer = open.post(padded(1024 * 1024 + 1)).await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.json()["error"]["data"]["code"], "too_large");
    assert_eq!(open.post(" ".repeat(5 * 1024 * 1024)).await.status, 413);
}

#[tokio::test]
#[rustfmt::skip]
async fn only_known_names_pages_and_keys_get_in() {
    let open = open().await;
    let good = format!("Bearer {}", open.house.agent.key);
    let forged = format!("{}x", good);
    let key = Some(good.as_str());
    let host = open.url.trim_start_matches("http://").trim_end_matches("/mcp").to_owned();
    let host = host.as_str();
    //   host                   origin                            key              status
    let cases = [
        (host,                  None,                             key,             200),
        (host,                  Some("http://localhost:5173"),    key,             200),
        (host,                  Some("https://evil.example"),     key,             403),
        (host,                  Some("https://evil.example"),     None,            403),
        (host,                  Some("null"),                     key,             403),
        ("evil.example",        None,                             key,             403),
        ("127.0.0.1.nip.io",    None,                             key,             403),
        (host,                  None,                             None,            401),
        (host,                  None,                             Some(&forged),   401),
        (host,                  None,                             Some("Bearer "), 401),
        (host,                  None,                             Some("Bearer hk_x_y"), 401),
        (host,                  None,                             Some("Basic hk_x_y"),  401),
    ];
    let body = modern(7, "tools/list", json!({})).to_string();
    for (host, origin, key, status) in cases {
        let mut headers = plain("").to_vec();
        headers.remove(0);
        headers.extend([("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/list"), ("host", host)]);
        headers.extend(origin.map(|origin| ("origin", origin)));
        headers.extend(key.map(|key| ("authorization", key)));
        let answer = open.send(&headers, body.clone()).await;
        assert_eq!(answer.status, status, "{host} {origin:?} {key:?}: {}", answer.text);
        if status == 401 {
            let challenge = answer.headers["www-authenticate"].to_str().unwrap();
            assert!(challenge.starts_with("Bearer "), "{challenge}");
            assert_eq!(answer.json()["code"], "unauthenticated");
        }
    }
}

#[tokio::test]
#[rustfmt::skip]
async fn headers_that_do_not_fit_are_refused_properly() {
    let open = open().await;
    let bearer = format!("Bearer {}", open.house.agent.key);
    let body = modern(7, "tools/list", json!({})).to_string();
    let plain = plain(&bearer);
    let version = ("mcp-protocol-version", "2026-07-28");
    let method = ("mcp-method", "tools/list");
    type Headers<'a> = Vec<(&'a str, &'a str)>;
    let cases: Vec<(Headers<'_>, u16, Option<i64>)> = vec![
        ([&plain[..], &[version, method]].concat(),                                                200, None),
        ([&plain[..], &[version]].concat(),                                                        400, Some(-32020)),
        ([&plain[..], &[version, ("mcp-method", "tools/call")]].concat(),                          400, Some(-32020)),
        ([&plain[..], &[("mcp-protocol-version", "1999-01-01"), method]].concat(),                 400, Some(-32020)),
        (vec![plain[0], plain[2], version, method],                                                415, Some(-32600)),
        (vec![plain[0], ("content-type", "text/plain"), plain[2], version, method],                415, Some(-32600)),
        (vec![plain[0], ("content-type", "application/json;charset=utf-16"), plain[2]],            415, Some(-32600)),
        (vec![plain[0], plain[1], ("accept", "text/html"), version, method],                       406, None),
    ];
    for (headers, status, code) in cases {
        let answer = open.send(&headers, body.clone()).await;
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.text);
        if let Some(code) = code {
            assert_eq!(answer.json()["error"]["code"], code, "{headers:?}");
        }
    }
}

#[tokio::test]
async fn a_session_is_good_only_with_the_key_that_opened_it() {
    let open = open().await;
    let (anna, bert) = (&open.house.agent.key, &open.house.other_agent.key);
    let session = open.session(anna).await;
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let answer = open.in_session(anna, &session, list.clone()).await;
    assert_eq!(answer.status, 200);
    assert!(answer.event()["result"]["tools"].is_array());
    let answer = open.in_session(bert, &session, list.clone()).await;
    assert_eq!(answer.status, 404);
    let never = "00000000-0000-4000-8000-000000000000";
    assert_eq!(open.in_session(bert, never, list.clone()).await.status, 404);
    let end = |key: &str| {
        let delete = open.http.delete(&open.url).bearer_auth(key);
        delete.header("mcp-session-id", &session).send()
    };
    assert_eq!(end(bert).await.unwrap().status(), 404);
    let answer = open.in_session(anna, &session, list.clone()).await;
    assert_eq!(answer.status, 200, "bert did not end it");
    assert_eq!(end(anna).await.unwrap().status(), 204);
    assert_eq!(open.in_session(anna, &session, list).await.status, 404);
}

#[tokio::test]
async fn methods_that_are_not_declared_do_not_exist() {
    let open = open().await;
    let key = &open.house.agent.key;
    for method in [
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "logging/setLevel",
        "no/such/method",
    ] {
        let answer = open.modern(key, method, json!({"level": "info"})).await;
        assert_eq!(answer.json()["error"]["code"], -32601, "{method}");
    }
    let complete = json!({
        "ref": {"type": "ref/prompt", "name": "x"}, "argument": {"name": "a", "value": "b"},
    });
    let answer = open.modern(key, "completion/complete", complete).await;
    assert_eq!(answer.json()["error"]["code"], -32601);
    let answer = open.modern(key, "tools/list", json!({"cursor": "x"})).await;
    assert_eq!(answer.json()["error"]["code"], -32602);
    let answer = open
        .modern(key, "tools/call", json!({"name": "noop"}))
        .await;
    assert_eq!(answer.json()["error"]["code"], -32602, "{}", answer.text);
    let listy = json!({"name": "noop_propose", "arguments": [1]});
    let answer = open.modern(key, "tools/call", listy).await;
    assert_eq!(answer.json()["error"]["code"], -32602, "{}", answer.text);
}

/// A call of the plain kind is answered without the library; whoever asks for progress is not of
/// that kind, and must not see a difference.
#[tokio::test]
async fn a_plain_call_is_answered_as_the_library_answers() {
    let open = open().await;
    let key = &open.house.agent.key;
    let bearer = format!("Bearer {key}");
    let nobody = "00000000-0000-7000-8000-000000000000";
    let calls = [
        json!({"name": "list_proposals", "arguments": {}}),
        json!({"name": "list_proposals"}),
        json!({"name": "get_proposal", "arguments": {"proposal_id": nobody}}),
        json!({"name": "get_proposal", "arguments": {"proposal": 7}}),
        json!({"name": "noop_propose", "arguments": {"arguments": {"note": 7, "x": 1}, "y": 1}}),
        json!({"name": "noop_commit", "arguments": {}}),
        json!({"name": "set_agent_policy", "arguments": {}}),
        json!({"name": "no_such_tool", "arguments": {}}),
    ];
    for params in calls {
        let plainly = open.modern(key, "tools/call", params.clone()).await;
        let name = params["name"].as_str().unwrap().to_owned();
        let mut headers = plain(&bearer).to_vec();
        headers.push(("mcp-protocol-version", "2026-07-28"));
        headers.push(("mcp-method", "tools/call"));
        headers.push(("mcp-name", &name));
        let mut asked = modern(7, "tools/call", params);
        asked["params"]["_meta"]["progressToken"] = json!(1);
        let by_library = open.send(&headers, asked.to_string()).await;
        // Each call has a trace of its own.
        let untraced = |told: Value| {
            let trace = told["result"]["_meta"]["trace_id"].as_str().unwrap_or("-");
            told.to_string().replace(trace, "-")
        };
        let (plain, library) = (untraced(plainly.json()), untraced(by_library.json()));
        assert_eq!(plain, library, "{asked}");
        assert_eq!(plainly.status, by_library.status, "{asked}");
        let kind = "content-type";
        assert_eq!(plainly.headers[kind], by_library.headers[kind], "{asked}");
    }
}
