//! Upstreams that answer oddly: `odd_upstream.py` over both transports, and the ways to it.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hundi::domain::call::Call;
use hundi::wire::mcp::{Pauses, Protocol, UpstreamSpec, Upstreams};
use hundi::wire::{Heard, Wire};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longer than any answer takes that is told at once.
pub const PATIENT: Duration = Duration::from_secs(20);
/// The most that is taken of an answer in these tests.
pub const LIMIT: usize = 300_000;
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/odd_upstream.py");

/// How a call gets to the upstream and its answer back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Path {
    Stdio,
    /// Answers as JSON, posted by the protocol library.
    JsonByLibrary,
    /// Answers as JSON, posted by the call itself.
    JsonDirect,
    /// Answers as a stream, posted by the protocol library.
    StreamByLibrary,
    /// Answers as a stream, posted by the call itself.
    StreamDirect,
}

impl Path {
    pub const ALL: [Path; 5] = [
        Path::Stdio,
        Path::JsonByLibrary,
        Path::JsonDirect,
        Path::StreamByLibrary,
        Path::StreamDirect,
    ];
    pub const HTTP: [Path; 4] = [
        Path::JsonByLibrary,
        Path::JsonDirect,
        Path::StreamByLibrary,
        Path::StreamDirect,
    ];
}

/// One running server over HTTP, and a folder with its notes and those of children.
pub struct Odd {
    server: Child,
    port: u16,
    dir: TempDir,
}

impl Drop for Odd {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Odd {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Command::new("python3")
            .args([SCRIPT, "http"])
            .env("ODD_LOG", dir.path().join("log"))
            .env("ODD_TOOLS", TOOLS)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().parse().unwrap();
        Self { server, port, dir }
    }

    /// A new way to it.
    pub fn spec(&self, path: Path) -> UpstreamSpec {
        let mut spec = match path {
            Path::Stdio => UpstreamSpec::stdio("odd", "python3", [SCRIPT, "stdio"], self.env()),
            Path::JsonByLibrary | Path::JsonDirect => self.http("json/mcp", Vec::new()),
            Path::StreamByLibrary | Path::StreamDirect => self.http("sse/mcp", Vec::new()),
        };
        spec.pauses = Pauses {
            least: Duration::from_millis(20),
            most: Duration::from_millis(100),
        };
        spec.max_answer_bytes = LIMIT;
        spec.protocol = Protocol::Initialize;
        spec
    }

    pub fn http(&self, rest: &str, headers: Vec<(String, String)>) -> UpstreamSpec {
        let url = format!("http://127.0.0.1:{}/{rest}", self.port);
        UpstreamSpec::http("odd", &url, headers)
    }

    pub fn env(&self) -> Vec<(String, String)> {
        let file = |name: &str| self.dir.path().join(name).display().to_string();
        let path = std::env::var_os("PATH").unwrap().into_string().unwrap();
        [
            ("PATH", path),
            ("ODD_LOG", file("log")),
            ("ODD_STARTS", file("starts")),
            ("ODD_TOOLS", TOOLS.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    /// A conversation that takes this path with its next call.
    pub async fn wire(&self, path: Path) -> Upstreams {
        let wire = Upstreams::new(vec![self.spec(path)]);
        if matches!(path, Path::JsonDirect | Path::StreamDirect) {
            // Calls are posted directly once one has brought its answer.
            let heard = call(&wire, "plain").await;
            assert_eq!(heard.reply.why(), "", "{path:?}");
        }
        wire
    }

    /// The tools that had their effect.
    pub fn effects(&self) -> Vec<String> {
        self.lines("log")
    }

    pub fn starts(&self) -> usize {
        self.lines("starts").len()
    }

    fn lines(&self, file: &str) -> Vec<String> {
        let path: PathBuf = self.dir.path().join(file);
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

/// What it lists.
const TOOLS: &str = "plain,late,late_no,two_texts,code_m32700,code_m32603,code_m32602,code_m32601,\
                     code_m32600,code_m32042,code_m32002,code_m32001,code_m32000,code_0,code_500,\
                     question_passed_on,status_401,status_404,status_502,too_large";

/// One call with an amount of 500.
pub async fn call(wire: &Upstreams, tool: &str) -> Heard {
    let call = Call::new("odd", tool, &json!({"amount": 500}));
    wire.relay(&call, PATIENT).await
}

/// What the plain answer says.
pub fn receipt() -> Value {
    json!({"id": "x1", "amount": 500})
}
