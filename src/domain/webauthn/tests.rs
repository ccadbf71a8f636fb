//! An authenticator in software, and what must not hold.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand as chance;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;

const ORIGIN: &str = "https://pay.example.com";
const PARTY: &str = "pay.example.com";
const CHALLENGE: &[u8] = b"0123456789abcdef0123456789abcdef";

fn expected() -> Expected<'static> {
    Expected {
        origin: ORIGIN,
        party: PARTY,
        challenge: CHALLENGE,
    }
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn client(purpose: &str) -> Value {
    json!({"type": purpose, "challenge": encode(CHALLENGE), "origin": ORIGIN, "crossOrigin": false})
}

fn data(party: &str, flags: u8, counter: u32, credential: &[u8]) -> Vec<u8> {
    let party = Sha256::digest(party.as_bytes());
    [&party[..], &[flags], &counter.to_be_bytes(), credential].concat()
}

/// A key pair of P-256 and its COSE form.
fn p256() -> (EcdsaKeyPair, Vec<u8>) {
    let random = chance::SystemRandom::new();
    let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
    let pair =
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, made.as_ref(), &random).unwrap();
    let point = pair.public_key().as_ref();
    let begin: &[u8] = &[0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20];
    let cose = [begin, &point[1..33], &[0x22, 0x58, 0x20], &point[33..]].concat();
    (pair, cose)
}

fn signed(pair: &EcdsaKeyPair, client: &Value, data: &[u8]) -> Assertion {
    let client = client.to_string();
    let bytes = [data, &Sha256::digest(client.as_bytes())].concat();
    let signature = pair.sign(&chance::SystemRandom::new(), &bytes).unwrap();
    Assertion {
        credential_id: encode(b"id"),
        client_data: encode(client.as_bytes()),
        authenticator_data: encode(data),
        signature: encode(signature.as_ref()),
    }
}

#[test]
fn a_credential_is_made_and_signs() {
    let (pair, cose) = p256();
    let credential = [&[0; 16][..], &[0, 2], b"id", &cose].concat();
    let made = data(PARTY, 0x45, 1, &credential);
    let size = u8::try_from(made.len()).unwrap();
    let begin: &[u8] = b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58";
    let attestation = [begin, &[size], &made].concat();
    let registration = Registration {
        client_data: encode(client("webauthn.create").to_string().as_bytes()),
        attestation: encode(&attestation),
    };
    let credential = registration.check(expected()).unwrap();
    assert_eq!(
        (credential.id.as_str(), credential.counter),
        (&*encode(b"id"), 1)
    );
    assert_eq!(registration.challenge().as_deref(), Some(CHALLENGE));
    let assertion = signed(&pair, &client("webauthn.get"), &data(PARTY, 0x05, 2, &[]));
    let held = assertion.check(&credential.public_key, credential.counter, expected());
    assert_eq!(held, Ok(2));
    let other = Expected {
        challenge: b"another",
        ..expected()
    };
    assert_eq!(registration.check(other), Err(NotHeld::Challenge));
}

#[test]
#[rustfmt::skip]
fn what_is_not_exactly_this_does_not_hold() {
    let (pair, cose) = p256();
    let key = encode(&cose);
    let good = data(PARTY, 0x05, 5, &[]);
    let with = |name: &str, value: Value| {
        let mut told = client("webauthn.get");
        told[name] = value;
        signed(&pair, &told, &good).check(&key, 4, expected())
    };
    assert_eq!(with("more", json!(1)),                                     Ok(5));
    assert_eq!(with("type", json!("webauthn.create")),                     Err(NotHeld::Purpose));
    assert_eq!(with("challenge", json!(encode(b"other"))),                 Err(NotHeld::Challenge));
    assert_eq!(with("origin", json!("https://evil.example")),              Err(NotHeld::Origin));
    assert_eq!(with("origin", json!("http://pay.example.com")),            Err(NotHeld::Origin));
    assert_eq!(with("crossOrigin", json!(true)),                           Err(NotHeld::Origin));
    assert_eq!(with("topOrigin", json!("https://evil.example")),           Err(NotHeld::Origin));
    let of = |data: &[u8], counter| signed(&pair, &client("webauthn.get"), data).check(&key, counter, expected());
    assert_eq!(of(&data("evil.example", 0x05, 5, &[]), 4),                 Err(NotHeld::Party));
    assert_eq!(of(&data(PARTY, 0x01, 5, &[]), 4),                          Err(NotHeld::NotVerified));
    assert_eq!(of(&data(PARTY, 0x04, 5, &[]), 4),                          Err(NotHeld::NotVerified));
    assert_eq!(of(&good, 5),                                               Err(NotHeld::Counter));
    assert_eq!(of(&good, 9),                                               Err(NotHeld::Counter));
    assert_eq!(of(&data(PARTY, 0x05, 0, &[]), 3),                          Err(NotHeld::Counter));
    assert_eq!(of(&data(PARTY, 0x05, 0, &[]), 0),                          Ok(0));
    assert_eq!(of(&good[..36], 4),                                         Err(NotHeld::Unreadable("authenticator data")));
    let mut tampered = signed(&pair, &client("webauthn.get"), &good);
    tampered.authenticator_data = encode(&data(PARTY, 0x05, 6, &[]));
    assert_eq!(tampered.check(&key, 4, expected()),                        Err(NotHeld::Signature));
    let foreign = signed(&p256().0, &client("webauthn.get"), &good);
    assert_eq!(foreign.check(&key, 4, expected()),                         Err(NotHeld::Signature));
    let mut long = signed(&pair, &client("webauthn.get"), &good);
    long.signature = "A".repeat(MAX_FIELD + 1);
    assert_eq!(long.check(&key, 4, expected()),                            Err(NotHeld::Unreadable("signature")));
}

#[test]
fn keys_of_the_three_kinds_are_read_and_no_other() {
    let made = Ed25519KeyPair::generate_pkcs8(&chance::SystemRandom::new()).unwrap();
    let pair = Ed25519KeyPair::from_pkcs8(made.as_ref()).unwrap();
    let point = pair.public_key().as_ref();
    let begin: &[u8] = &[0xa4, 0x01, 0x01, 0x03, 0x27, 0x20, 0x06, 0x21, 0x58, 0x20];
    let key = CredentialKey::read(&[begin, point].concat()).unwrap();
    assert_eq!(key.verify(b"x", pair.sign(b"x").as_ref()), Ok(()));
    assert_eq!(
        key.verify(b"y", pair.sign(b"x").as_ref()),
        Err(NotHeld::Signature)
    );
    let rsa = [
        &[0xa4, 0x01, 0x03, 0x03, 0x39, 0x01, 0x00, 0x20, 0x41, 0x09][..],
        &[0x21, 0x43, 1, 0, 1],
    ]
    .concat();
    assert!(matches!(
        CredentialKey::read(&rsa),
        Ok(CredentialKey::Rsa(..))
    ));
    let weak = CredentialKey::read(&rsa).unwrap();
    assert_eq!(
        weak.verify(b"x", b"y"),
        Err(NotHeld::Signature),
        "a modulus of 8 bits"
    );
    // ES384 on its own curve; EdDSA said of a point of P-256.
    for other in [
        &[0xa3, 0x01, 0x02, 0x03, 0x38, 0x22, 0x20, 0x02][..],
        &[0xa3, 0x01, 0x02, 0x03, 0x27, 0x20, 0x01],
    ] {
        assert_eq!(CredentialKey::read(other), Err(NotHeld::Algorithm));
    }
}
