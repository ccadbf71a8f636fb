//! What a test needs of the machine: a Postgres, a Redis, libfaketime, a mount.
//!
//! Where it is missing, a developer's run says so and goes on. A run that promises to be complete
//! fails instead: CI (`CI` is set) and `tests/run` (which sets `HUNDI_TESTS_COMPLETE`). Every test
//! that could pass without having tested asks here, and nowhere else.

/// Variables, any of which promises that nothing is left out.
const PROMISES: [&str; 2] = ["CI", "HUNDI_TESTS_COMPLETE"];

/// Passes on what was found; where there is nothing, fails the test or says that it is skipped.
pub fn needed<T>(found: Option<T>, missing: &str) -> Option<T> {
    if found.is_none() {
        let promised = PROMISES
            .into_iter()
            .find(|name| std::env::var_os(name).is_some());
        if let Some(name) = promised {
            panic!("{missing}; with {name} set, that is a failure");
        }
        eprintln!("skipped: {missing}");
    }
    found
}
