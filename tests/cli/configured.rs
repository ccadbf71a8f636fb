//! Settings as an operator gives them, and secrets that nobody gets to see.

use super::{CANARY, Place};

const KEY: &str = "c0ffee00c0ffee01c0ffee02c0ffee03a1b2c3d4e5f60718293a4b5c6d7e8f90";

#[test]
fn a_flag_beats_a_variable_which_beats_the_file() {
    let mut place = Place::new();
    let from = |place: &Place, arguments: &[&str]| {
        let shown = place
            .run(&[&["config", "--json"], arguments].concat())
            .done()
            .json();
        let row = &shown["settings"]["token_ttl_secs"];
        (
            row["value"].as_str().unwrap().to_owned(),
            row["from"].as_str().unwrap().to_owned(),
        )
    };
    let is = |value: &str, layer: &str| (value.to_owned(), layer.to_owned());
    assert_eq!(from(&place, &[]), is("60", "default"));
    place.write("hundi.toml", "token_ttl_secs = 61\n");
    assert_eq!(from(&place, &[]), is("61", "file"));
    place.write("other.toml", "token_ttl_secs = 62\n");
    assert_eq!(from(&place, &["--config", "other.toml"]), is("62", "file"));
    place = place.set("HUNDI_TOKEN_TTL_SECS", "63");
    assert_eq!(from(&place, &["--config", "other.toml"]), is("63", "env"));
    assert_eq!(
        from(&place, &["--set", "token_ttl_secs=64"]),
        is("64", "flag")
    );
}

#[test]
fn a_missing_or_weak_secret_stops_the_start_and_is_named() {
    let cases = [
        ("HUNDI_TOKEN_KEY", ""),
        ("HUNDI_TOKEN_KEY", "c0ffee"),
        (
            "HUNDI_AUDIT_KEY",
            "not hex at all, whatever its length may be, in characters!!",
        ),
        ("HUNDI_RAZORPAY_KEY_SECRET", ""),
        ("HUNDI_RAZORPAY_WEBHOOK_SECRET", "brief-9"),
        ("HUNDI_RAZORPAY_WEBHOOK_SECRET", "good-enough-secret,,"),
        ("HUNDI_SLACK_SIGNING_SECRET", "changeme"),
        ("HUNDI_NTFY_TOKEN", "dev-secret"),
        ("HUNDI_RAZORPAY_KEY_ID", "rzp_live_1"),
        ("HUNDI_TOKEN_KEY_FILE", "no-such-file"),
    ];
    for (name, value) in cases {
        let place = Place::new().set(name, value);
        for command in ["serve", "mcp", "config"] {
            let ended = place.run(&[command]);
            assert_eq!(
                ended.code, 1,
                "{command} with {name}={value:?}: {}",
                ended.out
            );
            let stem = name.trim_end_matches("_ID");
            assert!(ended.err.contains(stem), "{name}: {}", ended.err);
            assert!(value.len() < 5 || !ended.err.contains(value) || name.ends_with("_FILE"));
        }
        assert!(
            !place.path("hundi-data").exists(),
            "{name}: a refused start leaves no trace"
        );
    }
}

#[test]
fn postgres_without_shared_keys_is_refused_and_each_is_named() {
    let place = Place::new().set(
        "HUNDI_DATABASE_URL",
        "postgres://me:canary-4711@127.0.0.1:1/h",
    );
    let ended = place.run(&["serve"]);
    assert_eq!(ended.code, 1);
    for name in ["HUNDI_TOKEN_KEY", "HUNDI_AUDIT_KEY", "HUNDI_MASTER_KEY"] {
        assert!(
            ended.err.contains(&format!("{name} is missing")),
            "{}",
            ended.err
        );
    }
    assert!(!ended.err.contains("4711"));
}

