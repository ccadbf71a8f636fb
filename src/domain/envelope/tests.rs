//! Envelopes that open here, and that open nowhere else.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const SECRET: &[u8] = b"{\"password\":\"canary-4711\"}";

fn org(name: &str) -> OrgId {
    name.parse().unwrap()
}

fn masters(fills: &[u8]) -> Masters {
    let key = |fill: &u8| MasterKey::new(format!("m{fill}"), &[*fill; 32]);
    Masters::new(fills.iter().map(key).collect())
}

fn random(fill: u8) -> Zeroizing<[u8; SEAL_RANDOM]> {
    Zeroizing::new(std::array::from_fn(|at| fill ^ u8::try_from(at).unwrap()))
}

fn place(org: &OrgId) -> Place<'_> {
    Place {
        org,
        kind: "source",
        name: "crm",
        version: 1,
    }
}

#[test]
fn what_was_sealed_opens_here_and_nowhere_else() {
    let (acme, other) = (org("acme"), org("other"));
    let here = place(&acme);
    let envelope = seal(&masters(&[1]), &here, SECRET, &random(1)).unwrap();
    assert_eq!(
        open(&masters(&[1]), &here, &envelope).unwrap().as_slice(),
        SECRET
    );
    let elsewhere = [
        Place {
            org: &other,
            ..here
        },
        Place {
            kind: "provider",
            ..here
        },
        Place {
            name: "crn",
            ..here
        },
        Place { version: 2, ..here },
        // The same letters, cut elsewhere.
        Place {
            kind: "sourcec",
            name: "rm",
            ..here
        },
    ];
    for place in elsewhere {
        let damaged = EnvelopeError::Damaged {
            key: "m1".to_owned(),
        };
        assert_eq!(
            open(&masters(&[1]), &place, &envelope),
            Err(damaged.clone()),
            "{place:?}"
        );
        let moved = rewrap(&masters(&[2, 1]), &place, &envelope, &[0; REWRAP_RANDOM]);
        assert_eq!(moved, Err(damaged), "{place:?}");
    }
}

#[test]
fn the_master_key_that_is_missing_is_named() {
    let acme = org("acme");
    let envelope = seal(&masters(&[1]), &place(&acme), SECRET, &random(1)).unwrap();
    let refused = open(&masters(&[2, 3]), &place(&acme), &envelope)
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("master key m1") && refused.contains("m2, m3"),
        "{refused}"
    );
    let nothing = Masters::new(Vec::new());
    let refused = open(&nothing, &place(&acme), &envelope)
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("master key m1") && refused.contains("none here"),
        "{refused}"
    );
    let refused = seal(&nothing, &place(&acme), SECRET, &random(1));
    assert_eq!(refused, Err(EnvelopeError::NoMaster));
    // Another key under the same name is no key for it.
    let impostor = Masters::new(vec![MasterKey::new("m1", &[9; 32])]);
    let refused = open(&impostor, &place(&acme), &envelope);
    assert_eq!(
        refused,
        Err(EnvelopeError::Damaged {
            key: "m1".to_owned()
        })
    );
}

#[test]
fn a_new_master_key_takes_over_without_touching_the_secret() {
    let acme = org("acme");
    let here = place(&acme);
    let old = seal(&masters(&[1]), &here, SECRET, &random(1)).unwrap();
    let both = masters(&[2, 1]);
    assert_eq!(open(&both, &here, &old).unwrap().as_slice(), SECRET);
    let new = rewrap(&both, &here, &old, &[7; REWRAP_RANDOM])
        .unwrap()
        .unwrap();
    assert!(new.master() == "m2" && new.secret == old.secret);
    assert_eq!(
        open(&masters(&[2]), &here, &new).unwrap().as_slice(),
        SECRET
    );
    assert_eq!(rewrap(&both, &here, &new, &[8; REWRAP_RANDOM]), Ok(None));
    assert!(matches!(
        rewrap(&masters(&[2]), &here, &old, &[7; REWRAP_RANDOM]),
        Err(EnvelopeError::Wanted { key, .. }) if key == "m1"
    ));
    // The name of the key cannot be put in another's place.
    let renamed = Envelope {
        master: "m2".to_owned(),
        ..old
    };
    assert!(matches!(
        open(&both, &here, &renamed),
        Err(EnvelopeError::Damaged { .. })
    ));
}

#[test]
fn an_envelope_shows_nothing_and_reads_back() {
    let acme = org("acme");
    let envelope = seal(&masters(&[1]), &place(&acme), SECRET, &random(1)).unwrap();
    let stored = json!(envelope);
    let shown = format!("{stored} {envelope:?}");
    let plain = URL_SAFE_NO_PAD.encode(SECRET);
    let data_key = URL_SAFE_NO_PAD.encode(&random(1)[..KEY_BYTES]);
    for hidden in ["canary", "4711", &plain[..30], &data_key[..40]] {
        assert!(!shown.contains(hidden), "{shown}");
    }
    assert_eq!(
        serde_json::from_value::<Envelope>(stored.clone()).unwrap(),
        envelope
    );
    for (field, bad) in [
        ("key", "zz"),
        ("key", "00"),
        ("secret", ""),
        ("secret", "AA=="),
        ("secret", "AAAA"),
    ] {
        let mut stored = stored.clone();
        stored[field] = json!(bad);
        assert!(
            serde_json::from_value::<Envelope>(stored).is_err(),
            "{field} {bad}"
        );
    }
    let long = vec![0; MAX_SECRET + 1];
    let refused = seal(&masters(&[1]), &place(&acme), &long, &random(1));
    assert_eq!(refused, Err(EnvelopeError::TooLong));
    let longest = seal(&masters(&[1]), &place(&acme), &long[1..], &random(1)).unwrap();
    let back = serde_json::from_value::<Envelope>(json!(longest)).unwrap();
    assert_eq!(back, longest);
}

proptest! {
    /// One bit anywhere, and it does not open.
    #[test]
    fn one_changed_bit_never_opens(
        secret in prop::collection::vec(any::<u8>(), 0..64),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let acme = org("acme");
        let good = seal(&masters(&[1]), &place(&acme), &secret, &random(3)).unwrap();
        let opened = open(&masters(&[1]), &place(&acme), &good).unwrap();
        prop_assert_eq!(&*opened, &secret);
        let mut bad = good;
        let bytes = bad.key.nonce.iter_mut().chain(&mut bad.key.text);
        let bytes = bytes.chain(&mut bad.secret.nonce).chain(&mut bad.secret.text);
        let mut bytes: Vec<&mut u8> = bytes.collect();
        let at = at.index(bytes.len());
        *bytes[at] ^= 1 << bit;
        prop_assert!(open(&masters(&[1]), &place(&acme), &bad).is_err());
    }
}
