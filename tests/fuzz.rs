//! Bytes that nobody meant well: every reader and every door, with inputs kept in
//! `tests/fuzz/corpus` and with new ones made from them.
//!
//! As an ordinary test the corpus is replayed and a short run follows, the same each time. A long
//! run is the same code with a time:
//!
//! ```text
//! HUNDI_FUZZ_SECS=600 [HUNDI_FUZZ_TARGET=canonical] [HUNDI_FUZZ_SEED=7] \
//!     cargo test --test it fuzz:: -- --nocapture
//! ```
//!
//! There is no instrumentation, so that this runs on the stable compiler: an input is kept for
//! further changes when its target tells of an outcome that no input before it had. An input that
//! breaks a target is written to `target/fuzz/<target>`; once mended it moves into the corpus.

mod doors;
mod mutate;
mod readers;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mutate::{Dice, mutated};

/// Inputs of the short run of a reader, and of a door, which is slower by far.
const READER_INPUTS: u64 = 4_000;
const DOOR_INPUTS: u64 = 150;

struct Target {
    name: &'static str,
    check: fn(&[u8]) -> String,
    dictionary: &'static [&'static str],
    short: u64,
}

const JSON: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\u0000",
    "\\u0061",
    "\\ud800",
    "\\ud83d\\ude00",
    "\\/",
    "null",
    "true",
    "false",
    "0",
    "-0",
    "-0.0",
    "1e400",
    "-1E-400",
    "1.0",
    "1E2",
    "0.1e-6",
    "9007199254740991",
    "9007199254740992",
    "9007199254740993",
    "-9007199254740993",
    "18446744073709551616",
    "1e21",
    "5e-324",
    "2.2250738585072014e-308",
    "333333333.33333329",
    "\"a\":1",
    "\"\\u0061\":1",
    "\u{feff}",
    "\u{2028}",
    "\u{1f600}",
    "\u{e9}",
    "e\u{301}",
    "$serde_json::private::Number",
    "[[[[[[[[[[[[[[[[",
    "{\"a\":{\"a\":{\"a\":",
];
const TOKEN: &[&str] = &[
    ".",
    "v1",
    "v1.",
    "v2",
    "k1",
    "old",
    "gone",
    "=",
    "==",
    "A",
    "-",
    "_",
    "+",
    "/",
    " ",
    "\n",
    "\"nonce\":",
    "\"agent_id\":",
    "\"composite_score\":null",
    "\"expires_at\":1",
    "1.5",
    "1e3",
];
const ARGUMENTS: &[&str] = &[
    "\"amount\":",
    "\"to\":",
    "\"acct_123\"",
    "\"fund_account_id\":",
    "\"fa_00000000000001\"",
    "\"currency\":\"INR\"",
    "\"mode\":\"IMPS\"",
    "\"purpose\":\"payout\"",
    "\"notes\":{}",
    "\"vendor_url\":",
    "\"payout_id\":\"pout_00000000000001\"",
    "\"queue_if_low_balance\":true",
    "0",
    "-1",
    "1",
    "99",
    "100",
    "1.0",
    "1e2",
    "100.5",
    "9007199254740991",
    "9007199254740992",
    "\"100\"",
    "null",
    "[]",
    "{}",
    ",",
];
const WEBHOOK: &[&str] = &[
    "\"event\":",
    "\"payout.processed\"",
    "\"payout.reversed\"",
    "\"payout.pending\"",
    "\"payout.downtime.started\"",
    "\"payload\":",
    "\"entity\":",
    "\"status\":\"pending\"",
    "\"reference_id\":",
    "\"amount\":",
    "1",
    "-1",
    "1.5",
    "null",
    "[]",
    "{}",
    "\"notes\":[]",
    ",",
    "\"pout_00000000000001\"",
    "\"fund_account_id\"",
    "9007199254740991",
    "\"created_at\":",
];
const SLACK: &[&str] = &[
    "payload=",
    "&payload=",
    "%7B",
    "%22",
    "%00",
    "%ff",
    "%",
    "+",
    "&",
    "=",
    "type",
    "user",
    "id",
    "block_actions",
    "view_submission",
    "actions",
    "action_id",
    "value",
    "response_url",
    "null",
];
const MCP: &[&str] = &[
    "\"jsonrpc\":\"2.0\"",
    "\"id\":",
    "\"method\":",
    "\"params\":",
    "\"result\":{}",
    "\"error\":{}",
    "\"initialize\"",
    "\"ping\"",
    "\"tools/list\"",
    "\"tools/call\"",
    "\"server/discover\"",
    "\"notifications/cancelled\"",
    "\"subscriptions/listen\"",
    "\"name\":",
    "\"arguments\":",
    "\"noop_propose\"",
    "\"noop_commit\"",
    "\"transfer_funds_propose\"",
    "\"transfer_funds_commit\"",
    "\"get_proposal\"",
    "\"list_proposals\"",
    "\"cursor\":",
    "\"_meta\":",
    "\"proposal_id\":",
    "\"commit_token\":",
    "\"prompt\":",
    "\"samples\":",
    "\"idempotency_key\":",
    "null",
    "[]",
    "{}",
    "1",
    "-1",
    "1.5",
    "\"\"",
    "9007199254740993",
    ",",
    "\\ud800",
];

