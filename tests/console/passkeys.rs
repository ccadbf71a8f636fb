//! Passkeys over HTTP, with an authenticator in software that does whatever an attacker wants.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hundi::domain::signed::{Known, Proof, matters};
use reqwest::StatusCode;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::visitor::{Page, Visitor, statement};
use super::{held, state};
use crate::support::server::Server;

/// Present and verified.
const VERIFIED: u8 = 0x05;

/// A passkey, and what it says of where it is.
struct Authenticator {
    pair: EcdsaKeyPair,
    id: Vec<u8>,
    counter: u32,
    flags: u8,
    origin: String,
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Authenticator {
    fn new(origin: &str) -> Self {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, made.as_ref(), &random);
        Self {
            pair: pair.unwrap(),
            id: b"an authenticator".to_vec(),
            counter: 0,
            flags: VERIFIED,
            origin: origin.to_owned(),
        }
    }

    fn client(&self, purpose: &str, challenge: &str) -> String {
        json!({"type": purpose, "challenge": challenge, "origin": self.origin, "crossOrigin": false})
            .to_string()
    }

    fn data(&mut self, more: u8, credential: &[u8]) -> Vec<u8> {
        self.counter += 1;
        let party = Sha256::digest(b"localhost");
        let counter = self.counter.to_be_bytes();
        [&party[..], &[self.flags | more], &counter, credential].concat()
    }

