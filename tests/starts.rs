//! Starts: what a store and its folder belong to, which keys go with it, and who is refused. Each
//! test is a start as an operator, or somebody who made a mistake, would do it: the real program,
//! in a folder of its own.

mod account;
mod files;
mod keys;
mod mode;
mod secrets;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::server::{BankProcess, HUNDI, Process, try_start};

/// The account that the sandbox bank serves, so that it can stand for a live one.
const ACCOUNT: &str = "2323230041626905";

/// A folder in which `hundi` is started with different settings.
struct Place {
    folder: tempfile::TempDir,
}

/// How a command ended.
struct Ended {
    code: i32,
    out: String,
    err: String,
}

impl Ended {
    /// Everything it said.
    fn said(&self) -> String {
        format!("{}{}", self.out, self.err)
    }

    fn done(self) -> Self {
        assert_eq!(self.code, 0, "{}", self.said());
        self
    }

    /// It refused, in these words among others.
    fn refused(self, words: &[&str]) -> Self {
        assert_eq!(self.code, 1, "{}", self.said());
        for word in words {
            assert!(
                self.said().contains(word),
                "no {word:?} in: {}",
                self.said()
            );
        }
        self
    }

    fn json(&self) -> Value {
        let text = self.out.as_str();
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in {}", self.said()))
    }
}

type Env<'a> = &'a [(&'a str, &'a str)];

impl Place {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of the data folder.
    fn kept(&self, name: &str) -> PathBuf {
        self.path("hundi-data").join(name)
    }

    fn command(&self, args: &[&str], env: Env<'_>) -> Command {
        let mut command = Command::new(HUNDI);
        command
            .args(args)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HUNDI_LISTEN", "127.0.0.1:0")
            .env("HUNDI_SANDBOX_LISTEN", "127.0.0.1:0")
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, args: &[&str], env: Env<'_>) -> Ended {
        ended(self.command(args, env).output().unwrap())
    }

    /// A server that is ready, and its address; `Err` is what it said instead.
    fn serve(&self, env: Env<'_>) -> Result<(Process, String), String> {
        let usual = [
            ("HUNDI_LISTEN", "127.0.0.1:0"),
            ("HUNDI_SANDBOX_LISTEN", "127.0.0.1:0"),
            ("HUNDI_CALL_DEADLINE_SECS", "2"),
        ];
        let env: Vec<_> = usual.iter().chain(env).copied().collect();
        let args = ["serve", "--bootstrap", "boot.json"];
        try_start(&args, self.folder.path(), &env)
    }

    /// What `--bootstrap` wrote.
    fn boot(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.path("boot.json")).unwrap()).unwrap()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("stderr.log")).unwrap()
    }
}

fn ended(output: std::process::Output) -> Ended {
    Ended {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Settings of a bank with this key, account and address.
fn bank_at<'a>(key: &'a str, account: &'a str, base: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("HUNDI_RAZORPAY_KEY_ID", key),
        ("HUNDI_RAZORPAY_KEY_SECRET", "any-8391-opens-it"),
        ("HUNDI_RAZORPAY_ACCOUNT_NUMBER", account),
        ("HUNDI_RAZORPAY_API_BASE", base),
    ]
}

/// A live key at a bank process.
fn live(bank: &BankProcess) -> Vec<(&str, &str)> {
    bank_at("rzp_live_1", ACCOUNT, &bank.url)
}

async fn http(method: reqwest::Method, url: &str, key: &str, body: Option<Value>) -> (u16, Value) {
    // Fails only if a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client.request(method, url).bearer_auth(key);
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap_or_default())
}

async fn get(url: &str, key: &str) -> (u16, Value) {
    http(reqwest::Method::GET, url, key, None).await
}

async fn post(url: &str, key: &str, body: Value) -> (u16, Value) {
    http(reqwest::Method::POST, url, key, Some(body)).await
}

/// Takes the mark out of a SQLite store, as if it had been filled before there were marks.
async fn unmark(store: &Path) {
    use sqlx::{ConnectOptions, Executor};
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(store);
    let mut conn = options.connect().await.unwrap();
    let gone = conn
        .execute("DELETE FROM docs WHERE kind = 'meta' AND id = 'mark'")
        .await
        .unwrap();
    assert_eq!(gone.rows_affected(), 1);
}