#[rustfmt::skip]
const TARGETS: &[Target] = &[
    Target { name: "strict_json",   check: readers::strict_json,   dictionary: JSON,      short: READER_INPUTS },
    Target { name: "canonical",     check: readers::canonical,     dictionary: JSON,      short: READER_INPUTS },
    Target { name: "token_text",    check: readers::token_text,    dictionary: TOKEN,     short: READER_INPUTS },
    Target { name: "token_payload", check: readers::token_payload, dictionary: TOKEN,     short: READER_INPUTS },
    Target { name: "arguments",     check: readers::arguments,     dictionary: ARGUMENTS, short: READER_INPUTS },
    Target { name: "webhook_body",  check: readers::webhook_body,  dictionary: WEBHOOK,   short: READER_INPUTS },
    Target { name: "slack_body",    check: readers::slack_body,    dictionary: SLACK,     short: READER_INPUTS },
    Target { name: "webhook_door",  check: doors::webhook_door,    dictionary: WEBHOOK,   short: DOOR_INPUTS },
    Target { name: "slack_door",    check: doors::slack_door,      dictionary: SLACK,     short: DOOR_INPUTS },
    Target { name: "mcp_stateless", check: doors::mcp_stateless,   dictionary: MCP,       short: DOOR_INPUTS },
    Target { name: "mcp_plain",     check: doors::mcp_plain,       dictionary: MCP,       short: DOOR_INPUTS },
];

impl Target {
    /// The kept inputs. Doors read what their readers read.
    fn corpus(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let folder = match self.name {
            "webhook_door" => "webhook_body",
            "slack_door" => "slack_body",
            name => name,
        };
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fuzz/corpus")
            .join(folder);
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        let read = |path: PathBuf| {
            let bytes = std::fs::read(&path).unwrap();
            (path, bytes)
        };
        files.into_iter().map(read).collect()
    }

    /// What the target tells of an input; a panic is told with the input, and kept.
    fn run(&self, input: &[u8], from: &str) -> String {
        catch_unwind(AssertUnwindSafe(|| (self.check)(input))).unwrap_or_else(|_| {
            let shown: String = input.escape_ascii().take(2_000).map(char::from).collect();
            let kept = keep(self.name, input);
            panic!(
                "{} breaks on {from}, kept as {}: {shown}",
                self.name,
                kept.display()
            )
        })
    }

    fn explore(&self, seed: u64, enough: impl Fn(u64) -> bool) -> (u64, usize) {
        let mut inputs: Vec<Vec<u8>> = self.corpus().into_iter().map(|(_, bytes)| bytes).collect();
        let mut outcomes: HashSet<String> = HashSet::new();
        for input in &inputs {
            outcomes.insert(self.run(input, "its corpus"));
        }
        let mut dice = Dice::new(seed);
        let mut count = 0;
        while !enough(count) {
            let input = mutated(&mut dice, &inputs, self.dictionary);
            let outcome = self.run(&input, &format!("input {count} of seed {seed}"));
            if outcomes.insert(outcome) {
                inputs.push(input);
            }
            count += 1;
        }
        (count, outcomes.len())
    }
}

fn keep(target: &str, input: &[u8]) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/fuzz")
        .join(target);
    std::fs::create_dir_all(&folder).unwrap();
    let name = hundi::domain::canonical::Canonical::of(&input.to_vec().into()).hash();
    let path = folder.join(&name.to_string()[..16]);
    std::fs::write(&path, input).unwrap();
    path
}

#[allow(clippy::disallowed_methods, reason = "how a long run is asked for")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn number(name: &str) -> Option<u64> {
    setting(name)?.parse().ok()
}

/// The short run of one target, or as long a one as was asked for.
fn fuzz(name: &str) {
    let target = TARGETS.iter().find(|target| target.name == name).unwrap();
    if setting("HUNDI_FUZZ_TARGET").is_some_and(|only| only != name) {
        return;
    }
    let seed = number("HUNDI_FUZZ_SEED").unwrap_or(1);
    let Some(secs) = number("HUNDI_FUZZ_SECS") else {
        target.explore(seed, |count| count >= target.short);
        return;
    };
    #[allow(clippy::disallowed_methods, reason = "a run ends by the wall clock")]
    let began = Instant::now();
    let (count, outcomes) = target.explore(seed, |_| began.elapsed() >= Duration::from_secs(secs));
    eprintln!("{name}: {count} inputs in {secs} s, {outcomes} different outcomes, seed {seed}");
}

macro_rules! targets {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                fuzz(stringify!($name));
            }
        )*

        #[test]
        fn every_target_is_run_and_has_a_corpus() {
            let run = [$(stringify!($name)),*];
            let known: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(run[..], known[..]);
            for target in TARGETS {
                let count = target.corpus().len();
                assert!(count >= 5, "{} has {count} inputs", target.name);
            }
        }
    };
}

targets! {
    strict_json canonical token_text token_payload arguments webhook_body slack_body
    webhook_door slack_door mcp_stateless mcp_plain
}

/// The corpus has to lead inside: an input that everything refuses at the first byte finds nothing.
#[test]
fn the_corpus_gets_past_the_first_check() {
    let reached = |name: &str, wanted: &str| {
        let target = TARGETS.iter().find(|target| target.name == name).unwrap();
        let mut outcomes = target
            .corpus()
            .into_iter()
            .map(|(_, input)| (target.check)(&input));
        assert!(
            outcomes.any(|told| told.contains(wanted)),
            "{name}: {wanted}"
        );
    };
    reached("strict_json", "accepted object");
    reached("canonical", "object");
    reached("token_text", "opened: Ok");
    reached("token_text", "opened: Err(Expired)");
    reached("token_payload", "opened: Ok");
    reached("arguments", "create_payout true true");
    reached("arguments", "transfer_funds true");
    reached("webhook_body", "Ok(true)");
    reached("slack_body", "a press");
    reached("webhook_door", "200");
    reached("slack_door", "200");
    reached("mcp_stateless", "200");
    reached("mcp_plain", "200");
}
