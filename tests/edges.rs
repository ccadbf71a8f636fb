//! The edges: which names are answered to, which pages may call, what goes out on an event stream,
//! what a log line and a terminal show of others' words, what outlives a stop, and what can be
//! proven without us.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ed25519_dalek::{Signature, VerifyingKey};
use hundi::domain::call::Call;
use hundi::entry::http;
use hundi::wire::Wire;
use hundi::wire::mcp::{UpstreamSpec, Upstreams};
use serde_json::{Value, json};

use crate::support::server::{HUNDI, Server};

/// Longest until a process that was told to leave is gone.
const GONE: Duration = Duration::from_secs(10);

/// One request as bytes, and the whole answer.
fn raw(url: &str, method: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let address = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    let timeout = Some(Duration::from_secs(20));
    stream.set_read_timeout(timeout).unwrap();
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: 0\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer
        .split(' ')
        .nth(1)
        .unwrap_or_else(|| panic!("{method} {path}: {answer:?}"));
    (status.parse().unwrap(), answer)
}

/// Every path that any door has, with something in the place of each name.
fn every_path() -> BTreeSet<(&'static str, String)> {
    let ids = regex::Regex::new(r"\{[a-z_]+\}").unwrap();
    let mut paths: BTreeSet<_> = http::operations()
        .map(|op| (op.method, ids.replace_all(op.path, "1").into_owned()))
        .collect();
    for more in ["/mcp", "/nothing-here"] {
        paths.insert(("get", more.to_owned()));
        paths.insert(("post", more.to_owned()));
    }
    paths
}

