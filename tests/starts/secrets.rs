//! Secrets that anybody would guess stop the start, whichever setting they stand in.

use std::collections::BTreeMap;

use hundi::config::Config;
use hundi::config::settings::{Kind, SETTINGS};

/// What stands in examples, repeats itself, runs up, or is made of a few characters.
const GUESSED: &[&str] = &[
    "changeme-changeme-changeme",
    "REPLACE_ME_WITH_A_SECRET",
    "generate-a-strong-random-string",
    "qwertyuiopasdfghjklzxcvb",
    "secret-secret-secret",
    "your-webhook-secret-here",
    "super_secret_token_123",
    "password12345",
    "test-test-test-test",
    "<put the secret here>",
    "${HUNDI_SECRET_VALUE}",
    "aaaaaaaaaaaaaaaa",
    "abababababababab",
    "a1b2a1b2a1b2a1b2",
    "abcdefghijklmnop",
    "1234567890123456",
    "zzzzzzzzzzzzzzzy",
];
/// The same for keys.
const GUESSED_KEYS: &[&str] = &[
    "0000000000000000000000000000000000000000000000000000000000000000",
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
    "1f1e1d1c1b1a191817161514131211100f0e0d0c0b0a09080706050403020100",
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
    "deadbeefdeadbeefdeadbeefdeadbeefdeadbeefdeadbeefdeadbeefdeadbeef",
    // "changeme-changeme-changeme-change"
    "6368616e67656d652d6368616e67656d652d6368616e67656d652d6368616e6765",
];

#[test]
fn every_secret_of_the_table_of_settings_is_held_to_the_same() {
    let mut seen = 0;
    for setting in SETTINGS.iter().filter(|setting| setting.kind.is_secret()) {
        seen += 1;
        let key = matches!(setting.kind, Kind::Key | Kind::Keys);
        let guessed = if key { GUESSED_KEYS } else { GUESSED };
        let good = "74c1e9d0b85f3a26e4019f7d5cab8362f0d97be81435ac6e2b50c8f49d17a3e6";
        for value in guessed {
            let mut given = vec![(*value).to_owned()];
            if setting.kind.is_list() {
                // Also where it hides behind a good one.
                given.push(format!("{good},{value}"));
            }
            for value in given {
                let variable = setting.variable();
                let environment = BTreeMap::from([(variable.clone(), value.clone().into())]);
                let error = Config::load(None, &environment, &[]).expect_err(&value);
                let told = error.to_string();
                assert!(
                    told.contains(&variable) && told.contains("guessable"),
                    "{variable}={value}: {told}"
                );
                assert!(!told.contains(&value), "{told}");
            }
        }
    }
    assert!(seen >= 9, "{seen} secrets");
}

#[test]
fn the_server_itself_refuses_them() {
    let place = super::Place::new();
    let env = [(
        "HUNDI_RAZORPAY_WEBHOOK_SECRET",
        "changeme-changeme-changeme",
    )];
    for command in ["serve", "mcp", "config", "doctor"] {
        place
            .run(&[command], &env)
            .refused(&["HUNDI_RAZORPAY_WEBHOOK_SECRET", "guessable"]);
    }
    assert!(!place.path("hundi-data").exists());
}
