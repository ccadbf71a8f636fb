//! A browser without a screen: it keeps the session's cookie, and says where its forms come from.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::header::HeaderMap;
use reqwest::{Client, Method, StatusCode, redirect};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::server::Server;

/// Every page that needs no name in its address.
pub const PAGES: [&str; 19] = [
    "/console",
    "/console/approvals",
    "/console/proposals",
    "/console/agents",
    "/console/agents/agent-1",
    "/console/tools",
    "/console/tools/new",
    "/console/servers",
    "/console/servers/new",
    "/console/requests",
    "/console/providers",
    "/console/usage",
    "/console/sources",
    "/console/access",
    "/console/audit",
    "/console/keys",
    "/console/people",
    "/console/me",
    "/console/settings",
];

pub struct Visitor {
    origin: String,
    link: String,
    cookie: Option<String>,
    http: Client,
}

/// An answer, read.
pub struct Page {
    pub status: StatusCode,
    pub text: String,
    pub location: String,
    pub cookie: Option<String>,
    headers: HeaderMap,
}

impl Page {
    pub fn header(&self, name: &str) -> String {
        let value = self.headers.get(name);
        value.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
    }
}

impl Visitor {
    pub fn new(server: &Server) -> Self {
        let kept = std::fs::read(server.dir.path().join("keys.json")).unwrap();
        let kept: Value = serde_json::from_slice(&kept).unwrap();
        let link = kept["console_link"].as_str().unwrap();
        let (origin, path) = link.split_once("/console").unwrap();
        Self {
            origin: origin.to_owned(),
            link: format!("/console{path}"),
            cookie: None,
            http: Self::unredirected(),
        }
    }

    pub fn with_cookie(server: &Server, session: &str) -> Self {
        Self {
            cookie: Some(format!("__Host-hundi={session}")),
            ..Self::new(server)
        }
    }

    /// Whoever the first start's link is for.
    pub async fn signed_in(server: &Server) -> Self {
        Self::new(server).inside().await
    }

    /// Whoever this link is for.
    pub async fn by(server: &Server, link: &str) -> Self {
        let mut visitor = Self::new(server);
        visitor.link = link.strip_prefix(&visitor.origin).unwrap().to_owned();
        visitor.inside().await
    }

    async fn inside(self) -> Self {
        let mut visitor = self;
        let entered = visitor.enter().await;
        let cookie = entered.cookie.expect(&entered.text);
        visitor.cookie = Some(cookie.split(';').next().unwrap().to_owned());
        visitor
    }

    pub fn unredirected() -> Client {
        // Fails only if a provider is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none());
        client.build().unwrap()
    }

    pub fn origin(&self) -> &str {
        &self.origin
    }

    pub fn link(&self) -> String {
        self.link.clone()
    }

    pub async fn enter(&self) -> Page {
        let link = self.link.split_once("link=").unwrap().1.to_owned();
        self.post("/console/sign-in", &[("link", &link)]).await
    }

    pub async fn get(&self, path: &str) -> Page {
        self.send(Method::GET, path, None, &[]).await
    }

    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        self.post_from("same-origin", path, fields).await
    }

    pub async fn post_owned(&self, path: &str, fields: &[(&str, String)]) -> Page {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
        self.post(path, &fields).await
    }

    pub async fn post_from(&self, site: &str, path: &str, fields: &[(&str, &str)]) -> Page {
        self.send(Method::POST, path, Some(site), fields).await
    }

    /// What the forms of this page carry.
    pub async fn token(&self, path: &str) -> String {
        let page = self.get(path).await.text;
        let rest = page.split("name=\"token\" value=\"").nth(1).expect(&page);
        rest.split('"').next().unwrap().to_owned()
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        site: Option<&str>,
        fields: &[(&str, &str)],
    ) -> Page {
        let mut request = self.http.request(method, format!("{}{path}", self.origin));
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie);
        }
        if let Some(site) = site {
            let mut body = url::form_urlencoded::Serializer::new(String::new());
            body.extend_pairs(fields);
            request = request
                .header("sec-fetch-site", site)
                .header("origin", &self.origin)
                .header("content-type", "application/x-www-form-urlencoded")
                .body(body.finish());
        }
        let answer = request.send().await.unwrap();
        let headers = answer.headers().clone();
        let text = |name: &str| {
            headers
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        Page {
            status: answer.status(),
            location: text("location").unwrap_or_default(),
            cookie: text("set-cookie"),
            text: answer.text().await.unwrap(),
            headers,
        }
    }
}

/// The exact bytes that an approval shows, and their digest.
pub fn statement(page: &str) -> (Vec<u8>, String) {
    let attribute = |name: &str| {
        let rest = page.split(&format!("{name}=\"")).nth(1).unwrap();
        rest.split('"').next().unwrap().to_owned()
    };
    let bytes = URL_SAFE_NO_PAD.decode(attribute("data-statement")).unwrap();
    (bytes, attribute("data-digest"))
}

pub fn sha256(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}
