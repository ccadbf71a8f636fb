//! A browser driven over WebDriver (W3C), with plain HTTP: a Chromium of its own, in a folder of its
//! own, without a screen.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Client;
use serde_json::{Value, json};

use super::browser::PATIENCE;
use super::visitor::Visitor;

const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

pub struct Browser {
    http: Client,
    session: String,
    driver: Child,
    _folder: tempfile::TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser; a destructor cannot wait for a future.
        let rest = self
            .session
            .split_once("//")
            .map(|(_, rest)| rest)
            .unwrap_or_default();
        if let Some((address, path)) = rest.split_once('/')
            && let Ok(mut stream) = std::net::TcpStream::connect(address)
        {
            let head =
                format!("DELETE /{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
            // The driver keeps its connections open; the first byte says that the session is over.
            let _ = stream.set_read_timeout(Some(PATIENCE));
            let _ = stream.write_all(head.as_bytes());
            let _ = stream.read(&mut [0; 64]);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

impl Browser {
    /// A new one; `None` if there is no driver on this machine.
    pub async fn start() -> Option<Self> {
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            let line = line.unwrap();
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse::<u16>().ok()
        });
        std::thread::spawn(move || lines.for_each(drop));
        let base = format!("http://127.0.0.1:{}/session", port.unwrap());
        let http = Visitor::unredirected();
        let folder = tempfile::tempdir().unwrap();
        let profile = format!("--user-data-dir={}", folder.path().display());
        let args = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--lang=en-US",
            profile.as_str(),
        ];
        let options = json!({"args": args, "prefs": {"intl.accept_languages": "en-US"}});
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"}, "webauthn:virtualAuthenticators": true,
        }}});
        let sent = http.post(&base).json(&wanted).send().await.unwrap();
        let told: Value = sent.json().await.unwrap();
        let id = told["value"]["sessionId"].as_str();
        let id = id.unwrap_or_else(|| panic!("no browser: {told}"));
        let session = format!("{base}/{id}");
        Some(Self {
            http,
            session,
            driver,
            _folder: folder,
        })
    }

    async fn send(&self, path: &str, body: Value) -> Value {
        let sent = self.http.post(format!("{}/{path}", self.session));
        let sent = sent.json(&body).send().await.unwrap();
        let told: Value = sent.json().await.unwrap();
        assert!(told["value"]["error"].is_null(), "{path}: {told:.600}");
        told["value"].clone()
    }

    pub async fn open(&self, url: &str) {
        self.send("url", json!({"url": url})).await;
    }

    pub async fn script(&self, text: &str) -> Value {
        self.send("execute/sync", json!({"script": text, "args": []}))
            .await
    }

    /// What a script says once it calls its last argument.
    pub async fn script_later(&self, text: &str) -> Value {
        self.send("execute/async", json!({"script": text, "args": []}))
            .await
    }

    /// Waits until a script says yes. Asked again and again, because a page says of nothing that it
    /// has become what somebody waits for.
    pub async fn until(&self, text: &str) {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if self.script(text).await == json!(true) {
                return;
            }
            tokio::task::yield_now().await;
        }
        let page = self
            .script("return location.href + document.body.innerText")
            .await;
        panic!("never so: {text}\n{page}");
    }

    /// A page that follows what happens may replace what was found before it is clicked; whoever uses
    /// it clicks again.
    async fn click(&self, xpath: String) {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = self
                .send("element", json!({"using": "xpath", "value": xpath}))
                .await;
            let id = found[ELEMENT].as_str().unwrap().to_owned();
            let path = format!("element/{id}/click");
            let sent = self.http.post(format!("{}/{path}", self.session));
            let sent = sent.json(&json!({})).send().await.unwrap();
            let told: Value = sent.json().await.unwrap();
            let error = &told["value"]["error"];
            if error != "stale element reference" || Instant::now() > until {
                assert!(error.is_null(), "{path}: {told:.600}");
                return;
            }
        }
    }

    /// Presses the visible button of this name.
    pub async fn press(&self, name: &str) {
        self.click(format!("//button[normalize-space(.)='{name}']"))
            .await;
    }

    /// Follows the link of this name.
    pub async fn follow(&self, name: &str) {
        self.click(format!("//a[normalize-space(.)='{name}']"))
            .await;
    }

    /// Types keys into whatever has the focus.
    pub async fn keys(&self, keys: &str) {
        let steps: Vec<Value> = keys
            .chars()
            .flat_map(|key| {
                let key = key.to_string();
                [
                    json!({"type": "keyDown", "value": key}),
                    json!({"type": "keyUp", "value": key}),
                ]
            })
            .collect();
        let keyboard = json!({"type": "key", "id": "keyboard", "actions": steps});
        self.send("actions", json!({"actions": [keyboard]})).await;
    }

    async fn devtools(&self, command: &str, params: Value) -> Value {
        self.send(
            "goog/cdp/execute",
            json!({"cmd": command, "params": params}),
        )
        .await
    }

    /// A window of this width, in this theme.
    pub async fn look(&self, width: u32, dark: bool) {
        let scheme = if dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.devtools("Emulation.setEmulatedMedia", json!({"features": features}))
            .await;
        let size =
            json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600});
        self.devtools("Emulation.setDeviceMetricsOverride", size)
            .await;
    }

    pub async fn picture(&self, path: &Path) {
        let shot = json!({"captureBeyondViewport": true});
        let shot = self.devtools("Page.captureScreenshot", shot).await;
        let bytes = STANDARD.decode(shot["data"].as_str().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// An authenticator whose person always agrees.
    pub async fn virtual_authenticator(&self) {
        let wanted = json!({
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": true,
            "hasUserVerification": true, "isUserVerified": true,
        });
        self.send("webauthn/authenticator", wanted).await;
    }

    /// What the browser complained of: a blocked style, a script's error.
    pub async fn complaints(&self) -> Vec<String> {
        let log = self.send("se/log", json!({"type": "browser"})).await;
        let entries = log.as_array().unwrap().iter();
        entries
            .map(|entry| entry["message"].as_str().unwrap_or_default().to_owned())
            .collect()
    }
}
