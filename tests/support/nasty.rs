//! An upstream that misbehaves on request: `nasty_upstream.py`, started and watched.

use std::path::Path;
use std::time::{Duration, Instant};

use hundi::domain::call::{Call, Reply};
use hundi::wire::Wire;
use hundi::wire::mcp::{Pauses, Protocol, UpstreamSpec, Upstreams};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Long enough for a child to start on a busy machine.
pub const PATIENT: Duration = Duration::from_secs(20);
/// Long enough for a child that runs, short enough to wait for.
pub const SHORT: Duration = Duration::from_millis(300);

/// What opens what the child would open.
pub const KEY: &str = "canary-of-the-child";

pub const SCRIPT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/support/nasty_upstream.py"
);

/// A misbehaving child, and the file in which it notes the calls that reached it.
pub struct Nasty {
    pub wire: Upstreams,
    pub dir: TempDir,
}

impl Nasty {
    pub fn new() -> Self {
        Self::starting("")
    }

    /// `$dir` in `start` becomes the test's own folder.
    pub fn starting(start: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let start = start.replace("$dir", &dir.path().display().to_string());
        let env = vec![
            (
                "PATH".to_owned(),
                std::env::var_os("PATH").unwrap().into_string().unwrap(),
            ),
            ("NASTY_LOG".to_owned(), path("log")),
            ("NASTY_START".to_owned(), start),
            ("NASTY_TOOLS".to_owned(), path("tools")),
            ("PYTHONUNBUFFERED".to_owned(), "1".to_owned()),
            ("NASTY_API_KEY".to_owned(), KEY.to_owned()),
        ];
        let mut spec = UpstreamSpec::stdio("nasty", "python3", [SCRIPT], env);
        spec.pauses = Pauses {
            least: Duration::from_millis(20),
            most: Duration::from_millis(100),
        };
        spec.protocol = Protocol::Initialize;
        let wire = Upstreams::new(vec![spec]);
        let nasty = Self { wire, dir };
        nasty.offers(&json!([]));
        nasty
    }

    /// What it lists from now on.
    pub fn offers(&self, tools: &Value) {
        std::fs::write(self.dir.path().join("tools"), tools.to_string()).unwrap();
    }

    pub async fn call(&self, tool: &str, arguments: Value, deadline: Duration) -> Reply {
        let call = Call::new("nasty", tool, &arguments);
        let begun = Instant::now();
        let reply = self.wire.send(&call, deadline).await;
        let late = begun.elapsed().saturating_sub(deadline);
        assert!(late < Duration::from_secs(4), "{tool}: {late:?} late");
        reply
    }

    /// The child answers an honest call.
    pub async fn works(&self) {
        let reply = self.call("echo", json!({"a": [1, "x"]}), PATIENT).await;
        let content = json!({"a": [1, "x"]});
        let is_error = false;
        assert_eq!(reply, Reply::Result { content, is_error });
    }

    /// The tools that were called, as the child saw it.
    pub fn log(&self) -> Vec<String> {
        lines(&self.dir.path().join("log"))
            .iter()
            .map(|line| {
                let params: Value = serde_json::from_str(line).unwrap();
                params["name"].as_str().unwrap().to_owned()
            })
            .collect()
    }
}

pub fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}