#[test]
fn no_command_shows_a_secret() {
    let place = Place::new();
    let secret = place.write("secret", format!("{CANARY}\n"));
    let place = place
        .set("HUNDI_RAZORPAY_KEY_ID", "rzp_test_1")
        .set(
            "HUNDI_RAZORPAY_KEY_SECRET_FILE",
            &secret.display().to_string(),
        )
        .set("HUNDI_RAZORPAY_ACCOUNT_NUMBER", "7878780080316316")
        .set("HUNDI_RAZORPAY_API_BASE", "http://127.0.0.1:1")
        .set(
            "HUNDI_RAZORPAY_WEBHOOK_SECRET",
            "canary-4711-one,canary-4711-two",
        )
        .set("HUNDI_SAFE_BROWSING_KEY", CANARY)
        .set("HUNDI_SLACK_BOT_TOKEN", CANARY)
        .set("HUNDI_SLACK_CHANNEL_ID", "C1")
        .set("HUNDI_SLACK_SIGNING_SECRET", CANARY)
        .set("HUNDI_NTFY_TOPIC", "t")
        .set("HUNDI_NTFY_TOKEN", CANARY)
        .set("HUNDI_REDIS_URL", "redis://:canary-4711@127.0.0.1:1")
        .set("HUNDI_TOKEN_KEY", KEY)
        .set("HUNDI_AUDIT_KEY", KEY)
        .set("HUNDI_MASTER_KEY", KEY)
        .set("HUNDI_API_KEY", "hk_0123456789abcdef_canary-4711")
        .set("HUNDI_LOG", "trace");
    let commands: &[&[&str]] = &[
        &["config"],
        &["config", "--json"],
        &["config", "--explain"],
        &["doctor"],
        &["doctor", "--json"],
        &["keyring", "list"],
        &["keyring", "rotate"],
        &["key", "list"],
        &["key", "revoke", "hk_0123456789abcdef_canary-4711"],
        &["proposal", "list", "--json"],
        &["tool", "list"],
        &["migrate"],
        &["mcp"],
        &["bench", "--url", "http://127.0.0.1:1", "--cycles", "1"],
        &["config", "--set", "token_key=canary-4711"],
        &["config", "--set", "canary-4711"],
        &["help", "key", "create"],
    ];
    for arguments in commands {
        let ended = place.run(arguments);
        let all = format!("{}{}", ended.out, ended.err);
        assert!(!all.contains("4711"), "{arguments:?} shows a secret: {all}");
        assert!(
            !all.contains(&KEY[..12]),
            "{arguments:?} shows a key: {all}"
        );
    }
}

#[test]
fn what_is_wrong_in_the_file_is_found_by_name() {
    let place = Place::new();
    place.write(
        "hundi.toml",
        format!("[razorpay]\nkey_scret = '{CANARY}'\n"),
    );
    let ended = place.run(&["config"]);
    assert_eq!(ended.code, 1);
    assert!(
        ended.err.contains("did you mean `razorpay.key_secret`?"),
        "{}",
        ended.err
    );
    assert!(!ended.err.contains(CANARY));
}

#[test]
fn the_doctor_says_what_is_broken_and_what_to_do() {
    let place = Place::new();
    let fine = place.run(&["doctor", "--json"]).done().json();
    assert_eq!(fine["ok"], true, "{fine}");
    let names: Vec<&str> = fine["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    for name in [
        "configuration",
        "canonical form",
        "data folder",
        "token keys",
        "store",
        "sidecar",
        "bank",
    ] {
        assert!(names.contains(&name), "{name} is not in {names:?}");
    }
    assert!(!place.path("hundi-data").exists(), "a doctor makes nothing");

    place.run(&["migrate"]).done();
    assert!(place.run(&["doctor"]).done().out.contains("All is well."));

    use std::os::unix::fs::PermissionsExt;
    let keys = place.path("hundi-data/token-keys.json");
    std::fs::set_permissions(&keys, PermissionsExt::from_mode(0o644)).unwrap();
    let ended = place.run(&["doctor"]);
    assert_eq!(ended.code, 1);
    assert!(ended.out.contains("chmod 600"), "{}", ended.out);

    let broken = Place::new()
        .set("HUNDI_LISTEN", "nowhere")
        .run(&["doctor", "--json"]);
    assert_eq!(broken.code, 1);
    assert!(
        broken.json()["checks"][0]["detail"]
            .as_str()
            .unwrap()
            .contains("HUNDI_LISTEN")
    );
}

#[test]
fn a_completion_script_knows_every_command() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = place.run(&["completions", shell]).done().out;
        for path in super::every_command().iter().filter(|path| path.len() == 1) {
            assert!(script.contains(&path[0]), "{shell}: {}", path[0]);
        }
    }
}

#[test]
fn a_manual_page_is_written_for_every_command() {
    let place = Place::new();
    let folder = place.path("man1");
    place.run(&["man", folder.to_str().unwrap()]).done();
    for path in super::every_command().iter().filter(|path| path.len() == 1) {
        let page = folder.join(format!("hundi-{}.1", path[0]));
        assert!(page.is_file(), "{}", page.display());
    }
}

#[test]
fn the_demo_goes_as_it_should() {
    let told = Place::new().run(&["demo", "--json"]).done().json();
    assert!(!told.as_object().unwrap().is_empty(), "{told}");
}
