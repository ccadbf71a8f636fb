//! A run that promises to be complete fails where it cannot test, instead of passing in silence.

use std::process::Command;

/// Tests whose prerequisite is a program, and so is gone where `PATH` leads nowhere.
const NEED_A_PROGRAM: [&str; 2] = [
    "ephemeral::redis::a_text_is_kept",
    "chaos::on_sqlite::a_full_disk_refuses_and_recovers",
];

/// Runs one of the tests of this very program where no program is found.
fn passes_without_programs(test: &str, promise: Option<&str>) -> (bool, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([test, "--exact", "--nocapture"])
        .env_clear()
        .env("PATH", "/nowhere")
        .envs(promise.map(|name| (name, "1")));
    let ran = command.output().unwrap();
    let said = [ran.stdout, ran.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    let said = said.concat();
    assert!(said.contains("running 1 test"), "{test}: {said}");
    (ran.status.success(), said)
}

#[test]
fn a_missing_prerequisite_fails_a_run_that_promises_to_be_complete() {
    for test in NEED_A_PROGRAM {
        for promise in ["CI", "HUNDI_TESTS_COMPLETE"] {
            let (passed, said) = passes_without_programs(test, Some(promise));
            assert!(!passed, "{test} passed with {promise} set: {said}");
            assert!(said.contains("that is a failure"), "{test}: {said}");
        }
        let (passed, said) = passes_without_programs(test, None);
        assert!(passed && said.contains("skipped: "), "{test}: {said}");
    }
}

/// Whoever prints that a test is skipped has to go through the one helper that can fail it.
#[test]
fn nobody_else_skips_a_test() {
    let tests = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut folders = vec![tests];
    let mut skipping = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let skips = ["\"skipped:", "#[ignore", "var_os(\"CI\")"];
                let ours = path.ends_with("complete.rs");
                if !ours && skips.iter().any(|words| text.contains(words)) {
                    skipping.push(path);
                }
            }
        }
    }
    assert!(skipping.is_empty(), "{skipping:?}");
}
