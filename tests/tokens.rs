//! Bearer tokens of an identity provider: taken in place of keys, and every way to forge one.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::BodyExt;
use hundi::broker::access::people::NewPerson;
use hundi::broker::{Settings, Trouble};
use hundi::connector::jwt::Expected;
use hundi::domain::policy::Policy;
use hundi::domain::principal::Role;
use hundi::domain::proposal::State;
use hundi::entry::http::{HttpOptions, router};
use hundi::wire::jwks::Jwks;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::house::{House, Plan, START, person};
use crate::support::issuer::{Issuer, Signer, signed_part};

const AUDIENCE: &str = "hundi";

/// A broker that takes one issuer's tokens.
struct Desk {
    house: House,
    door: Router,
    issuer: Issuer,
}

/// What is configured besides issuer and audience.
fn claims_named() -> Expected {
    Expected {
        org_claim: Some("org".to_owned()),
        roles_claim: Some("realm_access.roles".to_owned()),
        agent_claim: Some("agent".to_owned()),
        ..Expected::default()
    }
}

impl Desk {
    async fn new(signers: &[&Signer]) -> Self {
        Self::with(signers, Expected::default(), false).await
    }

    async fn with(signers: &[&Signer], expected: Expected, discovers: bool) -> Self {
        let issuer = Issuer::start(signers).await;
        let expected = Expected {
            issuer: issuer.url.clone(),
            audience: AUDIENCE.to_owned(),
            ..expected
        };
        let keys = format!("{}/keys", issuer.url);
        let jwks = Jwks::new(&issuer.url, (!discovers).then_some(keys.as_str())).unwrap();
        let plan = Plan {
            settings: Settings {
                jwt: Some(expected),
                ..Settings::default()
            },
            issuer: Some(Arc::new(jwks)),
            ..Plan::default()
        };
        let house = House::with(plan).await;
        let door = router(house.broker.clone(), HttpOptions::default());
        Self {
            house,
            door,
            issuer,
        }
    }

    /// The claims of an agent whom everything is right about.
    fn claims(&self) -> Value {
        let now = START.secs();
        json!({"iss": self.issuer.url, "aud": AUDIENCE, "sub": "payer", "iat": now, "exp": now + 300})
    }

    fn changed(&self, field: &str, value: Value) -> Value {
        let mut claims = self.claims();
        match value.is_null() {
            true => drop(claims.as_object_mut().unwrap().remove(field)),
            false => claims[field] = value,
        }
        claims
    }

    async fn ask(&self, path: &str, bearer: &str) -> (u16, Vec<u8>) {
        let request = Request::get(path).header("authorization", format!("Bearer {bearer}"));
        let request = request.body(Body::empty()).unwrap();
        let answer = self.door.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        (status, bytes.to_vec())
    }

    async fn opens(&self, bearer: &str) -> bool {
        let (status, bytes) = self.ask("/v1/proposals", bearer).await;
        let told: Value = serde_json::from_slice(&bytes).unwrap();
        match status {
            200 => true,
            401 => {
                assert_eq!(told["code"], "unauthenticated", "{told}");
                assert!(
                    !told.to_string().contains("claim"),
                    "outside nobody is told why: {told}"
                );
                false
            }
            other => panic!("{other}: {told}"),
        }
    }
}

#[tokio::test]
async fn each_algorithm_opens_by_the_key_that_has_it() {
    let signers = [Signer::rsa("r"), Signer::p256("e"), Signer::ed25519("d")];
    let desk = Desk::new(&signers.each_ref()).await;
    for signer in &signers {
        let token = signer.token(&desk.claims());
        assert!(desk.opens(&token).await, "{}", signer.algorithm());
        let who = desk.house.broker.access.authenticate(&token).await.unwrap();
        assert_eq!(
            (who.id.as_str(), who.roles),
            ("jwt:payer", Role::Agent.into())
        );
        assert_eq!(who.agent.unwrap().as_str(), "payer");
    }
    assert_eq!(desk.issuer.asked(), 1, "its keys are kept");
}

