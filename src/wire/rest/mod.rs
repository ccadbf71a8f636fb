//! Sends what the REST connector made: adds the base address and the credentials, and reports what
//! it heard.
//!
//! What was not sent, what was answered and what may have arrived are told apart, because only the
//! first may be sent again without asking. A request that changes something follows no redirect: a
//! redirect turns it into another one. No secret is in an error.

mod token;

use std::collections::BTreeMap;
use std::time::Duration;

use ipnet::IpNet;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
};
use reqwest::{Client, RequestBuilder, Response};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::reach::{self, Redirects, words};
use crate::domain::echo::Echo;
use crate::domain::secret::Secret;
use crate::domain::tools::http::{Answer, Heard, Request};
use crate::domain::tools::reach::Reach;
use crate::domain::tools::{Auth, Method, RestSource, Source, SourceConfig};
use token::Tokens;

/// Longest answer that is read where the source does not say.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// Calls at a time where the source does not say.
const MAX_CONCURRENT: usize = 64;

/// One opened API.
pub struct Api {
    base: Url,
    /// Follows redirects within the API.
    reading: Client,
    /// Follows none.
    acting: Client,
    headers: HeaderMap,
    credentials: Credentials,
    max_answer: usize,
    places: Semaphore,
}

/// How an API is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ping {
    /// It is there and lets us in.
    pub ok: bool,
    /// How long the answer took.
    pub latency: Duration,
    /// What it said.
    pub detail: String,
}

/// How we show who we are.
enum Credentials {
    None,
    /// A header that is ready to be sent.
    Header(HeaderName, HeaderValue),
    /// A parameter of the query.
    Query(String, Secret),
    /// A token that has to be asked for.
    Tokens(Tokens),
}

/// Why a request could not be made ready.
enum Unready {
    /// It takes no form that can be sent, or its token could not be had.
    Because(String),
}

impl Api {
    /// Opens a source without connecting yet. `private` are the networks that the configuration
    /// allows to sources that ask for private addresses. The error is for people.
    pub fn open(
        source: &Source,
        secrets: &BTreeMap<String, Secret>,
        private: &[IpNet],
    ) -> Result<Self, String> {
        let SourceConfig::Rest(config) = &source.config else {
            return Err("this source is no API".to_owned());
        };
        let reach = match config.allow_private {
            true => Reach::with_private(private),
            false => Reach::public(),
        };
        let base = Url::parse(&config.base_url).map_err(|error| error.to_string())?;
        reach::check(&reach, &base)?;
        let acting = reach::client(&reach, Redirects::Never)?;
        let credentials = Credentials::of(config, secrets, &reach, &acting)?;
        let limits = &source.limits;
        let most = limits.max_bytes.and_then(|most| usize::try_from(most).ok());
        let places = limits
            .max_concurrent
            .and_then(|most| usize::try_from(most).ok());
        Ok(Self {
            base,
            reading: reach::client(&reach, Redirects::WithinOrigin)?,
            acting,
            headers: fixed(&config.headers)?,
            credentials,
            max_answer: most.unwrap_or(MAX_ANSWER),
            places: Semaphore::new(places.unwrap_or(MAX_CONCURRENT)),
        })
    }

    /// Sends once and answers within `deadline` (monotonic). Sends a second time only where the
    /// first answer proves that nothing was done: a token that is not taken any more, and for
    /// requests that only read also a connection that broke.
    pub async fn send(&self, request: &Request, deadline: Duration) -> Heard {
        let until = Instant::now() + deadline;
        let place = timeout_at(until, self.places.acquire()).await;
        let Ok(Ok(_place)) = place else {
            return Heard::NotSent("too many calls of this source are under way".to_owned());
        };
        let first = self.send_once(request, until).await;
        match (&first, &self.credentials) {
            (Heard::Answer(answer), Credentials::Tokens(tokens)) if answer.status == 401 => {
                tokens.forget().await;
                self.send_once(request, until).await
            }
            (Heard::Lost(_), _) if request.method == Method::Get && Instant::now() < until => {
                self.send_once(request, until).await
            }
            _ => first,
        }
    }

