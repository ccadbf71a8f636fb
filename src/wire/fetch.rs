//! Asks a public service one question: bounded in time and size, no redirects, no retries.
//!
//! Whatever is not a plain JSON answer with status 200 is an error in words, and the words never
//! contain the URL, which may carry a key.

use std::time::Duration;

use serde_json::Value;

use crate::domain::strict;

/// A question takes no longer, all in all.
pub(super) const DEADLINE: Duration = Duration::from_secs(2);
/// Longest answer that is read: strict JSON's own bound.
const MAX_ANSWER: usize = strict::MAX_BYTES;

/// The client for such questions.
pub(super) fn client() -> Result<reqwest::Client, reqwest::Error> {
    // Installing it twice is no error: whoever came first chose the same one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(concat!("hundi/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .build()
}

/// What came back.
pub(super) enum Answer {
    /// Status 200 and JSON.
    Found(Value),
    /// Status 404.
    NotFound,
    /// Another 4xx: the service is well and did not like the question.
    Refused(u16),
}

/// Sends and reads the answer, or says what was wrong with it.
pub(super) async fn ask(request: reqwest::RequestBuilder) -> Result<Answer, String> {
    match tokio::time::timeout(DEADLINE, asked(request)).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} s", DEADLINE.as_secs())),
    }
}

async fn asked(request: reqwest::RequestBuilder) -> Result<Answer, String> {
    let mut response = request.send().await.map_err(why)?;
    match response.status().as_u16() {
        200 => {}
        404 => return Ok(Answer::NotFound),
        // Late, or too much: of these the service does have enough.
        status @ (408 | 425 | 429) => return Err(format!("it answered with status {status}")),
        status @ 400..=499 => return Ok(Answer::Refused(status)),
        status => return Err(format!("it answered with status {status}")),
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(why)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err(format!("its answer is longer than {MAX_ANSWER} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    let value = strict::parse(&body).map_err(|error| format!("its answer is no JSON: {error}"))?;
    Ok(Answer::Found(value))
}

fn why(error: reqwest::Error) -> String {
    error.without_url().to_string()
}