#[tokio::test]
async fn keys_are_found_by_discovery_and_only_the_issuers_own() {
    let signer = Signer::p256("e");
    let desk = Desk::with(&[&signer], Expected::default(), true).await;
    assert!(desk.opens(&signer.token(&desk.claims())).await);
    let desk = Desk::with(&[&signer], Expected::default(), true).await;
    desk.issuer.says_it_is("https://somebody.else.example");
    assert!(!desk.opens(&signer.token(&desk.claims())).await);
}

#[tokio::test]
async fn no_header_chooses_how_a_signature_is_checked() {
    let (rsa, p256, ed25519) = (Signer::rsa("r"), Signer::p256("e"), Signer::ed25519("d"));
    let desk = Desk::new(&[&rsa, &p256, &ed25519]).await;
    desk.issuer.publishes_also(
        json!({"kty": "oct", "kid": "o", "alg": "HS256", "k": "c2VjcmV0c2VjcmV0c2VjcmV0"}),
    );
    let claims = desk.claims();
    assert!(desk.opens(&rsa.token(&claims)).await);
    let with = |alg: &str, kid: &str| json!({"alg": alg, "kid": kid});
    // Unsigned, in every spelling.
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let signed = signed_part(&with(alg, "r"), &claims);
        for signature in ["", "AA"] {
            assert!(
                !desk.opens(&format!("{signed}.{signature}")).await,
                "{alg:?}"
            );
        }
    }
    // The public key as a shared secret.
    let public = rsa.jwk().to_string();
    for (alg, kid) in [("HS256", "r"), ("HS256", "o"), ("HS512", "e")] {
        let signed = signed_part(&with(alg, kid), &claims);
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, public.as_bytes());
        let mac = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, signed.as_bytes()));
        assert!(!desk.opens(&format!("{signed}.{mac}")).await, "{alg} {kid}");
    }
}

#[tokio::test]
async fn another_key_or_algorithm_than_the_one_that_is_named_opens_nothing() {
    let (rsa, p256) = (Signer::rsa("r"), Signer::p256("e"));
    let desk = Desk::new(&[&rsa, &p256]).await;
    let claims = desk.claims();
    let stranger = Signer::p256("e");
    assert!(
        !desk.opens(&stranger.token(&claims)).await,
        "a key of the same name"
    );
    let crossed = json!({"alg": "ES256", "kid": "r"});
    assert!(!desk.opens(&p256.token_under(&crossed, &claims)).await);
    let crossed = json!({"alg": "RS256", "kid": "e"});
    assert!(!desk.opens(&rsa.token_under(&crossed, &claims)).await);
    let nameless = json!({"alg": "ES256"});
    assert!(
        !desk.opens(&p256.token_under(&nameless, &claims)).await,
        "which of two?"
    );
    let alone = Desk::new(&[&p256]).await;
    assert!(
        alone
            .opens(&p256.token_under(&nameless, &alone.claims()))
            .await,
        "the only one"
    );
}

#[tokio::test]
async fn a_key_inside_the_token_and_what_we_do_not_know_open_nothing() {
    let (ours, theirs) = (Signer::p256("e"), Signer::p256("e"));
    let desk = Desk::new(&[&ours]).await;
    let claims = desk.claims();
    let base = json!({"alg": "ES256", "kid": "e"});
    let header = |field: &str, value: Value| {
        let mut header = base.clone();
        header[field] = value;
        header
    };
    for header in [
        header("jwk", theirs.jwk()),
        header("jku", json!("https://attacker.example/keys")),
        header("x5u", json!("https://attacker.example/cert")),
    ] {
        assert!(
            !desk.opens(&theirs.token_under(&header, &claims)).await,
            "{header}"
        );
    }
    for header in [
        header("crit", json!(["b64"])),
        header("crit", json!([])),
        header("typ", json!("logout+jwt")),
        header("typ", json!("dpop+jwt")),
        header("typ", json!(1)),
        header("kid", json!(1)),
    ] {
        assert!(
            !desk.opens(&ours.token_under(&header, &claims)).await,
            "{header}"
        );
    }
    for kind in ["JWT", "jwt", "at+jwt", "application/at+jwt"] {
        let header = header("typ", json!(kind));
        assert!(
            desk.opens(&ours.token_under(&header, &claims)).await,
            "{kind}"
        );
    }
}

