//! A sandbox bank in this process, on a port of its own, and an HTTP client for it.

use std::path::Path;
use std::time::Duration;

use hundi::sandbox::{self, SandboxOptions};
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A running bank. Stops, without waiting, when it is dropped.
pub struct TestBank {
    pub url: String,
    client: Client,
    stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<()>>,
}

impl TestBank {
    /// With quick payouts and its ledger in `folder`.
    pub async fn start(folder: &Path) -> Self {
        let mut options = SandboxOptions::new(folder);
        options.step = Duration::from_millis(40);
        Self::start_with(options).await
    }

    pub async fn start_with(options: SandboxOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel::<()>();
        let served = tokio::spawn(async move {
            let shutdown = async {
                let _ = stopped.await;
            };
            sandbox::serve(listener, options, shutdown).await.unwrap();
        });
        let mut bank = Self::at(&url);
        bank.stop = Some(stop);
        bank.served = Some(served);
        bank
    }

    /// One that runs elsewhere.
    pub fn at(url: &str) -> Self {
        // Fails only if another test was first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tls_certs_only([])
            .timeout(Duration::from_secs(10))
            .build()
            .unwrap();
        Self {
            url: url.to_owned(),
            client,
            stop: None,
            served: None,
        }
    }

    /// Stops and waits, so that the ledger can be opened again.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        if let Some(served) = self.served.take() {
            served.await.unwrap();
        }
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        let request = self.client.get(format!("{}{path}", self.url));
        request.basic_auth("rzp_test_key", Some("secret"))
    }

    pub fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        let request = self.client.post(format!("{}{path}", self.url));
        request
            .basic_auth("rzp_test_key", Some("secret"))
            .json(body)
    }

    pub fn delete(&self, path: &str) -> RequestBuilder {
        self.client.delete(format!("{}{path}", self.url))
    }

    /// Creates a payout under a key.
    pub async fn create(&self, key: &str, body: &Value) -> (u16, Value) {
        let request = self.post("/v1/payouts", body);
        read(request.header("X-Payout-Idempotency", key)).await
    }

    pub async fn ledger(&self) -> Vec<Value> {
        let (status, body) = read(self.get("/sandbox/ledger")).await;
        assert_eq!(status, 200);
        body.as_array().unwrap().clone()
    }

    pub async fn arm(&self, faults: Value) {
        let (status, body) = read(self.post("/sandbox/faults", &faults)).await;
        assert_eq!(status, 200, "{body}");
    }

    /// Reads a payout until it is in this state. The bank moves it by itself, and a test may have
    /// pointed its webhooks elsewhere: each question is answered before the next one is asked, and
    /// that is all there is to wait for.
    pub async fn until(&self, id: &str, status: &str) -> Value {
        let seen = async {
            loop {
                let (_, payout) = read(self.get(&format!("/v1/payouts/{id}"))).await;
                if payout["status"] == status {
                    return payout;
                }
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), seen).await;
        waited.unwrap_or_else(|_| panic!("{id} never became {status}"))
    }
}

/// Status and JSON of an answer; `null` where it is not JSON.
pub async fn read(request: RequestBuilder) -> (u16, Value) {
    let response: Response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let bytes = response.bytes().await.unwrap();
    (
        status,
        serde_json::from_slice(&bytes).unwrap_or(Value::Null),
    )
}

/// A good payout under a reference.
pub fn payout(reference: &str) -> Value {
    json!({
        "account_number": sandbox::ACCOUNT_NUMBER, "fund_account_id": "fa_00000000000001",
        "amount": 10_000, "currency": "INR", "mode": "IMPS", "purpose": "vendor bill",
        "reference_id": reference,
    })
}