    /// Asks for the base address; any answer is a good sign, but for one that does not let us in or
    /// that speaks of trouble there.
    pub async fn ping(&self, deadline: Duration) -> Result<Ping, String> {
        let request = Request {
            method: Method::Get,
            path: String::new(),
            query: String::new(),
            headers: Vec::new(),
            body: None,
        };
        let began = Instant::now();
        match self.send(&request, deadline).await {
            Heard::Answer(Answer { status, .. }) | Heard::TooLarge { status, .. } => {
                let detail = match status {
                    401 | 403 => format!("HTTP {status}: its credentials are not taken"),
                    _ => format!("HTTP {status}"),
                };
                Ok(Ping {
                    ok: !matches!(status, 401 | 403 | 500..),
                    latency: began.elapsed(),
                    detail,
                })
            }
            Heard::Late => Err("no whole answer came in time".to_owned()),
            Heard::NotSent(why) | Heard::Lost(why) => Err(why),
        }
    }

    async fn send_once(&self, request: &Request, until: Instant) -> Heard {
        // Until the token is there, nothing has been sent.
        let ready = match timeout_at(until, self.ready(request)).await {
            Ok(Ok(ready)) => ready,
            Ok(Err(Unready::Because(why))) => return Heard::NotSent(why),
            Err(_) => return Heard::NotSent("no token came in time".to_owned()),
        };
        let heard = timeout_at(until, self.exchange(ready)).await;
        let mut heard = heard.unwrap_or(Heard::Late);
        if let Credentials::Tokens(tokens) = &self.credentials {
            hide(&tokens.echo().await, &mut heard);
        }
        heard
    }

    async fn ready(&self, request: &Request) -> Result<RequestBuilder, Unready> {
        let because = |why: &str| Unready::Because(why.to_owned());
        let mut url = self.url(request).map_err(Unready::Because)?;
        if let Credentials::Query(name, value) = &self.credentials {
            if url.query_pairs().any(|(given, _)| given == name.as_str()) {
                return Err(because("the query names what the source is opened with"));
            }
            url.query_pairs_mut().append_pair(name, value.expose());
        }
        let client = match request.method {
            Method::Get => &self.reading,
            Method::Post | Method::Put | Method::Patch | Method::Delete => &self.acting,
        };
        let method = reqwest::Method::from_bytes(request.method.as_str().as_bytes());
        let method = method.map_err(|_| because("the method cannot be sent"))?;
        let mut headers = self.headers.clone();
        headers
            .entry(ACCEPT)
            .or_insert(HeaderValue::from_static("application/json"));
        for (name, value) in &request.headers {
            let name = HeaderName::from_bytes(name.as_bytes());
            let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(value)) else {
                return Err(because("one of its headers cannot be sent"));
            };
            if self.headers.contains_key(&name) {
                return Err(because("one of its headers is the source's own"));
            }
            headers.insert(name, value);
        }
        match &self.credentials {
            Credentials::None | Credentials::Query(..) => {}
            Credentials::Header(name, value) => {
                headers.insert(name.clone(), value.clone());
            }
            Credentials::Tokens(tokens) => {
                let token = tokens.token().await.map_err(Unready::Because)?;
                headers.insert(AUTHORIZATION, token);
            }
        }
        let mut ready = client.request(method, url).headers(headers);
        if let Some((kind, body)) = &request.body {
            ready = ready.header(CONTENT_TYPE, kind.as_str()).body(body.clone());
        }
        Ok(ready)
    }

    /// The address below the base. It cannot leave it; should it all the same, it is not used.
    fn url(&self, request: &Request) -> Result<Url, String> {
        let mut text = self.base.as_str().trim_end_matches('/').to_owned();
        text.push_str(&request.path);
        if !request.query.is_empty() {
            text.push('?');
            text.push_str(&request.query);
        }
        let url = Url::parse(&text).map_err(|error| error.to_string())?;
        let below = url
            .path()
            .starts_with(self.base.path().trim_end_matches('/'));
        match below && url.origin() == self.base.origin() {
            true => Ok(url),
            false => Err("the request would leave its source".to_owned()),
        }
    }

    async fn exchange(&self, ready: RequestBuilder) -> Heard {
        let response = match ready.send().await {
            Ok(response) => response,
            Err(error) if error.is_connect() || error.is_builder() => {
                return Heard::NotSent(words(error));
            }
            Err(error) => return Heard::Lost(words(error)),
        };
        self.heard(response).await
    }

    async fn heard(&self, mut response: Response) -> Heard {
        let status = response.status().as_u16();
        let text = |name: HeaderName| {
            let value = response.headers().get(name)?.to_str().ok()?;
            Some(value.trim().to_owned())
        };
        let kind = text(CONTENT_TYPE).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let mut answer = Answer {
            status,
            content_type: kind.to_ascii_lowercase(),
            etag: text(ETAG).filter(|etag| !etag.is_empty()),
            retry_after_secs: text(RETRY_AFTER).and_then(|secs| secs.parse().ok()),
            body: Vec::new(),
        };
        loop {
            match response.chunk().await {
                Ok(None) => return Heard::Answer(answer),
                Ok(Some(chunk)) if answer.body.len() + chunk.len() > self.max_answer => {
                    let limit = self.max_answer;
                    return Heard::TooLarge { status, limit };
                }
                Ok(Some(chunk)) => answer.body.extend_from_slice(&chunk),
                Err(error) => return Heard::Lost(words(error)),
            }
        }
    }
}