    fn registration(&mut self, challenge: &str) -> [(&'static str, String); 2] {
        let point = self.pair.public_key().as_ref().to_vec();
        let begin: &[u8] = &[0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20];
        let cose = [begin, &point[1..33], &[0x22, 0x58, 0x20], &point[33..]].concat();
        let length = u8::try_from(self.id.len()).unwrap();
        let credential = [&[0; 16][..], &[0, length], &self.id, &cose].concat();
        let data = self.data(0x40, &credential);
        let begin: &[u8] = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58";
        let object = [begin, &[u8::try_from(data.len()).unwrap()], &data].concat();
        let client = self.client("webauthn.create", challenge);
        [
            ("client_data", encode(client.as_bytes())),
            ("attestation", encode(&object)),
        ]
    }

    fn assertion(&mut self, challenge: &str) -> Vec<(&'static str, String)> {
        let client = self.client("webauthn.get", challenge);
        let data = self.data(0, &[]);
        let bytes = [&data[..], &Sha256::digest(client.as_bytes())].concat();
        let signature = self.pair.sign(&SystemRandom::new(), &bytes).unwrap();
        vec![
            ("assertion.credential_id", encode(&self.id)),
            ("assertion.client_data", encode(client.as_bytes())),
            ("assertion.authenticator_data", encode(&data)),
            ("assertion.signature", encode(signature.as_ref())),
        ]
    }
}

async fn register(visitor: &Visitor, passkey: &mut Authenticator) -> Page {
    let token = visitor.token("/console/me").await;
    let asked = visitor
        .post("/console/passkeys/challenge", &[("token", &token)])
        .await;
    let asked: Value = serde_json::from_str(&asked.text).expect(&asked.text);
    assert_eq!(asked["rp_id"], "localhost");
    let [client, object] = passkey.registration(asked["challenge"].as_str().unwrap());
    let fields = [
        ("token", token),
        ("name", "test".to_owned()),
        client,
        object,
    ];
    visitor.post_owned("/console/passkeys", &fields).await
}

/// What the page asks to be signed, and the fields of its form.
async fn asked(visitor: &Visitor, id: &str) -> (String, Vec<(&'static str, String)>) {
    asked_to(visitor, id, "approve_proposal").await
}

/// The same for either decision, each of which has a statement of its own.
async fn asked_to(visitor: &Visitor, id: &str, op: &str) -> (String, Vec<(&'static str, String)>) {
    let path = format!("/console/approvals/{id}");
    let page = visitor.get(&path).await.text;
    let (bytes, digest) = match op {
        "approve_proposal" => statement(&page),
        _ => {
            let place = page.find("data-refusal=").expect("a no can be signed");
            statement(&page[place..])
        }
    };
    let told: Value = serde_json::from_slice(&bytes).unwrap();
    let challenge = [b"hundi/approval/v1\0", &bytes[..]].concat();
    let challenge = encode(&Sha256::digest(&challenge));
    assert!(
        page.contains(&format!("data-challenge=\"{challenge}\"")),
        "what the script signs"
    );
    let fields = vec![
        ("op", op.to_owned()),
        ("token", visitor.token(&path).await),
        ("proposal_id", id.to_owned()),
        (
            "seen.asked_at",
            told["asked_at"].as_str().unwrap().to_owned(),
        ),
        ("seen.digest", digest),
    ];
    (challenge, fields)
}

async fn send(visitor: &Visitor, id: &str, fields: &[(&str, String)]) -> StatusCode {
    let path = format!("/console/approvals/{id}");
    visitor.post_owned(&path, fields).await.status
}

#[tokio::test]
async fn a_signed_decision_is_in_the_log_and_nothing_else_passes_for_one() {
    let server = Server::start().await;
    let visitor = Visitor::signed_in(&server).await;
    let mut passkey = Authenticator::new(visitor.origin());
    assert_eq!(
        register(&visitor, &mut passkey).await.status,
        StatusCode::SEE_OTHER
    );
    let id = held(&server, 5_000, "acct_1").await;
    let other = held(&server, 9_000, "acct_2").await;
    let (challenge, fields) = asked(&visitor, &id).await;
    let with = |assertion: Vec<(&'static str, String)>| [fields.clone(), assertion].concat();

    // Another statement, another page, nobody verified, another key: nothing was done.
    let (foreign, _) = asked(&visitor, &other).await;
    let mut attacks = vec![("another statement", passkey.assertion(&foreign))];
    passkey.origin = "https://evil.example".to_owned();
    attacks.push(("another page", passkey.assertion(&challenge)));
    passkey.origin = visitor.origin().to_owned();
    passkey.flags = 0x01;
    attacks.push(("nobody verified", passkey.assertion(&challenge)));
    passkey.flags = VERIFIED;
    let mut stranger = Authenticator::new(visitor.origin());
    attacks.push(("another key", stranger.assertion(&challenge)));
    stranger.id = b"nobody's".to_vec();
    attacks.push(("an unknown key", stranger.assertion(&challenge)));
    for (what, assertion) in attacks {
        assert_eq!(
            send(&visitor, &id, &with(assertion)).await,
            StatusCode::BAD_REQUEST,
            "{what}"
        );
        assert_eq!(state(&server, &id).await, "held", "{what}");
    }

    let good = with(passkey.assertion(&challenge));
    assert_eq!(send(&visitor, &id, &good).await, StatusCode::SEE_OTHER);
    assert_eq!(state(&server, &id).await, "allowed");
    // The same answer again, and for another.
    assert!(send(&visitor, &id, &good).await.is_client_error());
    let mut replay = asked(&visitor, &other).await.1;
    replay.extend(good[5..].iter().cloned());
    assert_eq!(
        send(&visitor, &other, &replay).await,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(state(&server, &other).await, "held");

    // A copy of the authenticator that lags behind.
    passkey.counter = 0;
    let (challenge, fields) = asked(&visitor, &other).await;
    let copied = [fields, passkey.assertion(&challenge)].concat();
    assert_eq!(
        send(&visitor, &other, &copied).await,
        StatusCode::BAD_REQUEST
    );

    let sent = server
        .http
        .get(format!("{}/v1/audit?proposal={id}", server.url));
    let sent = sent.bearer_auth(&server.admin_key).send().await.unwrap();
    let log: Value = sent.json().await.unwrap();
    let records = log["records"].as_array().unwrap();
    let approved = records
        .iter()
        .find(|record| record["kind"] == "approved")
        .unwrap();
    assert_eq!(hundi::domain::signed::check(approved), Ok(true));
    let signed = &approved["detail"]["signed"];
    let told: Value = serde_json::from_str(signed["statement"].as_str().unwrap()).unwrap();
    assert_eq!(told["arguments"], json!({"amount": 5_000, "to": "acct_1"}));
    // Whoever changes what was agreed to, or by whom, is found out.
    for (place, value) in [
        (
            "/detail/signed/statement",
            json!(
                signed["statement"]
                    .as_str()
                    .unwrap()
                    .replace("5000", "9000")
            ),
        ),
        ("/actor", json!("key:another")),
        ("/proposal_id", json!(other)),
        ("/detail/signed/origin", json!("https://evil.example")),
        ("/kind", json!("rejected")),
    ] {
        let mut forged = approved.clone();
        *forged.pointer_mut(place).unwrap() = value;
        assert!(hundi::domain::signed::check(&forged).is_err(), "{place}");
    }
}

#[tokio::test]
async fn where_a_passkey_is_required_nothing_else_decides() {
    let server = Server::start().await;
    let visitor = Visitor::signed_in(&server).await;
    let mut passkey = Authenticator::new(visitor.origin());
    register(&visitor, &mut passkey).await;
    let path = "/v1/agents/agent-1/policy";
    let rule = json!({"approval": {"passkey": "required"}});
    super::admin(&server, reqwest::Method::PATCH, path, rule).await;
    let id = held(&server, 5_000, "acct_1").await;
    // The same person, by a key, at the command line, and in a session without a passkey.
    let decide = async |id: &str, verb: &str| -> Value {
        let path = format!("{}/v1/proposals/{id}/{verb}", server.url);
        let sent = server.http.post(path).bearer_auth(&server.admin_key);
        let answer = sent.json(&json!({})).send().await.unwrap();
        answer.json().await.unwrap()
    };
    let answer = decide(&id, "approve").await;
    assert_eq!(answer["code"], "passkey_required", "{answer}");
    let told = server.failing_command(&["proposal", "approve", &id]);
    assert!(told.contains("passkey_required"), "{told}");
    // Nobody is kept from saying no, signed or not; and the page offers no yes that cannot count.
    let page = visitor.get(&format!("/console/approvals/{id}")).await.text;
    assert!(
        page.contains("Approve with passkey") && !page.contains(">Approve<"),
        "{page}"
    );
    assert!(
        page.contains("Reject with passkey") && page.contains(">Reject<"),
        "{page}"
    );
    let refused = held(&server, 6_000, "acct_2").await;
    assert_eq!(decide(&refused, "reject").await["state"], "rejected");
    let signed_no = held(&server, 7_000, "acct_3").await;
    let (challenge, fields) = asked_to(&visitor, &signed_no, "reject_proposal").await;
    let no = [fields, passkey.assertion(&challenge)].concat();
    assert_eq!(send(&visitor, &signed_no, &no).await, StatusCode::SEE_OTHER);
    assert_eq!(state(&server, &signed_no).await, "rejected");
    let (challenge, fields) = asked(&visitor, &id).await;
    assert!(send(&visitor, &id, &fields).await.is_client_error());
    assert_eq!(state(&server, &id).await, "held");
    let signed = [fields, passkey.assertion(&challenge)].concat();
    assert_eq!(send(&visitor, &id, &signed).await, StatusCode::SEE_OTHER);
    assert_eq!(state(&server, &id).await, "allowed");

    // The log tells whose passkey it was, and that it was used once.
    let sent = server
        .http
        .get(format!("{}/v1/audit?limit=200", server.url));
    let sent = sent.bearer_auth(&server.admin_key).send().await.unwrap();
    let log: Value = sent.json().await.unwrap();
    let of = |kind: &str| {
        let mut all = log["records"].as_array().unwrap().iter();
        all.find(|record| record["kind"] == kind).unwrap().clone()
    };
    let (added, approved) = (of("passkey_added"), of("approved"));
    let mut all = log["records"].as_array().unwrap().iter();
    let proposed = all.find(|record| {
        record["kind"] == "proposed" && record["proposal_id"] == approved["proposal_id"]
    });
    let proposed = proposed.unwrap().clone();
    let read = |records: &[&Value], whole: bool| {
        let mut known = Known::default();
        let read = records.iter().map(|record| known.check(record, whole));
        let mut read: Vec<_> = read.collect();
        let last = read.pop();
        assert!(read.iter().all(|said| *said == Ok(Proof::None)));
        last.unwrap()
    };
    assert_eq!(
        read(&[&proposed, &added, &approved], true),
        Ok(Proof::Signed)
    );
    for record in [&proposed, &added, &approved] {
        assert!(matters(&record.to_string()), "{record}");
    }
    assert_eq!(read(&[&approved], false), Ok(Proof::Unknown));
    assert!(
        read(&[&approved], true).is_err(),
        "the log never told of the passkey"
    );
    let mut known = Known::default();
    assert_eq!(known.check(&approved, false), Ok(Proof::Unknown));
    assert!(known.check(&approved, false).is_err(), "used twice");
    let mut another = added.clone();
    another["detail"]["public_key"] = json!("another");
    assert!(
        read(&[&another, &approved], true).is_err(),
        "somebody else's key"
    );
    // Whoever holds the key of the log can seal anything, but not make the passkey say it.
    for (pointer, said) in [
        ("/amount", json!(99_999_999)),
        ("/currency", json!("USD")),
        ("/tool_name", json!("noop")),
        ("/agent_id", json!("somebody-else")),
        ("/actor", json!("person:somebody")),
        ("/at", json!("2031-01-01T00:00:00Z")),
        ("/kind", json!("rejected")),
    ] {
        let mut forged = approved.clone();
        *forged.pointer_mut(pointer).unwrap() = said;
        assert!(read(&[&added, &forged], true).is_err(), "{pointer}");
    }
    for (pointer, said) in [
        ("/amount", json!(99_999_999)),
        ("/detail/args_hash", json!("0".repeat(64))),
        ("/tool_name", json!("noop")),
    ] {
        let mut forged = proposed.clone();
        *forged.pointer_mut(pointer).unwrap() = said;
        assert!(
            read(&[&forged, &added, &approved], true).is_err(),
            "{pointer} proposed"
        );
    }
    let mut plain = approved.clone();
    plain["detail"].as_object_mut().unwrap().remove("signed");
    assert_eq!(read(&[&plain], true), Ok(Proof::Unsigned));
}

#[tokio::test]
async fn a_passkey_signs_in_once_for_each_challenge() {
    let server = Server::start().await;
    let visitor = Visitor::signed_in(&server).await;
    let mut passkey = Authenticator::new(visitor.origin());
    passkey.flags = 0x01;
    assert_eq!(
        register(&visitor, &mut passkey).await.status,
        StatusCode::BAD_REQUEST
    );
    passkey.flags = VERIFIED;
    assert_eq!(
        register(&visitor, &mut passkey).await.status,
        StatusCode::SEE_OTHER
    );
    assert!(
        visitor
            .get("/console/me")
            .await
            .text
            .contains(&encode(&passkey.id))
    );
    let stranger = Visitor::new(&server);
    let challenge = || async {
        let asked = stranger.post("/console/sign-in/challenge", &[]).await;
        let asked: Value = serde_json::from_str(&asked.text).expect(&asked.text);
        asked["challenge"].as_str().unwrap().to_owned()
    };
    let enter = |assertion: Vec<(&'static str, String)>| {
        let stranger = &stranger;
        async move {
            stranger
                .post_owned("/console/sign-in/passkey", &assertion)
                .await
        }
    };
    let good = passkey.assertion(&challenge().await);
    let entered = enter(good.clone()).await;
    assert_eq!(entered.status, StatusCode::SEE_OTHER, "{}", entered.text);
    assert!(entered.cookie.unwrap().starts_with("__Host-hundi="));
    assert_eq!(enter(good).await.status, StatusCode::FORBIDDEN, "used up");
    let made_up = passkey.assertion(&encode(&[7; 32]));
    assert_eq!(enter(made_up).await.status, StatusCode::FORBIDDEN);
    passkey.origin = "http://localhost:1".to_owned();
    let elsewhere = passkey.assertion(&challenge().await);
    assert_eq!(enter(elsewhere).await.status, StatusCode::FORBIDDEN);
    let token = visitor.token("/console/me").await;
    let gone = [("token", token.as_str()), ("id", &encode(&passkey.id))];
    assert_eq!(
        visitor.post("/console/passkeys/remove", &gone).await.status,
        StatusCode::SEE_OTHER
    );
    passkey.origin = visitor.origin().to_owned();
    let removed = passkey.assertion(&challenge().await);
    assert_eq!(enter(removed).await.status, StatusCode::FORBIDDEN);
}