#[tokio::test]
async fn a_token_has_one_spelling() {
    let signer = Signer::ed25519("d");
    let desk = Desk::new(&[&signer]).await;
    let good = signer.token(&desk.claims());
    assert!(desk.opens(&good).await);
    let parts: Vec<&str> = good.split('.').collect();
    let flipped = |part: &str| match part.strip_suffix('A') {
        Some(rest) => format!("{rest}B"),
        None => format!("{}A", &part[..part.len() - 1]),
    };
    let twice = URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","alg":"none","kid":"d"}"#);
    for bad in [
        format!("{good}="),
        format!("{good}."),
        format!(".{good}"),
        format!("{}..{}", parts[0], parts[2]),
        format!("{}.{}.{}", parts[0], parts[1], flipped(parts[2])),
        format!("{}.{}.{}", parts[0], flipped(parts[1]), parts[2]),
        format!("{twice}.{}.{}", parts[1], parts[2]),
        format!("{}.{}", parts[0], parts[1]),
        "..".to_owned(),
        format!("{}.{}.{}", parts[0], parts[1], "A".repeat(20_000)),
    ] {
        assert!(!desk.opens(&bad).await, "{:.80}", bad);
    }
}

#[tokio::test]
#[rustfmt::skip]
async fn who_when_and_for_whom_have_to_be_right() {
    let signer = Signer::p256("e");
    let desk = Desk::new(&[&signer]).await;
    let (now, url) = (START.secs(), desk.issuer.url.clone());
    let cases = [
        ("iss", json!("https://somebody.else.example"), false),
        ("iss", json!(format!("{url}/")),               false),
        ("iss", json!([url.clone()]),                   false),
        ("iss", Value::Null,                            false),
        ("aud", json!("another"),                       false),
        ("aud", json!(["another", AUDIENCE]),           true),
        ("aud", json!(["another"]),                     false),
        ("aud", json!([]),                              false),
        ("aud", json!({"hundi": true}),                 false),
        ("aud", Value::Null,                            false),
        ("exp", json!(now - 59),                        true),
        ("exp", json!(now - 60),                        false),
        ("exp", json!(now as f64 + 0.5),                true),
        ("exp", json!("never"),                         false),
        ("exp", Value::Null,                            false),
        ("nbf", json!(now + 60),                        true),
        ("nbf", json!(now + 61),                        false),
        ("iat", json!(now + 61),                        false),
        ("iat", Value::Null,                            true),
        ("sub", json!(""),                              false),
        ("sub", json!("auth0|123"),                     false),
        ("sub", json!("x".repeat(201)),                 false),
        ("sub", json!("pay\u{202e}er"),                 false),
        ("sub", json!("hundi"),                         false),
        ("sub", json!("external"),                      false),
        ("sub", Value::Null,                            false),
    ];
    for (field, value, fits) in cases {
        let claims = desk.changed(field, value.clone());
        assert_eq!(desk.opens(&signer.token(&claims)).await, fits, "{field}: {value}");
    }
}