/// An answer without what it repeats of a token that was fetched for the call; what is kept with the
/// source is looked for by whoever keeps it.
fn hide(echo: &Echo, heard: &mut Heard) {
    match heard {
        Heard::Answer(answer) => {
            let mut arriving = echo.clone().arriving();
            answer.body = arriving.push(&answer.body);
            answer.body.extend(arriving.end());
            if let Some(etag) = &mut answer.etag {
                *etag = echo.hide(etag).into_owned();
            }
        }
        Heard::NotSent(why) | Heard::Lost(why) => *why = echo.hide(why).into_owned(),
        Heard::TooLarge { .. } | Heard::Late => {}
    }
}

impl Credentials {
    fn of(
        config: &RestSource,
        secrets: &BTreeMap<String, Secret>,
        reach: &Reach,
        client: &Client,
    ) -> Result<Self, String> {
        let secret = |name: &str| {
            let found = secrets.get(name);
            found.ok_or_else(|| format!("the secret `{name}` is not set"))
        };
        Ok(match config.auth {
            Auth::None => Credentials::None,
            Auth::Bearer => {
                let value = format!("Bearer {}", secret("token")?.expose());
                Credentials::Header(AUTHORIZATION, hidden(&value, "token")?)
            }
            Auth::Basic => {
                let (name, password) = (secret("username")?, secret("password")?);
                let pair = format!("{}:{}", name.expose(), password.expose());
                let value = format!("Basic {}", token::base64(pair.as_bytes()));
                Credentials::Header(AUTHORIZATION, hidden(&value, "password")?)
            }
            Auth::Header => {
                let name = config.header.as_deref().unwrap_or_default();
                let name = HeaderName::from_bytes(name.as_bytes()).map_err(|e| e.to_string())?;
                Credentials::Header(name, hidden(secret("value")?.expose(), "value")?)
            }
            Auth::Query => {
                let name = config.query.clone().unwrap_or_default();
                Credentials::Query(name, secret("value")?.clone())
            }
            Auth::ClientCredentials => {
                let text = config.token_url.as_deref().unwrap_or_default();
                let url = Url::parse(text).map_err(|error| error.to_string())?;
                reach::check(reach, &url)?;
                let (id, key) = (secret("client_id")?, secret("client_secret")?);
                let tokens = Tokens::new(client, url, id, key, &config.scopes);
                Credentials::Tokens(tokens)
            }
        })
    }
}

/// A header's value that no log shows.
fn hidden(value: &str, name: &str) -> Result<HeaderValue, String> {
    let value = HeaderValue::from_str(value);
    let mut value = value.map_err(|_| format!("the secret `{name}` cannot stand in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn fixed(headers: &BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let mut fixed = HeaderMap::new();
    for (name, value) in headers {
        let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
        let value = HeaderValue::from_str(value).map_err(|error| error.to_string())?;
        fixed.insert(parsed, value);
    }
    Ok(fixed)
}

#[cfg(test)]
mod tests;
