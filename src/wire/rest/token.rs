//! Tokens of OAuth's client credentials grant (RFC 6749, 4.4), kept until shortly before they end.
//!
//! Whoever needs one while it is being asked for waits for the same answer. The credentials go into
//! the header, as the standard recommends, and into the form where a server does not take that.

use std::time::Duration;

use base64::Engine;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Response};
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};

use crate::domain::echo::Echo;
use crate::domain::secret::Secret;

/// A token is not used for the last moments of its life.
const MARGIN: Duration = Duration::from_secs(30);
/// How long one lasts whose answer does not say.
const UNSAID_SECS: u64 = 300;
/// Longest that one is kept, whatever the answer says.
const MAX_SECS: u64 = 24 * 60 * 60;
/// Longest answer that is read.
const MAX_ANSWER: usize = 64 * 1024;

/// Asks for tokens and keeps one.
pub(super) struct Tokens {
    client: Client,
    url: Url,
    id: Secret,
    secret: Secret,
    scopes: String,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    value: HeaderValue,
    until: Instant,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    token_type: Option<String>,
    expires_in: Option<u64>,
}

impl Tokens {
    pub(super) fn new(
        client: &Client,
        url: Url,
        id: &Secret,
        secret: &Secret,
        scopes: &[String],
    ) -> Self {
        Self {
            client: client.clone(),
            url,
            id: id.clone(),
            secret: secret.clone(),
            scopes: scopes.join(" "),
            kept: Mutex::new(None),
        }
    }

    /// The value of `Authorization`.
    pub(super) async fn token(&self) -> Result<HeaderValue, String> {
        let mut kept = self.kept.lock().await;
        if let Some(kept) = kept.as_ref()
            && Instant::now() < kept.until
        {
            return Ok(kept.value.clone());
        }
        let fresh = self.granted().await?;
        let value = fresh.value.clone();
        *kept = Some(fresh);
        Ok(value)
    }

    /// What an answer must not repeat of it.
    pub(super) async fn echo(&self) -> Echo {
        let kept = self.kept.lock().await;
        let value = kept.as_ref().and_then(|kept| kept.value.to_str().ok());
        Echo::of_named(value.map(|value| ("authorization", value)))
    }

    /// The one that is kept is not taken any more.
    pub(super) async fn forget(&self) {
        *self.kept.lock().await = None;
    }

    async fn granted(&self) -> Result<Kept, String> {
        let mut response = self.ask(true).await?;
        if matches!(response.status().as_u16(), 400 | 401) {
            response = self.ask(false).await?;
        }
        let status = response.status();
        let body = body(response).await?;
        if !status.is_success() {
            return Err(format!(
                "the token service answered with HTTP {}",
                status.as_u16()
            ));
        }
        let granted: Granted = serde_json::from_slice(&body)
            .map_err(|_| "the token service answered with something else".to_owned())?;
        let kind = granted.token_type.as_deref().unwrap_or("bearer");
        if !kind.eq_ignore_ascii_case("bearer") {
            return Err("the token service gave a token of another type than Bearer".to_owned());
        }
        let value = HeaderValue::from_str(&format!("Bearer {}", granted.access_token));
        let mut value =
            value.map_err(|_| "the token service gave a token that cannot be sent".to_owned())?;
        value.set_sensitive(true);
        let life = granted.expires_in.unwrap_or(UNSAID_SECS).min(MAX_SECS);
        let life = Duration::from_secs(life).saturating_sub(MARGIN);
        Ok(Kept {
            value,
            until: Instant::now() + life,
        })
    }

    async fn ask(&self, in_header: bool) -> Result<Response, String> {
        let mut request = self
            .client
            .post(self.url.clone())
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(self.form(in_header));
        if in_header {
            request = request.header(AUTHORIZATION, self.pair()?);
        }
        let sent = request.send().await;
        sent.map_err(|error| {
            let why = super::words(error);
            format!("the token service does not answer: {why}")
        })
    }

    fn form(&self, in_header: bool) -> String {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", "client_credentials");
        if !self.scopes.is_empty() {
            form.append_pair("scope", &self.scopes);
        }
        if !in_header {
            form.append_pair("client_id", self.id.expose());
            form.append_pair("client_secret", self.secret.expose());
        }
        form.finish()
    }

    /// Both encoded first, as the standard asks for.
    fn pair(&self) -> Result<HeaderValue, String> {
        let encoded =
            |secret: &Secret| -> String { byte_serialize(secret.expose().as_bytes()).collect() };
        let pair = format!("{}:{}", encoded(&self.id), encoded(&self.secret));
        let value = format!("Basic {}", base64(pair.as_bytes()));
        let mut value = HeaderValue::from_str(&value).map_err(|error| error.to_string())?;
        value.set_sensitive(true);
        Ok(value)
    }
}

async fn body(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(super::words)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err("the token service answered at too much length".to_owned());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

pub(super) fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
