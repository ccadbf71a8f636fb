//! Providers of models over HTTP: one call out, the head of the answer back, and its body as it
//! arrives. Dropping the body closes the connection, which is how a provider is told to stop.
//!
//! Nothing is read here of what is said, nothing is kept, and no redirect is followed: it would take
//! the key and the question elsewhere.

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{Stream, StreamExt};
use hyper::body::Bytes;
use ipnet::IpNet;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_TYPE};
use url::Url;

use super::reach::{self, Redirects};
use crate::domain::echo::Echo;
use crate::domain::requests::sending::{Private, Sending, Unanswered};
use crate::domain::tools::reach::Reach;

/// A body as it arrives; an error says in words why it ended early.
pub type Arriving = Pin<Box<dyn Stream<Item = Result<Bytes, String>> + Send>>;

/// An answer whose head is there.
pub struct Answering {
    /// HTTP status.
    pub status: u16,
    /// Headers that are text, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Arriving,
}

impl Answering {
    /// A header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Reaches providers.
#[async_trait]
pub trait Models: Send + Sync {
    /// Sends once, and answers when the head of the answer is there, within `deadline` (monotonic).
    async fn send(&self, sending: &Sending, deadline: Duration) -> Result<Answering, Unanswered>;
}

/// The real ones: a client for the public internet, one for providers that may be in the networks that
/// the configuration allows, and one for those that it names itself.
pub struct Providers {
    public: (Reach, reqwest::Client),
    allowed: (Reach, reqwest::Client),
    any: (Reach, reqwest::Client),
}

impl Providers {
    /// All of them, with the networks that are allowed.
    pub fn new(allowed: &[IpNet]) -> Result<Self, String> {
        let anywhere = ["0.0.0.0/0", "::/0"];
        let networks = anywhere.iter().filter_map(|net| net.parse::<IpNet>().ok());
        let networks: Vec<IpNet> = networks.collect();
        let with = |reach: Reach| {
            let client = reach::client(&reach, Redirects::Never)?;
            Ok::<_, String>((reach, client))
        };
        Ok(Self {
            public: with(Reach::public())?,
            allowed: with(Reach::with_private(allowed))?,
            any: with(Reach::with_private(&networks))?,
        })
    }
}

#[async_trait]
impl Models for Providers {
    async fn send(&self, sending: &Sending, deadline: Duration) -> Result<Answering, Unanswered> {
        let (reach, client) = match sending.private {
            Private::None => &self.public,
            Private::Allowed => &self.allowed,
            Private::Any => &self.any,
        };
        let url = Url::parse(&sending.url)
            .map_err(|_| Unanswered::Unreachable("its address is no URL".to_owned()))?;
        reach::check(reach, &url).map_err(Unanswered::Unreachable)?;
        let mut request = match &sending.body {
            Some(body) => client
                .post(url)
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone()),
            None => client.get(url),
        };
        // A compressed stream comes in lumps.
        request = request.header(ACCEPT_ENCODING, "identity");
        for (name, value) in &sending.headers {
            request = request.header(*name, *value);
        }
        if let Some((name, value)) = &sending.key {
            request = request.header(*name, value.expose());
        }
        let answer = match tokio::time::timeout(deadline, request.send()).await {
            Err(_) => return Err(Unanswered::Late),
            Ok(Err(error)) if error.is_connect() => {
                return Err(Unanswered::Unreachable(words(error)));
            }
            Ok(Err(error)) => return Err(Unanswered::Broken(words(error))),
            Ok(Ok(answer)) => answer,
        };
        let echo = sending.key.as_ref();
        let echo = echo.map_or_else(Echo::default, |(_, value)| Echo::of_header(value));
        let headers = answer.headers().iter();
        let headers = headers.filter_map(|(name, value)| {
            let value = echo.hide(value.to_str().ok()?).into_owned();
            Some((name.as_str().to_owned(), value))
        });
        Ok(Answering {
            status: answer.status().as_u16(),
            headers: headers.collect(),
            body: without(echo, answer),
        })
    }
}

/// The body as it arrives, in which the provider does not repeat our key.
fn without(echo: Echo, answer: reqwest::Response) -> Arriving {
    let mut arriving = echo.arriving();
    // One more turn than there are chunks, for what was held back.
    let chunks = answer.bytes_stream().map(Some);
    let chunks = chunks.chain(futures_util::stream::once(std::future::ready(None)));
    let told = chunks.filter_map(move |chunk| {
        let told = match chunk {
            Some(Ok(chunk)) => Ok(arriving.push(&chunk)),
            Some(Err(error)) => Err(words(error)),
            None => Ok(arriving.end()),
        };
        let told = match told {
            Ok(bytes) if bytes.is_empty() => None,
            Ok(bytes) => Some(Ok(Bytes::from(bytes))),
            Err(why) => Some(Err(why)),
        };
        std::future::ready(told)
    });
    Box::pin(told)
}

/// The error in words, without its URL, which may name what is nobody's business.
fn words(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    text
}
