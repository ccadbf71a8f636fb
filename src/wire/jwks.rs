//! The keys of the issuer whose tokens are taken: fetched where the configuration says, or where
//! the issuer's own discovery document does.
//!
//! The address in the configuration file is the operator's word and may be private. The one that a
//! discovery document names is somebody else's: on another host than the issuer's it is reached only
//! if it is public, and never without TLS where the issuer has it. Each question is bounded in time
//! and size; what the answer means is the connector's.

use async_trait::async_trait;
use serde_json::Value;
use url::Url;

use super::IssuerDocument;
use super::fetch::{self, Answer};
use super::reach::{self, Redirects};
use crate::domain::tools::reach::Reach;

/// Where an issuer says what it is.
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// Asks for an issuer's keys.
pub struct Jwks {
    issuer: String,
    /// Where the keys are, if that is configured.
    url: Option<Url>,
    /// For what the configuration names.
    trusted: reqwest::Client,
    /// For what a discovery document names.
    public: reqwest::Client,
}

impl Jwks {
    /// Of this issuer; at this address, or found by discovery.
    pub fn new(issuer: &str, url: Option<&str>) -> Result<Self, String> {
        let url = url.map(Url::parse).transpose();
        Ok(Self {
            issuer: issuer.to_owned(),
            url: url.map_err(|error| error.to_string())?,
            trusted: fetch::client().map_err(|error| error.to_string())?,
            public: reach::client(&Reach::public(), Redirects::Never)?,
        })
    }

    async fn discovered(&self) -> Result<Value, String> {
        let base = self.issuer.trim_end_matches('/');
        let address = format!("{base}{DISCOVERY}");
        let document = found(self.trusted.get(address)).await?;
        // Whoever answers for another issuer would have us take its keys for ours.
        if document.get("issuer").and_then(Value::as_str) != Some(&self.issuer) {
            return Err("its discovery document is another issuer's".to_owned());
        }
        let named = document.get("jwks_uri").and_then(Value::as_str);
        let named = named.and_then(|url| Url::parse(url).ok());
        let named = named.ok_or("its discovery document names no `jwks_uri`")?;
        let issuer = Url::parse(&self.issuer).map_err(|error| error.to_string())?;
        if named.origin() == issuer.origin() {
            return found(self.trusted.get(named)).await;
        }
        if named.scheme() != "https" {
            return Err("its keys are elsewhere and without TLS".to_owned());
        }
        reach::check(&Reach::public(), &named)?;
        found(self.public.get(named)).await
    }
}

#[async_trait]
impl IssuerDocument for Jwks {
    async fn keys(&self) -> Result<Value, String> {
        match &self.url {
            Some(url) => found(self.trusted.get(url.clone())).await,
            None => self.discovered().await,
        }
    }
}

async fn found(request: reqwest::RequestBuilder) -> Result<Value, String> {
    match fetch::ask(request).await? {
        Answer::Found(document) => Ok(document),
        Answer::NotFound => Err("it answered with status 404".to_owned()),
        Answer::Refused(status) => Err(format!("it answered with status {status}")),
    }
}