#[tokio::test(flavor = "multi_thread")]
async fn no_door_answers_under_a_foreign_name() {
    let server = Server::start().await;
    let port = server.url.rsplit(':').next().unwrap();
    let rebound = [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        format!("127.0.0.1.nip.io:{port}"),
        "localhost.evil.example".to_owned(),
    ];
    for (method, path) in every_path() {
        let method = method.to_uppercase();
        for host in &rebound {
            let (status, answer) = raw(&server.url, &method, &path, &[("host", host)]);
            assert_eq!(status, 403, "{method} {path} as {host}: {answer}");
            assert!(
                answer.contains("HUNDI_PUBLIC_HOSTS"),
                "says what to set: {answer}"
            );
        }
    }
    // Probes come by address, by localhost, and old ones without any name.
    let own = server.url.trim_start_matches("http://");
    for host in [own, "localhost", "10.1.2.3:8787", "[fd00::1]:8787"] {
        for path in ["/healthz", "/readyz", "/metrics", "/openapi.json"] {
            let (status, answer) = raw(&server.url, "GET", path, &[("host", host)]);
            assert_eq!(status, 200, "{path} as {host}: {answer}");
        }
    }
    let named = server.again(&[("HUNDI_PUBLIC_HOSTS", "pay.example.com")]);
    let (status, _) = raw(&named.url, "GET", "/readyz", &[("host", "pay.example.com")]);
    assert_eq!(status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sandbox_answers_under_no_foreign_name_either() {
    let server = Server::start().await;
    let bank = &server.bank.url;
    for (method, path) in [
        ("GET", "/sandbox/health"),
        ("GET", "/sandbox/ledger"),
        ("GET", "/sandbox/faults"),
        ("POST", "/sandbox/faults"),
        ("POST", "/sandbox/reset"),
        ("POST", "/sandbox/payouts"),
        ("POST", "/sandbox/transfers"),
        ("GET", "/v1/payouts"),
        ("GET", "/nothing-here"),
    ] {
        let (status, answer) = raw(bank, method, path, &[("host", "evil.example:8788")]);
        assert_eq!(status, 403, "{method} {path}: {answer}");
        let (status, _) = raw(bank, method, path, &[("host", "localhost")]);
        assert_ne!(status, 403, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_page_gets_its_preflight_and_may_read_and_a_foreign_one_does_not() {
    let server =
        Server::start_with(&[("HUNDI_ALLOWED_ORIGINS", "https://console.example.com")]).await;
    let host = ("host", "localhost");
    let asks = [
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "authorization,content-type,mcp-protocol-version",
        ),
    ];
    for path in ["/v1/proposals", "/v1/agents/a/policy", "/mcp", "/readyz"] {
        for page in ["https://console.example.com", "http://localhost:5173"] {
            let origin = ("origin", page);
            let (status, answer) = raw(
                &server.url,
                "OPTIONS",
                path,
                &[host, origin, asks[0], asks[1]],
            );
            let answer = answer.to_lowercase();
            assert_eq!(status, 204, "{path} {page}: {answer}");
            for line in [
                format!("access-control-allow-origin: {page}"),
                "access-control-allow-headers: authorization,content-type,mcp-protocol-version"
                    .to_owned(),
                "access-control-allow-methods: get, post, put, patch, delete".to_owned(),
                "vary: origin".to_owned(),
                "x-content-type-options: nosniff".to_owned(),
            ] {
                assert!(answer.contains(&line), "{path} {page}: no {line}: {answer}");
            }
            // Refusals can be read as well: without a key these are 401.
            let (_, answer) = raw(&server.url, "GET", path, &[host, origin]);
            let answer = answer.to_lowercase();
            assert!(
                answer.contains(&format!("access-control-allow-origin: {page}")),
                "{path}: {answer}"
            );
            assert!(
                answer.contains("access-control-expose-headers: mcp-session-id"),
                "{path}: {answer}"
            );
        }
        let origin = ("origin", "https://evil.example");
        let preflight: &[_] = &[host, origin, asks[0], asks[1]];
        for (method, headers) in [
            ("OPTIONS", preflight),
            ("GET", &[host, origin]),
            ("POST", &[host, origin]),
        ] {
            let (status, answer) = raw(&server.url, method, path, headers);
            assert_eq!(status, 403, "{method} {path}: {answer}");
            assert!(
                !answer.to_lowercase().contains("access-control-allow"),
                "{answer}"
            );
        }
    }
}

/// A client of one revision with a session, as bytes.
struct Client<'a> {
    server: &'a Server,
    revision: &'static str,
    session: String,
}

impl<'a> Client<'a> {
    /// What `initialize` answered on the wire.
    async fn open(server: &'a Server, revision: &'static str) -> (Self, String) {
        let mut client = Self {
            server,
            revision,
            session: String::new(),
        };
        let params = json!({"protocolVersion": revision, "capabilities": {},
                            "clientInfo": {"name": "edges", "version": "1"}});
        let request = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params});
        let answer = client.send(&request).await;
        let session = answer.headers()["mcp-session-id"].to_str().unwrap();
        client.session = session.to_owned();
        let text = answer.text().await.unwrap();
        let told = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        client.send(&told).await;
        (client, text)
    }

    async fn send(&self, message: &Value) -> reqwest::Response {
        let url = format!("{}/mcp", self.server.url);
        let mut request = self
            .server
            .http
            .post(url)
            .bearer_auth(&self.server.agent_key);
        request = request.header("accept", "application/json, text/event-stream");
        if !self.session.is_empty() {
            request = request
                .header("mcp-session-id", &self.session)
                .header("mcp-protocol-version", self.revision);
        }
        request.json(message).send().await.unwrap()
    }

    /// What a tool call answered on the wire.
    async fn call(&self, tool: &str, arguments: Value) -> String {
        let params = json!({"name": tool, "arguments": arguments});
        let request = json!({"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": params});
        self.send(&request).await.text().await.unwrap()
    }
}

/// The events of a stream that have a data line, as text.
fn data(stream: &str) -> Vec<String> {
    let lines = stream
        .split('\n')
        .filter_map(|line| line.strip_prefix("data:"));
    lines.map(|data| data.trim().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_revision_gets_its_own_events_and_none_holds_a_line_end_of_any_client() {
    let server = Server::start().await;
    for (revision, primes) in [
        ("2025-03-26", false),
        ("2025-06-18", false),
        ("2025-11-25", true),
    ] {
        let (client, opening) = Client::open(&server, revision).await;
        assert!(opening.contains("protocolVersion"), "{revision}: {opening}");
        let empty = data(&opening).iter().any(String::is_empty);
        assert_eq!(empty, primes, "{revision}: {opening:?}");

        let note = "a\u{2028}b\u{2029}c\u{85}d";
        let arguments = json!({"arguments": {"note": note}});
        let answer = client.call("noop_propose", arguments).await;
        assert!(
            !answer.contains(['\u{2028}', '\u{2029}', '\u{85}']),
            "{revision}: {answer:?}"
        );
        let events = data(&answer);
        if !primes {
            assert!(
                events.iter().all(|data| !data.is_empty()),
                "{revision}: {answer:?}"
            );
        }
        let last = events.last().map_or(answer.as_str(), String::as_str);
        let said: Value = serde_json::from_str(last).unwrap();
        let proposed = &said["result"]["structuredContent"];
        assert_eq!(proposed["status"], "allowed", "{said}");
        // The value is what it was: it commits.
        let commit = json!({"proposal_id": proposed["proposal_id"],
                            "commit_token": proposed["commit_token"], "arguments": {"note": note}});
        let answer = client.call("noop_commit", commit).await;
        assert!(answer.contains("committed"), "{revision}: {answer}");
        assert!(
            !answer.contains(['\u{2028}', '\u{2029}', '\u{85}']),
            "{revision}: {answer:?}"
        );
    }
}

const NO_EOF: &str = r#"
import json, os, sys, threading, time
with open(os.environ["PIDS"], "a") as file:
    file.write(f"{os.getpid()}\n")
sys.stderr.write("\x1b[31mforged\u202e \u2028line\u0085\x9b2J\n")
sys.stderr.flush()
def answer():
    for line in sys.stdin:
        asked = json.loads(line)
        method = asked.get("method")
        if method == "initialize":
            result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                      "serverInfo": {"name": "n", "version": "1"}}
        elif method == "tools/list":
            result = {"tools": [{"name": "n_pay", "description": "x",
                                 "inputSchema": {"type": "object", "properties": {}}}]}
        else:
            result = {"content": [{"type": "text", "text": "{\"id\":1}"}]}
        if asked.get("id") is not None:
            print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
threading.Thread(target=answer, daemon=True).start()
while True:
    time.sleep(1)  # a timer keeps it alive, as in many servers
"#;

/// A server behind a shell that does not leave when its input ends, and where it notes its number.
struct Stubborn {
    dir: tempfile::TempDir,
}

impl Stubborn {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("server.py"), NO_EOF).unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// The shell waits for the server, so that there are two processes; `exec` would make it one.
    fn script(&self) -> String {
        format!("python3 {}; true", self.path("server.py"))
    }

    fn env(&self) -> Vec<(String, String)> {
        let path = "/usr/local/bin:/usr/bin:/bin".to_owned();
        vec![
            ("PATH".to_owned(), path),
            ("PIDS".to_owned(), self.path("pids")),
            ("PYTHONIOENCODING".to_owned(), "utf-8".to_owned()),
        ]
    }

    fn spec(&self) -> UpstreamSpec {
        UpstreamSpec::stdio("stubborn", "bash", ["-c", &self.script()], self.env())
    }

    async fn started(&self, wire: &Upstreams) {
        let call = Call::new("stubborn", "n_pay", &json!({}));
        let reply = wire.send(&call, Duration::from_secs(20)).await;
        assert!(format!("{reply:?}").contains("Result"), "{reply:?}");
        assert!(self.alive() > 0);
    }

    fn pids(&self) -> Vec<u32> {
        let text = std::fs::read_to_string(self.path("pids")).unwrap_or_default();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    /// How many of the servers that ever started still run.
    fn alive(&self) -> usize {
        let runs = |pid: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // After the name in brackets: Z has ended and nobody has asked how.
            stat.rsplit(") ")
                .next()
                .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
        };
        self.pids().iter().filter(|pid| runs(pid)).count()
    }

    async fn gone(&self, how: &str) {
        let until = Instant::now() + GONE;
        while self.alive() > 0 {
            assert!(Instant::now() < until, "{how}: {:?} still run", self.pids());
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_behind_a_shell_ends_with_every_stop() {
    // Told to stop.
    let stubborn = Stubborn::new();
    let wire = Upstreams::new(vec![stubborn.spec()]);
    stubborn.started(&wire).await;
    wire.shut_down().await;
    stubborn.gone("shut down").await;

    // Dropped without a word.
    let stubborn = Stubborn::new();
    let wire = Upstreams::new(vec![stubborn.spec()]);
    stubborn.started(&wire).await;
    drop(wire);
    stubborn.gone("dropped").await;

    // The shell alone is killed, and the next start does not stand beside the old server.
    let stubborn = Stubborn::new();
    let wire = Upstreams::new(vec![stubborn.spec()]);
    stubborn.started(&wire).await;
    let server = stubborn.pids()[0];
    let stat = std::fs::read_to_string(format!("/proc/{server}/stat")).unwrap();
    let shell = stat
        .rsplit(") ")
        .next()
        .unwrap()
        .split(' ')
        .nth(1)
        .unwrap()
        .to_owned();
    assert!(
        Command::new("kill")
            .args(["-9", &shell])
            .status()
            .unwrap()
            .success()
    );
    stubborn.gone("its shell killed").await;
    stubborn.started(&wire).await;
    assert_eq!(stubborn.alive(), 1, "and it is started anew");
    wire.shut_down().await;
    stubborn.gone("shut down again").await;
}

#[test]
fn a_runtime_that_ends_leaves_no_server_behind() {
    let stubborn = Stubborn::new();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let wire = Upstreams::new(vec![stubborn.spec()]);
    runtime.block_on(stubborn.started(&wire));
    runtime.shutdown_background();
    let after = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    after.block_on(stubborn.gone("its runtime ended"));
}

/// A broker process with the stubborn server as an upstream.
async fn with_stubborn(stubborn: &Stubborn, env: &[(&str, &str)]) -> Server {
    let pids = stubborn.path("pids");
    let script = serde_json::to_string(&stubborn.script()).unwrap();
    let config = format!(
        "[upstream.stubborn]\ncommand = \"bash\"\nargs = [\"-c\", {script}]\n\
         [upstream.stubborn.env]\nPIDS = \"{pids}\"\nPATH = \"/usr/local/bin:/usr/bin:/bin\"\n\
         PYTHONIOENCODING = \"utf-8\"\n"
    );
    let file = stubborn.path("hundi.toml");
    std::fs::write(&file, config).unwrap();
    let mut all = vec![("HUNDI_CONFIG", file.as_str())];
    all.extend_from_slice(env);
    let server = Server::start_with(&all).await;
    let until = Instant::now() + Duration::from_secs(20);
    while stubborn.alive() == 0 {
        assert!(Instant::now() < until, "the upstream was not started");
        tokio::task::yield_now().await;
    }
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_behind_a_shell_does_not_outlive_a_broker_that_is_killed() {
    let stubborn = Stubborn::new();
    let mut server = with_stubborn(&stubborn, &[]).await;
    server.process().kill();
    stubborn.gone("the broker got kill -9").await;

    let stubborn = Stubborn::new();
    let mut server = with_stubborn(&stubborn, &[]).await;
    server.terminate();
    assert!(server.process().ended(GONE));
    stubborn.gone("the broker was told to stop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_word_of_an_upstream_steers_a_log_or_begins_a_line_of_it() {
    for format in ["text", "json"] {
        let stubborn = Stubborn::new();
        let server = with_stubborn(
            &stubborn,
            &[("HUNDI_LOG", "debug"), ("HUNDI_LOG_FORMAT", format)],
        )
        .await;
        let log = server.dir.path().join("stderr.log");
        let until = Instant::now() + GONE;
        let text = loop {
            let text = std::fs::read_to_string(&log).unwrap();
            if text.contains("forged") {
                break text;
            }
            assert!(
                Instant::now() < until,
                "{format}: it was not logged: {text}"
            );
            tokio::task::yield_now().await;
        };
        let steering = ['\u{1b}', '\u{202e}', '\u{2028}', '\u{85}', '\u{9b}'];
        assert!(!text.contains(steering), "{format}: {text:?}");
        let line = text.lines().find(|line| line.contains("forged")).unwrap();
        assert!(
            line.contains("line") && line.contains("2J"),
            "{format}: one line: {line}"
        );
        if format == "json" {
            let line: Value = serde_json::from_str(line).unwrap();
            assert!(
                line["stderr"]
                    .as_str()
                    .unwrap()
                    .contains("\u{1b}[31mforged\u{202e}")
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_that_fails_or_stays_in_doubt_is_logged_once_with_its_ids() {
    let server = Server::start().await;
    let log = || std::fs::read_to_string(server.dir.path().join("stderr.log")).unwrap();
    let hangs = json!({"operation": "transfer", "kind": "hang", "when": "before", "count": 1});
    server.bank.arm(hangs).await;
    let transfer = server.transfer(500).await;
    let (status, answer) = server.commit(&transfer).await.unwrap();
    assert_eq!(status, 202, "{answer}");
    let commit = answer["commit_id"].as_str().unwrap();
    let text = log();
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.contains("in doubt") && line.contains(&transfer.id))
        .collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(
        lines[0].contains(commit) && !lines[0].contains(&transfer.token),
        "{}",
        lines[0]
    );
}

/// `hundi audit verify` in an empty folder, with nothing configured and nothing running.
fn verify(file: &Path, more: &[&str]) -> (bool, Value) {
    let empty = tempfile::tempdir().unwrap();
    let ran = Command::new(HUNDI)
        .args(["audit", "verify", "--json"])
        .args(more)
        .arg(file)
        .current_dir(empty.path())
        .env_clear()
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&ran.stdout).into_owned();
    let told = serde_json::from_str(&text);
    let left: Vec<_> = std::fs::read_dir(empty.path()).unwrap().collect();
    assert!(left.is_empty(), "a check makes nothing: {left:?}");
    (
        ran.status.success(),
        told.unwrap_or_else(|_| panic!("{text} {}", String::from_utf8_lossy(&ran.stderr))),
    )
}

fn kept(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// Asks until records are sealed.
async fn sealed(server: &Server, path: &str) -> Value {
    let until = Instant::now() + GONE;
    loop {
        let answer = server.get(&server.admin_key, path).await;
        if answer.get("root_hash").is_some() {
            return answer;
        }
        assert!(Instant::now() < until, "{path}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_proof_one_head_and_an_export_verify_offline_and_nothing_else_does() {
    let server = Server::start().await;
    let transfer = server.transfer(500).await;
    server.commit(&transfer).await.unwrap();
    let of_it = format!("/v1/audit?proposal={}", transfer.id);
    let records = server.get(&server.admin_key, &of_it).await;
    let seq = records["records"][0]["seq"].as_i64().unwrap();
    let proof = sealed(&server, &format!("/v1/audit/proof/{seq}")).await;
    let older = proof["tree_size"].as_u64().unwrap();
    let head = sealed(&server, "/v1/audit/head").await;
    let linked = sealed(
        &server,
        &format!("/v1/audit/proof/{seq}?from={}", older.min(2)),
    )
    .await;
    let export = server.command(&["audit", "export"]);
    let dir = tempfile::tempdir().unwrap();
    let (key, other) = (
        proof["public_key"].as_str().unwrap(),
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    );

    for (name, text) in [
        ("proof", proof.to_string()),
        ("pretty", serde_json::to_string_pretty(&proof).unwrap()),
        ("linked", linked.to_string()),
        ("head", head.to_string()),
        ("export", export.clone()),
    ] {
        let file = kept(dir.path(), name, &text);
        let (ok, told) = verify(&file, &[]);
        assert!(ok && told["ok"] == true, "{name}: {told}");
        assert_eq!(told["public_key"], key, "{name}");
        let (ok, told) = verify(&file, &["--key", key]);
        assert!(ok && told["pinned"] == true, "{name}: {told}");
        let (ok, told) = verify(&file, &["--key", other]);
        assert!(
            !ok && told["first_bad"]["damage"] == "bad_signature",
            "{name}: {told}"
        );
    }

    // What was done to a proof or a head, and the code that tells it.
    let with = |of: &Value, field: &str, value: Value| {
        let mut changed = of.clone();
        *changed.pointer_mut(field).unwrap() = value;
        changed.to_string()
    };
    let record = proof["record"].as_str().unwrap();
    let edited = record.replace("\"kind\":\"", "\"kind\":\"x");
    for (name, text, damage) in [
        ("record", with(&proof, "/record", json!(edited)), "edited"),
        ("no record", with(&proof, "/record", Value::Null), "deleted"),
        (
            "place",
            with(&proof, "/leaf_index", json!(older + 5)),
            "edited",
        ),
        (
            "path",
            with(&proof, "/proof/0", json!("0".repeat(64))),
            "edited",
        ),
        (
            "size",
            with(&proof, "/head/tree_size", json!(older + 1)),
            "bad_signature",
        ),
        (
            "root",
            with(&proof, "/head/root_hash", json!("0".repeat(64))),
            "bad_signature",
        ),
        (
            "number",
            with(&proof, "/seq", json!(seq + 1)),
            "reordered or altered",
        ),
        ("no head", with(&proof, "/head", Value::Null), "no_head"),
        (
            "stranger's key",
            with(&proof, "/public_key", json!(other)),
            "bad_signature",
        ),
        (
            "older root",
            with(
                &linked,
                "/consistency/from/root_hash",
                json!("0".repeat(64)),
            ),
            "altered",
        ),
        (
            "time",
            with(&head, "/at", json!("2020-01-01T00:00:00Z")),
            "bad_signature",
        ),
        (
            "nothing signed",
            export
                .lines()
                .filter(|line| !line.contains("root_hash"))
                .collect::<Vec<_>>()
                .join("\n"),
            "no_head",
        ),
        (
            "a strange line",
            format!("{export}{{\"note\":1}}\n"),
            "unknown_line",
        ),
    ] {
        let (ok, told) = verify(&kept(dir.path(), "bad", &text), &[]);
        let code = told["first_bad"]["damage"].as_str().unwrap_or("none");
        assert!(!ok && damage.contains(code), "{name}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_signed_bytes_are_those_that_are_documented() {
    let server = Server::start().await;
    let mut head = sealed(&server, "/v1/audit/head").await;
    let fields = head.as_object_mut().unwrap();
    let key = fields.remove("public_key").unwrap();
    let signature = fields.remove("signature").unwrap();
    // The label, one zero byte, and the RFC 8785 form of what is left of the head.
    let mut signed = b"hundi/audit-head/v1\0".to_vec();
    signed.extend(serde_json_canonicalizer::to_vec(&head).unwrap());
    let bytes = |hex: &Value| -> Vec<u8> {
        let hex = hex.as_str().unwrap().as_bytes().chunks(2);
        hex.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    };
    let key = VerifyingKey::from_bytes(&bytes(&key).try_into().unwrap()).unwrap();
    let signature = Signature::from_bytes(&bytes(&signature).try_into().unwrap());
    key.verify_strict(&signed, &signature).unwrap();
}
