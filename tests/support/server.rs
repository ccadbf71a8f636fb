//! A real `hundi serve` process next to a real `hundi sandbox` process, so that the server can be
//! killed and the bank remembers what it got.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Longest that a process may take until it is ready.
const READY: Duration = Duration::from_secs(30);
/// The program under test.
pub const HUNDI: &str = env!("CARGO_BIN_EXE_hundi");
/// The key that signs every test server's tokens, so that a test can sign its own.
pub const TOKEN_KEY: &str = "09f7a3c51e8d4b60729ce1f8d35a06b74418ef92cd7a305be96f12a8043dc75b";

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
fn start(args: &[&str], dir: &Path, env: &[(&str, &str)]) -> (Process, String) {
    try_start(args, dir, env)
        .unwrap_or_else(|log| panic!("hundi {args:?} did not get ready: {log}"))
}

/// The same; `Err` is what it said instead of getting ready.
pub fn try_start(
    args: &[&str],
    dir: &Path,
    env: &[(&str, &str)],
) -> Result<(Process, String), String> {
    try_start_program(Path::new(HUNDI), args, dir, env)
}

/// The same with a `hundi` of another version.
fn try_start_program(
    program: &Path,
    args: &[&str],
    dir: &Path,
    env: &[(&str, &str)],
) -> Result<(Process, String), String> {
    let log = dir.join("stderr.log");
    let log_file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log)
        .unwrap();
    let said_before = log_file.metadata().unwrap().len();
    let mut command = Command::new(program);
    command
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .envs(env.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::from(log_file));
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let process = Process(child);
    let until = Instant::now() + READY;
    while Instant::now() < until {
        let Some(Ok(line)) = lines.next() else { break };
        if let Some((_, url)) = line.split_once("listening on ") {
            // Nobody must meet a closed pipe later.
            std::thread::spawn(move || lines.for_each(drop));
            return Ok((process, url.trim().to_owned()));
        }
    }
    let said = std::fs::read(&log).unwrap_or_default();
    let start = usize::try_from(said_before).unwrap();
    Err(String::from_utf8_lossy(&said[start..]).into_owned())
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

/// The keys that a first start prints, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstKeys {
    pub agent: String,
    pub admin: String,
}

impl FirstKeys {
    /// What `--bootstrap` wrote, if this process was the one that made the first keys.
    pub fn read(dir: &Path) -> Option<Self> {
        let keys = std::fs::read(dir.join(BOOTSTRAP)).ok()?;
        let keys: Value = serde_json::from_slice(&keys).unwrap();
        // A node that was not the first writes down its addresses alone.
        let text = |name: &str| keys[name].as_str().map(str::to_owned);
        Some(Self {
            agent: text("agent_key")?,
            admin: text("admin_key")?,
        })
    }
}

const BOOTSTRAP: &str = "keys.json";

fn serve(dir: &Path) -> Vec<String> {
    let keys = dir.join(BOOTSTRAP).to_str().unwrap().to_owned();
    vec!["serve".to_owned(), "--bootstrap".to_owned(), keys]
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
        let args = serve(dir.path());
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let (process, url) = start(&args, dir.path(), &env);
        let keys = FirstKeys::read(dir.path()).unwrap();
        Self {
            url,
            agent_key: keys.agent,
            admin_key: keys.admin,
            bank,
            dir,
            http: client(),
            process,
        }
    }

    /// A process in a folder of its own, next to others on the same store. `Err` is what it said
    /// instead of getting ready.
    pub fn node(
        program: &Path,
        dir: Arc<tempfile::TempDir>,
        bank: Arc<BankProcess>,
        keys: impl FnOnce() -> FirstKeys,
        env: &[(&str, &str)],
    ) -> Result<Self, String> {
        let args = serve(dir.path());
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let (process, url) = try_start_program(program, &args, dir.path(), env)?;
        let keys = FirstKeys::read(dir.path()).unwrap_or_else(keys);
        Ok(Self {
            url,
            agent_key: keys.agent,
            admin_key: keys.admin,
            bank,
            dir,
            http: client(),
            process,
        })
    }

    /// SIGTERM: finish what was claimed, then go.
    pub fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Stops answering without closing anything, until [`Server::thaw`].
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
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
        let answer = request.send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{path}: {error:?}; {}", self.fate()));
        answer.json().await.unwrap()
    }

    /// Whether the process lives, and what it said: for failures that nobody expected.
    fn fate(&self) -> String {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()));
        let log = std::fs::read_to_string(self.dir.path().join("stderr.log"));
        let stat = stat.unwrap_or_default();
        // The third field: Z has ended and nobody has asked how.
        let state = stat.split(' ').nth(2).unwrap_or("gone");
        format!("process {}; it said: {}", state, log.unwrap_or_default())
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

    /// Asks until the proposal is neither committing nor in doubt, and gives back its state.
    pub async fn settled(&self, id: &str, within: Duration) -> String {
        let path = format!("/v1/proposals/{id}");
        let asked = async {
            let mut turns = tokio::time::interval(Duration::from_millis(50));
            loop {
                turns.tick().await;
                let seen = self.get(&self.admin_key, &path).await;
                let state = seen["state"].as_str().unwrap_or("committing").to_owned();
                if state != "committing" && state != "in_doubt" {
                    return state;
                }
            }
        };
        let state = tokio::time::timeout(within, asked).await;
        state.unwrap_or_else(|_| panic!("{id} is in doubt for {within:?}"))
    }

    /// Runs another `hundi` process on the server's folder, as an operator would.
    pub fn command(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        let told = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success(), "hundi {args:?}: {told}");
        String::from_utf8(ran.stdout).unwrap()
    }

    /// The same for what has to be refused: what it said.
    pub fn failing_command(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.status.code(), Some(1), "hundi {args:?}");
        String::from_utf8_lossy(&ran.stderr).into_owned()
    }

    /// The same, however it ends.
    pub fn run(&self, args: &[&str]) -> Output {
        self.fed(args, b"")
    }

    /// The same, with this on its stdin.
    pub fn fed(&self, args: &[&str], input: &[u8]) -> Output {
        let sandbox = self.bank.url.trim_start_matches("http://");
        // A store is only opened with the keys that it was written with.
        let own_ring = self.dir.path().join("hundi-data/token-keys.json").exists();
        let mut child = Command::new(env!("CARGO_BIN_EXE_hundi"))
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .env("HUNDI_SANDBOX_LISTEN", sandbox)
            .envs((!own_ring).then_some(("HUNDI_TOKEN_KEY", TOKEN_KEY)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that does not want its input is no failure of the test.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
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