#[tokio::test]
#[rustfmt::skip]
async fn every_claim_that_is_configured_is_needed() {
    let signer = Signer::p256("e");
    let desk = Desk::with(&[&signer], claims_named(), false).await;
    let boss = person(Role::Admin);
    desk.house.broker.access.create_org(&boss, "acme").await.unwrap();
    let full = |changes: Value| {
        let mut claims = desk.claims();
        claims["org"] = json!("acme");
        claims["agent"] = json!("reconciler");
        claims["realm_access"] = json!({"roles": ["offline_access", "agent"]});
        for (field, value) in changes.as_object().unwrap() {
            match value.is_null() {
                true => drop(claims.as_object_mut().unwrap().remove(field)),
                false => claims[field] = value.clone(),
            }
        }
        signer.token(&claims)
    };
    let roles = |roles: Value| json!({"realm_access": {"roles": roles}});
    let cases = [
        (json!({}),                                     true),
        (json!({"org": null}),                          false),
        (json!({"org": "nowhere"}),                     false),
        (json!({"org": "no such/org"}),                 false),
        (json!({"org": ["acme"]}),                      false),
        (json!({"org": "default"}),                     true),
        (json!({"agent": null}),                        false),
        (json!({"agent": "a b"}),                       false),
        (json!({"realm_access": null}),                 false),
        (json!({"realm_access": {}}),                   false),
        (roles(json!([])),                              false),
        (roles(json!(["offline_access"])),              false),
        (roles(json!({"agent": true})),                 false),
        (roles(json!("auditor developer")),             true),
        (roles(json!(["agent", "approver"])),           false),
        (roles(json!(["agent", "admin"])),              false),
        (roles(json!(["developer", "steward"])),        true),
    ];
    for (changes, fits) in cases {
        assert_eq!(desk.opens(&full(changes.clone())).await, fits, "{changes}");
    }
    let access = &desk.house.broker.access;
    let agent = access.authenticate(&full(json!({}))).await.unwrap();
    assert_eq!((agent.org.as_str(), agent.agent.unwrap().as_str()), ("acme", "reconciler"));
    let developer = access.authenticate(&full(roles(json!(["developer"])))).await.unwrap();
    assert_eq!((developer.roles, developer.agent), (Role::Developer.into(), None));
}

#[tokio::test]
async fn a_rotated_key_is_found_and_the_old_one_ends() {
    let (old, new) = (Signer::p256("1"), Signer::ed25519("2"));
    let desk = Desk::new(&[&old]).await;
    let claims = desk.claims();
    assert!(desk.opens(&old.token(&claims)).await);
    assert!(!desk.opens(&new.token(&claims)).await);
    desk.issuer.publishes(&[&new]);
    assert!(desk.opens(&new.token(&claims)).await);
    assert!(
        !desk.opens(&old.token(&claims)).await,
        "it is not published any more"
    );
}

#[tokio::test]
async fn made_up_key_names_do_not_flood_the_issuer() {
    let signer = Signer::p256("e");
    let desk = Desk::new(&[&signer]).await;
    let claims = desk.claims();
    assert!(desk.opens(&signer.token(&claims)).await);
    for number in 0..40 {
        let header = json!({"alg": "ES256", "kid": format!("made-up-{number}")});
        assert!(!desk.opens(&signer.token_under(&header, &claims)).await);
    }
    assert!(desk.issuer.asked() <= 6, "{}", desk.issuer.asked());
    assert!(desk.opens(&signer.token(&claims)).await, "true ones go on");
}

#[tokio::test]
async fn without_an_issuer_no_token_opens_and_keys_do_as_ever() {
    let signer = Signer::p256("e");
    let desk = Desk::new(&[&signer]).await;
    let house = House::new().await;
    let token = signer.token(&desk.claims());
    let refused = house.broker.access.authenticate(&token).await;
    assert_eq!(refused.unwrap_err().code(), "unauthenticated");
    let boss = person(Role::Admin);
    let made = desk
        .house
        .broker
        .access
        .create_key(&boss, Role::Auditor, "eve", None);
    assert!(desk.opens(&made.await.unwrap().1).await);
}

