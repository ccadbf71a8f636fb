//! A real `hundi serve` process next to a real `hundi sandbox` process, so that the server can be
//! killed and the bank remembers what it got.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Longest that a process may take until it is ready.
const READY: Duration = Duration::from_secs(30);
/// The key that signs every test server's tokens, so that a test can sign its own.
pub const TOKEN_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// A child that does not outlive the test.
pub struct Process(Child);

impl Process {
    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Waits until it ends by itself.
    pub fn ended(&mut self, within: Duration) -> bool {
        let until = Instant::now() + within;
        while Instant::now() < until {
            if self.0.try_wait().unwrap().is_some() {
                return true;
            }
            // Nothing tells of a child's end but asking.
            std::thread::yield_now();
        }
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts `hundi` and gives back the address in its line `... listening on http://...`.
fn start(args: &[&str], dir: &std::path::Path, env: &[(&str, &str)]) -> (Process, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hundi"));
    command
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::from(
            std::fs::File::create(dir.join("stderr.log")).unwrap(),
        ));
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let process = Process(child);
    let until = Instant::now() + READY;
    while Instant::now() < until {
        let Some(Ok(line)) = lines.next() else { break };
        if let Some((_, url)) = line.split_once("listening on ") {
            // Nobody must meet a closed pipe later.
            std::thread::spawn(move || lines.for_each(drop));
            return (process, url.trim().to_owned());
        }
    }
    let log = std::fs::read_to_string(dir.join("stderr.log")).unwrap_or_default();
    panic!("hundi {args:?} did not get ready: {log}");
}

fn client() -> reqwest::Client {
    // Fails only if a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// The bank as its own process.
pub struct BankProcess {
    pub url: String,
    pub http: reqwest::Client,
    _process: Process,
    _dir: tempfile::TempDir,
}

impl BankProcess {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let env = [("HUNDI_SANDBOX_LISTEN", "127.0.0.1:0")];
        let (process, url) = start(&["sandbox", "--step-ms", "50"], dir.path(), &env);
        let http = client();
        Self {
            url,
            http,
            _process: process,
            _dir: dir,
        }
    }

    pub async fn ledger(&self) -> Vec<Value> {
        let rows = self
            .http
            .get(format!("{}/sandbox/ledger", self.url))
            .send()
            .await
            .unwrap();
        rows.json().await.unwrap()
    }

    /// The references of everything that was paid, replays apart.
    pub async fn paid(&self) -> Vec<String> {
        let rows = self
            .ledger()
            .await
            .into_iter()
            .filter(|row| row["replayed"] == json!(false));
        rows.map(|row| row["reference_id"].as_str().unwrap().to_owned())
            .collect()
    }

    pub async fn arm(&self, faults: Value) {
        let sent = self
            .http
            .post(format!("{}/sandbox/faults", self.url))
            .json(&faults)
            .send();
        let answer = sent.await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "arming {faults}: {text}");
    }
}

