//! An identity provider: signs what it is told to, and answers with its keys over HTTP.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RsaKeyPair,
};
use serde_json::{Value, json};

/// A key that only tests have.
const RSA: &str = include_str!("../fixtures/tokens/rsa_of_no_one.pk8.b64");

/// A signing key under a name.
pub enum Signer {
    Rsa(String, Box<RsaKeyPair>),
    P256(String, Box<EcdsaKeyPair>),
    Ed25519(String, Box<Ed25519KeyPair>),
}

impl Signer {
    pub fn rsa(kid: &str) -> Self {
        let der = STANDARD.decode(RSA.replace('\n', "")).unwrap();
        Self::Rsa(
            kid.to_owned(),
            Box::new(RsaKeyPair::from_pkcs8(&der).unwrap()),
        )
    }

    pub fn p256(kid: &str) -> Self {
        let random = SystemRandom::new();
        let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let der = EcdsaKeyPair::generate_pkcs8(kind, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(kind, der.as_ref(), &random).unwrap();
        Self::P256(kid.to_owned(), Box::new(pair))
    }

    pub fn ed25519(kid: &str) -> Self {
        let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap();
        Self::Ed25519(kid.to_owned(), Box::new(pair))
    }

    pub fn kid(&self) -> &str {
        match self {
            Self::Rsa(kid, _) | Self::P256(kid, _) | Self::Ed25519(kid, _) => kid,
        }
    }

    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Rsa(..) => "RS256",
            Self::P256(..) => "ES256",
            Self::Ed25519(..) => "EdDSA",
        }
    }

    /// Its public half, as issuers publish it.
    pub fn jwk(&self) -> Value {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Rsa(kid, pair) => {
                let public: PublicKeyComponents<Vec<u8>> = pair.public().into();
                json!({"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": text(&public.n), "e": text(&public.e)})
            }
            Self::P256(kid, pair) => {
                let point = pair.public_key().as_ref();
                json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": text(&point[1..33]), "y": text(&point[33..])})
            }
            Self::Ed25519(kid, pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": text(pair.public_key().as_ref())})
            }
        }
    }

    pub fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(_, pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .unwrap();
                signature
            }
            Self::P256(_, pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed25519(_, pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// A token with its usual header.
    pub fn token(&self, claims: &Value) -> String {
        let header = json!({"alg": self.algorithm(), "typ": "JWT", "kid": self.kid()});
        self.token_under(&header, claims)
    }

    /// A token with a header of one's choice.
    pub fn token_under(&self, header: &Value, claims: &Value) -> String {
        let signed = signed_part(header, claims);
        let signature = self.signature(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// What a signature is over.
pub fn signed_part(header: &Value, claims: &Value) -> String {
    let text = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", text(header), text(claims))
}

/// The provider's web server.
#[derive(Clone)]
pub struct Issuer {
    pub url: String,
    keys: Arc<Mutex<Vec<Value>>>,
    /// Instead of its own in the discovery document.
    named: Arc<Mutex<Option<String>>>,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    pub async fn start(signers: &[&Signer]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            keys: Arc::default(),
            named: Arc::default(),
            asked: Arc::default(),
        };
        issuer.publishes(signers);
        let app = Router::new()
            .route("/.well-known/openid-configuration", get(Self::discovery))
            .route("/keys", get(Self::told))
            .with_state(issuer.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        issuer
    }

    pub fn publishes(&self, signers: &[&Signer]) {
        *self.keys.lock().unwrap() = signers.iter().map(|signer| signer.jwk()).collect();
    }

    /// Puts another document in its place.
    pub fn publishes_also(&self, jwk: Value) {
        self.keys.lock().unwrap().push(jwk);
    }

    pub fn says_it_is(&self, issuer: &str) {
        *self.named.lock().unwrap() = Some(issuer.to_owned());
    }

    /// How often its keys were asked for.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    async fn discovery(State(issuer): State<Self>) -> Json<Value> {
        let named = issuer.named.lock().unwrap().clone();
        let url = &issuer.url;
        Json(json!({"issuer": named.unwrap_or(url.clone()), "jwks_uri": format!("{url}/keys")}))
    }

    async fn told(State(issuer): State<Self>) -> Json<Value> {
        issuer.asked.fetch_add(1, Ordering::SeqCst);
        Json(json!({"keys": *issuer.keys.lock().unwrap()}))
    }
}
