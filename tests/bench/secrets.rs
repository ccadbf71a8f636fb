//! How fast the secret scanner reads ordinary text, beside the least that anybody could do with the
//! same bytes: look for one word, and match one expression of a few of the formats. Megabytes a second are
//! said by divan's throughput.
#![allow(missing_docs, reason = "a benchmark's name says what it measures")]

use divan::counter::BytesCount;
use hundi::governance::secrets;

fn main() {
    divan::main();
}

/// Eight megabytes of prose, code and JSON, as prompts have them.
fn ordinary() -> String {
    let parts = [
        include_str!("../../README.md"),
        include_str!("../../src/governance/secrets/mod.rs"),
        include_str!("../../src/governance/secrets/numbers.rs"),
        include_str!("../../Cargo.lock"),
        "Please find attached the invoice of Acme Ltd for October: 12 boxes of tea at Rs 105 each, \
         Rs 1,260 in all, due within thirty days. Thank you for your business, and do call us.\n",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"Summarise what was said at the meeting.\"}]}\n",
    ];
    let text = parts.concat();
    text.repeat((8 << 20) / text.len() + 1)
}

#[divan::bench]
fn scanner(bencher: divan::Bencher<'_, '_>) {
    let text = ordinary();
    bencher
        .counter(BytesCount::of_str(&text))
        .bench(|| secrets::find(text.as_bytes()));
}

/// Nine formats as a regular expression; the scanner knows more than two hundred.
const NINE: &str = "AKIA[A-Z2-7]{16}|AIza[A-Za-z0-9_-]{35}|gh[pousr]_[A-Za-z0-9]{36}|npm_[A-Za-z0-9]{36}\
    |glpat-[A-Za-z0-9_-]{20}|hf_[A-Za-z0-9]{34}|sk_live_[A-Za-z0-9]{24}|rzp_live_[A-Za-z0-9]{14}\
    |(?i-u:password|secret|token|api_?key)[\"']? {0,2}[:=] {0,2}[^ ]{8}";

#[divan::bench(sample_count = 10)]
fn regex_of_nine_formats(bencher: divan::Bencher<'_, '_>) {
    let text = ordinary();
    let Ok(regex) = regex::bytes::Regex::new(NINE) else {
        return;
    };
    bencher
        .counter(BytesCount::of_str(&text))
        .bench(|| regex.find_iter(text.as_bytes()).count());
}

#[divan::bench]
fn one_word(bencher: divan::Bencher<'_, '_>) {
    let text = ordinary();
    bencher
        .counter(BytesCount::of_str(&text))
        .bench(|| text.matches("AKIA").count());
}
