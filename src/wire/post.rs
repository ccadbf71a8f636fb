//! Posts JSON to the services that tell people. Sends once, follows no redirect (a redirect could
//! carry the token elsewhere), and reads only the beginning of the answer.

use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};

use super::Outbound;
use crate::domain::notice::{Answer, Post};

/// A service that takes longer to accept a connection is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);
/// Read of an answer; Slack's repeat the message and stay far below.
const MAX_ANSWER: usize = 64 * 1024;

/// The real thing.
pub struct Poster {
    client: reqwest::Client,
}

impl Poster {
    /// A client without proxies, redirects or retries.
    pub fn new() -> Result<Self, reqwest::Error> {
        // Installing it twice is no error: whoever came first chose the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .user_agent(concat!("hundi/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .build()?;
        Ok(Self { client })
    }

    async fn send(&self, post: &Post) -> Result<Answer, String> {
        let mut request = self
            .client
            .post(&post.url)
            .header(CONTENT_TYPE, "application/json; charset=utf-8")
            .body(post.body.to_string());
        for (name, value) in &post.headers {
            request = request.header(*name, value);
        }
        if let Some(token) = &post.bearer {
            request = request.bearer_auth(token.expose());
        }
        let mut response = request.send().await.map_err(why)?;
        let status = response.status().as_u16();
        let secs = |value: &HeaderValue| value.to_str().ok()?.trim().parse().ok();
        let retry_after_secs = response.headers().get(RETRY_AFTER).and_then(secs);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(why)? {
            let room = MAX_ANSWER - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if body.len() == MAX_ANSWER {
                break;
            }
        }
        Ok(Answer {
            status,
            retry_after_secs,
            body: String::from_utf8_lossy(&body).into_owned(),
        })
    }
}

#[async_trait]
impl Outbound for Poster {
    async fn post(&self, post: &Post, deadline: Duration) -> Result<Answer, String> {
        match tokio::time::timeout(deadline, self.send(post)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", deadline.as_secs())),
        }
    }
}

/// The error in words, without its URL: an answer URL is a secret of its own.
fn why(error: reqwest::Error) -> String {
    error.without_url().to_string()
}
