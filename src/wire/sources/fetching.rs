//! A description of an API, fetched once: through the same checks of addresses as its calls, without
//! credentials, and to a bound.

use std::time::Duration;

use tokio::time::timeout;
use url::Url;

use crate::domain::tools::reach::Reach;
use crate::wire::FetchTrouble;
use crate::wire::reach::{self, Redirects};

/// Longest description that is read.
const MOST: usize = 16 * 1024 * 1024;

pub(super) async fn fetch(
    reach: &Reach,
    url: &str,
    deadline: Duration,
) -> Result<String, FetchTrouble> {
    let refused = |why: &str| FetchTrouble::refused(why);
    let url = Url::parse(url).map_err(|_| refused("is no address"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(refused(
            "must begin with http:// or https:// and name a host",
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused("must not carry a name or password"));
    }
    reach::check(reach, &url).map_err(|why| refused(&why))?;
    let client = reach::client(reach, Redirects::WithinOrigin).map_err(FetchTrouble::failed)?;
    match timeout(deadline, read(client, url)).await {
        Ok(done) => done.map_err(FetchTrouble::failed),
        Err(_) => Err(FetchTrouble::failed(
            "no whole answer came in time".to_owned(),
        )),
    }
}

async fn read(client: reqwest::Client, url: Url) -> Result<String, String> {
    let words = |error: reqwest::Error| reach::words(error);
    let mut response = client.get(url).send().await.map_err(words)?;
    let status = response.status();
    if !status.is_success() {
        return Err(format!("it was answered with HTTP {}", status.as_u16()));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(words)? {
        if bytes.len() + chunk.len() > MOST {
            return Err(format!("it is longer than {MOST} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| "it is no text".to_owned())
}