/// A broker process over a folder of its own, paying through a bank process.
pub struct Server {
    pub url: String,
    pub agent_key: String,
    pub admin_key: String,
    pub bank: Arc<BankProcess>,
    pub dir: Arc<tempfile::TempDir>,
    pub http: reqwest::Client,
    process: Process,
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub async fn start_with(env: &[(&str, &str)]) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        Self::open(dir, Arc::new(BankProcess::start()), env)
    }

    /// A second process on the same folder, or the next one after a kill.
    pub fn again(&self, env: &[(&str, &str)]) -> Self {
        Self::open(self.dir.clone(), self.bank.clone(), env)
    }

    fn open(dir: Arc<tempfile::TempDir>, bank: Arc<BankProcess>, env: &[(&str, &str)]) -> Self {
        let sandbox = bank.url.trim_start_matches("http://").to_owned();
        let usual = [
            ("HUNDI_LISTEN", "127.0.0.1:0"),
            ("HUNDI_SANDBOX_LISTEN", sandbox.as_str()),
            ("HUNDI_TOKEN_KEY", TOKEN_KEY),
            ("HUNDI_CALL_DEADLINE_SECS", "2"),
        ];
        // An empty value takes a usual setting away.
        let gone: Vec<&str> = env
            .iter()
            .filter(|(_, v)| v.is_empty())
            .map(|(n, _)| *n)
            .collect();
        let all = usual.into_iter().chain(env.iter().copied());
        let env: Vec<_> = all.filter(|(name, _)| !gone.contains(name)).collect();
        let keys = dir.path().join("keys.json");
        let args = ["serve", "--bootstrap", keys.to_str().unwrap()];
        let (process, url) = start(&args, dir.path(), &env);
        let keys: Value = serde_json::from_slice(&std::fs::read(&keys).unwrap()).unwrap();
        let text = |name: &str| keys[name].as_str().unwrap().to_owned();
        Self {
            url,
            agent_key: text("agent_key"),
            admin_key: text("admin_key"),
            bank,
            dir,
            http: client(),
            process,
        }
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    pub fn pid(&self) -> u32 {
        self.process.0.id()
    }

    pub async fn post(&self, key: &str, path: &str, body: &Value) -> Result<(u16, Value), String> {
        let request = self
            .http
            .post(format!("{}{path}", self.url))
            .bearer_auth(key)
            .json(body);
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        Ok((
            status,
            answer.json().await.map_err(|error| error.to_string())?,
        ))
    }

    pub async fn get(&self, key: &str, path: &str) -> Value {
        let request = self
            .http
            .get(format!("{}{path}", self.url))
            .bearer_auth(key);
        request.send().await.unwrap().json().await.unwrap()
    }

    /// An allowed transfer: its id, token and arguments.
    pub async fn transfer(&self, amount: i64) -> Transfer {
        let arguments = json!({"amount": amount, "to": "acct_123"});
        let body = json!({"tool": "transfer_funds", "arguments": arguments});
        let (status, answer) = self
            .post(&self.agent_key, "/v1/proposals", &body)
            .await
            .unwrap();
        assert_eq!(
            (status, &answer["status"]),
            (200, &json!("allowed")),
            "{answer}"
        );
        Transfer {
            id: answer["proposal_id"].as_str().unwrap().to_owned(),
            token: answer["commit_token"].as_str().unwrap().to_owned(),
            arguments,
        }
    }

    pub async fn commit(&self, transfer: &Transfer) -> Result<(u16, Value), String> {
        self.commit_as(&self.agent_key, transfer).await
    }

    pub async fn commit_as(&self, key: &str, transfer: &Transfer) -> Result<(u16, Value), String> {
        let body = json!({"commit_token": transfer.token, "arguments": transfer.arguments});
        self.post(key, &format!("/v1/proposals/{}/commit", transfer.id), &body)
            .await
    }

    /// Runs another `hundi` process on the server's folder, as an operator would.
    pub fn command(&self, args: &[&str]) -> String {
        let sandbox = self.bank.url.trim_start_matches("http://");
        let ran = Command::new(env!("CARGO_BIN_EXE_hundi"))
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .env("HUNDI_SANDBOX_LISTEN", sandbox)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success(), "hundi {args:?}: {told}");
        String::from_utf8(ran.stdout).unwrap()
    }

    /// A new agent with the wide policy of the first one: its key.
    pub async fn other_agent(&self, name: &str) -> String {
        let body = json!({"role": "agent", "name": name});
        let (status, made) = self.post(&self.admin_key, "/v1/keys", &body).await.unwrap();
        assert!(status < 300, "{made}");
        made["key"].as_str().unwrap().to_owned()
    }
}

/// What an agent holds after an allowed proposal.
#[derive(Clone, Debug)]
pub struct Transfer {
    pub id: String,
    pub token: String,
    pub arguments: Value,
}