/// Who decides by token and by key is one person, if the issuer names them by the address that they
/// have here; whom it names otherwise is nobody, and where two have to agree, nobody does not count.
#[tokio::test]
async fn a_token_is_that_of_the_person_whom_it_names() {
    let signer = Signer::ed25519("d");
    let expected = Expected {
        roles_claim: Some("roles".to_owned()),
        ..Expected::default()
    };
    let desk = Desk::with(&[&signer], expected, false).await;
    let access = &desk.house.broker.access;
    let admin = person(Role::Admin);
    let mut made = Vec::new();
    for (name, email) in [
        ("Asha", "asha@acme.example"),
        ("Bala", "bala@acme.example"),
        ("Twin", "twins@acme.example"),
        ("Other Twin", "Twins@acme.example"),
    ] {
        let new = NewPerson {
            name: name.to_owned(),
            email: Some(email.to_owned()),
            roles: Role::Approver.into(),
            slack_user: None,
        };
        made.push(access.create_person(&admin, new).await.unwrap().id);
    }
    let claims = |more: Value| {
        let mut claims = desk.changed("roles", json!(["approver"]));
        claims
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        signer.token(&claims)
    };
    let who = async |more: Value| {
        let who = access.authenticate(&claims(more)).await.unwrap();
        who.person
    };
    let [asha, bala] = [Some(made[0].clone()), Some(made[1].clone())];
    assert_eq!(who(json!({"email": "ASHA@acme.example"})).await, asha);
    let vouched = json!({"email": "bala@acme.example", "email_verified": true});
    assert_eq!(who(vouched).await, bala);
    for nobody in [
        json!({}),
        json!({"email": "eve@evil.example"}),
        json!({"email": "bala@acme.example", "email_verified": false}),
        json!({"email": ["bala@acme.example"]}),
        json!({"email": "twins@acme.example"}),
        json!({"sub": "bala@acme.example"}),
    ] {
        assert_eq!(who(nobody.clone()).await, None, "{nobody}");
    }
    // The very person, by token and otherwise: one of two.
    let policy = Policy {
        require_approval_above: Some(1_000),
        daily_limit: Some(2_000_000),
        approvals_needed: 2,
        ..Policy::default()
    };
    desk.house.policy("agent-1", &policy).await;
    let held = desk.house.transfer("agent-1", 5_000).await.proposal.id();
    let pay = &desk.house.broker.pay;
    let by = async |more: Value| {
        let who = access.authenticate(&claims(more)).await.unwrap();
        pay.approve(&who, held).await
    };
    assert!(by(json!({"email": "eve@evil.example"})).await.is_err());
    by(json!({"email": "asha@acme.example"})).await.unwrap();
    let again = json!({"email": "asha@acme.example", "sub": "another-name"});
    let again = by(again).await;
    assert!(again.is_err_and(|trouble| matches!(trouble, Trouble::ApprovedAlready(_))));
    let second = json!({"email": "bala@acme.example", "sub": "bala"});
    let second = by(second).await.unwrap();
    assert_eq!(second.proposal.state, State::Allowed);

    // Another subject of the same person is the same person: their agent's payment is not theirs to
    // approve.
    let policy = Policy {
        approvals_needed: 1,
        ..policy
    };
    desk.house.policy("agent-1", &policy).await;
    let as_agent = json!({
        "sub": "agent-1", "roles": ["agent"], "email": "bala@acme.example", "email_verified": true,
    });
    let agent = access.authenticate(&claims(as_agent)).await.unwrap();
    let request = hundi::broker::ProposeRequest {
        tool: "transfer_funds".to_owned(),
        arguments: json!({"amount": 5_000, "to": "acct_123"}),
        ..Default::default()
    };
    let held = pay.propose(&agent, request).await.unwrap().proposal;
    assert_eq!(held.state, State::Held);
    let bala = json!({"email": "bala@acme.example", "sub": "bala"});
    let bala = access.authenticate(&claims(bala)).await.unwrap();
    let own = pay.approve(&bala, held.id()).await;
    assert_eq!(own.unwrap_err().code(), "self_approval");
    // A token that names one of ours may at most what they may, whatever the issuer says; and one
    // that names somebody who was removed opens nothing.
    let asha = json!({"email": "asha@acme.example", "roles": ["admin", "approver"]});
    let who = access.authenticate(&claims(asha.clone())).await.unwrap();
    assert_eq!(who.roles, Role::Approver.into());
    access.remove_person(&admin, "Asha").await.unwrap();
    let gone = access.authenticate(&claims(asha)).await;
    assert_eq!(gone.unwrap_err().code(), "unauthenticated");
}
