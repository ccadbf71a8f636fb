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
use crate::domain::requests::sending::{Sending, Unanswered};
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

/// The real ones: a client for the public internet, and one for providers that may be at home.
pub struct Providers {
    public: (Reach, reqwest::Client),
    private: (Reach, reqwest::Client),
}

impl Providers {
    /// Both clients.
    pub fn new() -> Result<Self, String> {
        let anywhere = ["0.0.0.0/0", "::/0"];
        let networks = anywhere.iter().filter_map(|net| net.parse::<IpNet>().ok());
        let networks: Vec<IpNet> = networks.collect();
        let with = |reach: Reach| {
            let client = reach::client(&reach, Redirects::Never)?;
            Ok::<_, String>((reach, client))
        };
        Ok(Self {
            public: with(Reach::public())?,
            private: with(Reach::with_private(&networks))?,
        })
    }
}

#[async_trait]
impl Models for Providers {
    async fn send(&self, sending: &Sending, deadline: Duration) -> Result<Answering, Unanswered> {
        let (reach, client) = match sending.allow_private {
            true => &self.private,
            false => &self.public,
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
        let headers = answer.headers().iter();
        let headers = headers.filter_map(|(name, value)| {
            let value = value.to_str().ok()?.to_owned();
            Some((name.as_str().to_owned(), value))
        });
        Ok(Answering {
            status: answer.status().as_u16(),
            headers: headers.collect(),
            body: Box::pin(answer.bytes_stream().map(|chunk| chunk.map_err(words))),
        })
    }
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
