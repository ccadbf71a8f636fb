//! Do the agent's own answers agree with each other, and is the prompt the usual one?
//!
//! Three signals from 0 (agrees) to 1 (disagrees), and their weighted mean over those that exist.
//! The formulas are those of the system this one takes over, so that its scores carry over:
//!
//! - *output instability*: 1 minus the Jaccard similarity of the two answers' sets of words, a word
//!   being a run of letters, digits and underscores in the lower-cased text; two empty answers agree;
//! - *numeric variance*: the numbers of both answers paired by position; the mean of each pair's
//!   difference relative to the first answer's number; nothing to say if the first has no number,
//!   and 1 if only the second has none;
//! - *prompt drift*: 1 if the prompt's hash is not the baseline's, 0 if it is, nothing without one.
//!
//! The caller supplies the answers, so a good score proves nothing by itself: it can only lower
//! trust. Only answers that the broker took itself attest anything, see [`unknown`].
#![allow(
    clippy::float_arithmetic,
    reason = "a score is a ratio of counts, compared with a threshold; it is never an amount"
)]

use std::collections::HashSet;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use unicode_properties::{GeneralCategoryGroup, UnicodeGeneralCategory};

use super::Request;
use crate::domain::facts::{Facts, Integrity, OnMissing};
use crate::domain::ids::hex;
use crate::domain::proposal::{Score, Signals};
use crate::domain::reason::{Finding, Reason};

/// Most answers that are compared, each with each. Doors refuse more; beyond it they are ignored,
/// because comparing all pairs of thousands would be a way to keep the broker busy.
pub const MAX_SAMPLES: usize = 16;

/// Relative differences are not divided by less than this.
const SMALLEST_DIVISOR: f64 = 1e-9;

/// What to do about a missing prompt, which only the caller can mend.
const UNPROMPTED: &str = "the prompt behind the request is missing, and it has to be given \
    (`prompt`, as the agent was asked it)";

/// How much each signal counts; renormalised over the signals that exist.
#[derive(Clone, Copy, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Weights {
    /// Of the words.
    pub output_instability: f64,
    /// Of the numbers.
    pub numeric_variance: f64,
    /// Of the prompt.
    pub prompt_drift: f64,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            output_instability: 0.5,
            numeric_variance: 0.3,
            prompt_drift: 0.2,
        }
    }
}

impl Weights {
    /// Whether they can weigh at all: finite, not negative, not all zero.
    pub fn are_usable(&self) -> bool {
        let all = [
            self.output_instability,
            self.numeric_variance,
            self.prompt_drift,
        ];
        all.iter()
            .all(|weight| weight.is_finite() && *weight >= 0.0)
            && all.iter().any(|weight| *weight > 0.0)
    }
}

/// `low_integrity`: the composite is at or above the threshold, whoever supplied the answers.
pub fn low(_request: &Request<'_>, facts: &Facts) -> Option<Finding> {
    let integrity = &facts.integrity;
    let composite = integrity.score.composite?;
    is_low(composite, integrity.block_at).then(|| {
        let why = format!(
            "the composite score is {composite:.4}, and {:.2} or more is refused ({})",
            integrity.block_at,
            in_words(&integrity.score.signals)
        );
        Finding::block(Reason::LowIntegrity, why)
    })
}

/// `INTEGRITY_UNKNOWN`: nothing that the caller could not have made up vouches for the answers, or
/// the prompt that there has to be is missing.
pub fn unknown(_request: &Request<'_>, facts: &Facts) -> Option<Finding> {
    let integrity = &facts.integrity;
    let unscored = unscored(integrity).filter(|_| integrity.on_missing != OnMissing::Allow);
    let unprompted = integrity.require_prompt && !integrity.prompt.as_deref().is_some_and(says);
    let why = [unscored, unprompted.then_some(UNPROMPTED)];
    let why = why.into_iter().flatten().collect::<Vec<_>>().join("; ");
    if why.is_empty() {
        return None;
    }
    let blocks = unscored.is_some() && integrity.on_missing == OnMissing::Block;
    Some(if blocks {
        Finding::block(Reason::IntegrityUnknown, why)
    } else {
        Finding::hold(Reason::IntegrityUnknown, why)
    })
}

/// Why nothing vouches for the answers; `None` if something does, or if they are refused anyway.
fn unscored(integrity: &Integrity) -> Option<&'static str> {
    match integrity.score.composite {
        None => Some("there was nothing to compare"),
        // `low` has refused it already; that the answers were the caller's makes it no better.
        Some(composite) if is_low(composite, integrity.block_at) => None,
        Some(_) if integrity.attested => None,
        Some(_) => {
            Some("only the caller's own samples agree, and they cannot vouch for themselves")
        }
    }
}

/// Whether a text is a prompt at all: blanks and dots ask for nothing.
pub fn says(prompt: &str) -> bool {
    prompt.chars().any(char::is_alphanumeric)
}

/// Whether a composite blocks. A score that is no number is not a good one.
pub fn is_low(composite: f64, threshold: f64) -> bool {
    composite.is_nan() || composite >= threshold
}

/// Scores answers against each other and the prompt against its baseline. With more than two
/// answers the worst pair counts; with fewer than two only the prompt does.
pub fn score(samples: &[String], prompt_hash: Option<&str>, baseline: Option<&str>) -> Score {
    score_with(samples, prompt_hash, baseline, &Weights::default())
}

/// As [`score`], with other weights.
pub fn score_with(
    samples: &[String],
    prompt_hash: Option<&str>,
    baseline: Option<&str>,
    weights: &Weights,
) -> Score {
    let prompt_drift = match (prompt_hash, baseline) {
        (Some(hash), Some(baseline)) => Some(if hash == baseline { 0.0 } else { 1.0 }),
        (None, _) | (_, None) => None,
    };
    let alone = scored(
        Signals {
            prompt_drift,
            ..Signals::default()
        },
        weights,
    );
    let answers: Vec<Answer> = samples
        .iter()
        .take(MAX_SAMPLES)
        .map(|text| Answer::read(text))
        .collect();
    let pairs = answers.iter().enumerate().flat_map(|(index, a)| {
        let later = answers.get(index + 1..).unwrap_or_default();
        later.iter().map(move |b| (a, b))
    });
    let worst = pairs
        .map(|(a, b)| {
            let signals = Signals {
                output_instability: Some(instability(a, b)),
                numeric_variance: variance(&a.numbers, &b.numbers),
                prompt_drift,
            };
            scored(signals, weights)
        })
        .reduce(|worst, next| {
            if next.composite > worst.composite {
                next
            } else {
                worst
            }
        });
    worst.unwrap_or(alone)
}

/// Signals with their composite.
pub fn scored(signals: Signals, weights: &Weights) -> Score {
    Score {
        composite: composite(&signals, weights),
        signals,
    }
}

/// The weighted mean over the signals that exist; `None` if none does, or none weighs anything.
pub fn composite(signals: &Signals, weights: &Weights) -> Option<f64> {
    let weighed = [
        (signals.output_instability, weights.output_instability),
        (signals.numeric_variance, weights.numeric_variance),
        (signals.prompt_drift, weights.prompt_drift),
    ];
    let (mut sum, mut total) = (0.0, 0.0);
    for (signal, weight) in weighed {
        if let Some(signal) = signal {
            sum += clamp01(signal) * weight;
            total += weight;
        }
    }
    (total > 0.0).then(|| sum / total)
}

/// SHA-256, in hex, of a prompt in lower case, trimmed, each run of white space one space: the
/// same request typed twice is the same prompt.
pub fn prompt_hash(prompt: &str) -> String {
    let lower = prompt.to_lowercase();
    let words: Vec<&str> = lower.split_whitespace().collect();
    hex(&Sha256::digest(words.join(" ").as_bytes()))
}

/// What is compared of one answer.
struct Answer {
    words: HashSet<String>,
    numbers: Vec<f64>,
}

impl Answer {
    fn read(text: &str) -> Self {
        let lower = text.to_lowercase();
        let runs = lower.split(|c| !is_word(c)).filter(|run| !run.is_empty());
        Self {
            words: runs.map(str::to_owned).collect(),
            numbers: numbers(text),
        }
    }
}

fn instability(a: &Answer, b: &Answer) -> f64 {
    let union = a.words.union(&b.words).count();
    if union == 0 {
        return 0.0;
    }
    let common = a.words.intersection(&b.words).count();
    clamp01(1.0 - ratio(common, union))
}

fn variance(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.is_empty() {
        return None;
    }
    if b.is_empty() {
        return Some(1.0);
    }
    let differences = a
        .iter()
        .zip(b)
        .map(|(a, b)| (a - b).abs() / a.abs().max(SMALLEST_DIVISOR));
    let sum: f64 = differences.sum();
    Some(clamp01(sum / ratio(a.len().min(b.len()), 1)))
}

fn is_word(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || c == '_';
    }
    matches!(
        c.general_category_group(),
        GeneralCategoryGroup::Letter | GeneralCategoryGroup::Number
    )
}

/// Every number of a text: an optional sign, digits, at most one point with digits after it.
fn numbers(text: &str) -> Vec<f64> {
    let text: Vec<u8> = text.chars().map(as_ascii).collect();
    let digits_from = |at: usize| {
        let rest = text.get(at..).unwrap_or_default();
        rest.iter().take_while(|b| b.is_ascii_digit()).count()
    };
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(first) = text.get(at) {
        let start = at;
        at += usize::from(matches!(first, b'+' | b'-'));
        let whole = digits_from(at);
        at += whole;
        let fraction = match text.get(at) {
            Some(b'.') => digits_from(at + 1),
            Some(_) | None => 0,
        };
        if fraction > 0 {
            at += 1 + fraction;
        }
        if whole + fraction == 0 {
            at = start + 1;
            continue;
        }
        let spelt = text.get(start..at).unwrap_or_default();
        let parsed = std::str::from_utf8(spelt).ok();
        let parsed = parsed.and_then(|text| text.parse::<f64>().ok());
        found.extend(parsed);
    }
    found
}

/// The ASCII digit that a decimal digit of another script is; `None` for everything else.
pub(super) fn ascii_digit(c: char) -> Option<char> {
    let digit = char::from(as_ascii(c));
    (!c.is_ascii() && digit.is_ascii_digit()).then_some(digit)
}

/// A character as far as numbers are concerned: digits of any of these scripts are digits.
fn as_ascii(c: char) -> u8 {
    /// Code points of the zeros of decimal digits: Arabic, Devanagari, Bengali, Gurmukhi,
    /// Gujarati, Oriya, Tamil, Telugu, Kannada, Malayalam, Sinhala, Thai, Lao, full width.
    const ZEROS: [u32; 15] = [
        0x0660, 0x06F0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66,
        0x0DE6, 0x0E50, 0x0ED0, 0xFF10,
    ];
    if c.is_ascii() {
        return u8::try_from(u32::from(c)).unwrap_or(b' ');
    }
    let code = u32::from(c);
    let digit = ZEROS.iter().find_map(|zero| {
        let value = code.checked_sub(*zero).filter(|value| *value < 10)?;
        u8::try_from(value).ok()
    });
    digit.map_or(b' ', |value| b'0' + value)
}

/// What is not a number counts as the worst: it came of numbers too large to compare.
fn clamp01(value: f64) -> f64 {
    if value.is_nan() {
        1.0
    } else {
        value.clamp(0.0, 1.0)
    }
}

fn ratio(part: usize, whole: usize) -> f64 {
    let float = |count: usize| u32::try_from(count).map_or(f64::from(u32::MAX), f64::from);
    float(part) / float(whole)
}

fn in_words(signals: &Signals) -> String {
    let shown = |value: Option<f64>| value.map_or("none".to_owned(), |v| format!("{v:.4}"));
    format!(
        "words {}, numbers {}, prompt {}",
        shown(signals.output_instability),
        shown(signals.numeric_variance),
        shown(signals.prompt_drift)
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::reason::Severity;
    use crate::governance::testing::{Sample, facts};

    fn near(a: Option<f64>, b: Option<f64>) -> bool {
        match (a, b) {
            (Some(a), Some(b)) => (a - b).abs() < 5e-5,
            (a, b) => a == b,
        }
    }

    fn of(samples: &[&str]) -> Score {
        let samples: Vec<String> = samples.iter().map(ToString::to_string).collect();
        score(&samples, None, None)
    }

    #[test]
    #[rustfmt::skip]
    fn the_composite_is_the_mean_of_what_exists() {
        let cases = [
            // words           numbers       prompt     composite
            (Some(4.0 / 15.0), Some(0.01 / 3.0), None,      Some(0.1679)),
            (Some(0.3125),     Some(0.01 / 3.0), Some(1.0), Some(0.3573)),
            (Some(0.45),       None,         None,      Some(0.45)),
            (None,             None,         Some(1.0), Some(1.0)),
            (Some(0.0),        None,         Some(1.0), Some(0.2857)),
            (Some(0.0),        Some(0.0),    Some(1.0), Some(0.2)),
            (Some(7.0),        Some(-3.0),   None,      Some(0.625)),
            (None,             None,         None,      None),
        ];
        for (output_instability, numeric_variance, prompt_drift, expected) in cases {
            let signals = Signals { output_instability, numeric_variance, prompt_drift };
            let got = composite(&signals, &Weights::default());
            assert!(near(got, expected), "{signals:?}: {got:?}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn words_are_runs_of_letters_digits_and_underscores() {
        let cases = [
            ("",                      "",                       0.0),
            ("...",                   "",                       0.0),
            ("pay",                   "",                       1.0),
            ("Pay the VENDOR",        "the vendor, pay!",       0.0),
            ("a b c",                 "b c d",                  0.5),
            ("snake_case x",          "snake case x",           0.75),
            ("a a a b",               "a b",                    0.0), // a set, not a bag
            ("Straße ÉTÉ",            "straße été",             0.0),
            ("भुगतान करो",               "भुगतान करो",                0.0),
        ];
        for (a, b, expected) in cases {
            let got = of(&[a, b]).signals.output_instability;
            assert!(near(got, Some(expected)), "{a:?} {b:?}: {got:?}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn numbers_are_signs_digits_and_one_point() {
        let cases: &[(&str, &[f64])] = &[
            ("100",            &[100.0]),
            ("-1.5 and +2",    &[-1.5, 2.0]),
            (".5",             &[0.5]),
            ("5.",             &[5.0]),
            ("1.2.3",          &[1.2, 0.3]),
            ("5-3",            &[5.0, -3.0]),
            ("--5",            &[-5.0]),
            ("- 5",            &[5.0]),
            ("1,000",          &[1.0, 0.0]),
            ("acct_123",       &[123.0]),
            ("1e5",            &[1.0, 5.0]),
            ("१२३",            &[123.0]),
            ("none . - +",     &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(numbers(text), *expected, "{text}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn numbers_are_compared_by_position() {
        let cases = [
            ("none",       "100",      None),
            ("100",        "none",     Some(1.0)),
            ("100",        "101",      Some(0.01)),
            ("100 200",    "101",      Some(0.01)),    // extra numbers are ignored
            ("100",        "101 900",  Some(0.01)),
            ("100 200",    "110 220",  Some(0.1)),
            ("0",          "1",        Some(1.0)),
            ("1",          "900",      Some(1.0)),
            ("-100",       "-50",      Some(0.5)),
        ];
        for (a, b, expected) in cases {
            let got = of(&[a, b]).signals.numeric_variance;
            assert!(near(got, expected), "{a} {b}: {got:?}");
        }
        let huge = "9".repeat(400);
        assert_eq!(of(&[&huge, &huge]).signals.numeric_variance, Some(1.0));
    }

    #[test]
    fn of_many_answers_the_worst_pair_counts() {
        let two = of(&["pay 100 now", "pay 900 later"]);
        let three = of(&["pay 100 now", "pay 100 now", "pay 900 later"]);
        assert_eq!(two, three);
        assert_eq!(of(&["pay 100"]), Score::default());
        assert_eq!(of(&[]), Score::default());
    }

    #[test]
    fn drift_needs_a_baseline() {
        let drift = |prompt: Option<&str>, baseline: Option<&str>| {
            let score = score(&[], prompt, baseline);
            (score.signals.prompt_drift, score.composite)
        };
        assert_eq!(drift(None, None), (None, None));
        assert_eq!(drift(Some("h"), None), (None, None));
        assert_eq!(drift(None, Some("h")), (None, None));
        assert_eq!(drift(Some("h"), Some("h")), (Some(0.0), Some(0.0)));
        assert_eq!(drift(Some("h"), Some("i")), (Some(1.0), Some(1.0)));
    }

    #[test]
    fn a_prompt_typed_twice_is_one_prompt() {
        let hash = prompt_hash("  Pay\tACME \n 100 ");
        assert_eq!(hash, prompt_hash("pay acme 100"));
        // SHA-256 of `pay acme 100`, from another implementation.
        assert_eq!(
            hash,
            "9c7e4054ed78c8ac222acf1ba7fb3c0b762a5c06fa553127b706f587f0eb8acc"
        );
    }

    #[test]
    fn weights_that_cannot_weigh_are_told_apart() {
        let of = |a, b, c| Weights {
            output_instability: a,
            numeric_variance: b,
            prompt_drift: c,
        };
        assert!(Weights::default().are_usable() && of(0.0, 0.0, 1.0).are_usable());
        assert!(!of(0.0, 0.0, 0.0).are_usable());
        assert!(!of(-0.1, 0.5, 0.5).are_usable());
        assert!(!of(f64::NAN, 0.5, 0.5).are_usable());
        let words = Signals {
            output_instability: Some(0.5),
            ..Signals::default()
        };
        assert_eq!(composite(&words, &of(0.0, 1.0, 1.0)), None);
    }

    #[test]
    #[rustfmt::skip]
    fn a_good_score_of_ones_own_is_no_score() {
        use OnMissing::{Allow, Block, Hold};
        use Severity::{Block as Blocks, Hold as Holds};
        let cases = [
            // composite    attested  on_missing  low           unknown
            (Some(0.4499),  true,     Hold,       false,        None),
            (Some(0.45),    true,     Hold,       true,         None),
            (Some(0.45),    false,    Hold,       true,         None),
            (Some(f64::NAN), true,    Hold,       true,         None),
            (Some(0.0),     false,    Hold,       false,        Some(Holds)),
            (Some(0.0),     false,    Block,      false,        Some(Blocks)),
            (Some(0.0),     false,    Allow,      false,        None),
            (None,          true,     Hold,       false,        Some(Holds)),
            (None,          false,    Block,      false,        Some(Blocks)),
            (None,          false,    Allow,      false,        None),
        ];
        for (composite, attested, on_missing, is_low, is_unknown) in cases {
            let mut facts = facts();
            facts.integrity.score.composite = composite;
            facts.integrity.attested = attested;
            facts.integrity.on_missing = on_missing;
            let sample = Sample::default();
            let row = format!("{composite:?} {attested} {on_missing:?}");
            assert_eq!(low(&sample.request(), &facts).is_some(), is_low, "{row}");
            let found = unknown(&sample.request(), &facts).map(|finding| finding.severity);
            assert_eq!(found, is_unknown, "{row}");
        }
    }

    #[test]
    #[rustfmt::skip]
    fn a_prompt_that_has_to_be_there_is_held_for_when_it_is_not() {
        use OnMissing::{Allow, Block, Hold};
        use Severity::{Block as Blocks, Hold as Holds};
        let cases = [
            // required  prompt              composite  on_missing  unknown
            (false,      None,               Some(0.1), Hold,       None),
            (true,       Some("Pay Acme"),   Some(0.1), Hold,       None),
            (true,       Some("पेमेंट करें"),    Some(0.1), Hold,       None),
            (true,       None,               Some(0.1), Hold,       Some(Holds)),
            (true,       None,               Some(0.1), Allow,      Some(Holds)),
            (true,       None,               Some(0.1), Block,      Some(Holds)),
            (true,       None,               None,      Block,      Some(Blocks)),
            (true,       Some(""),           Some(0.1), Allow,      Some(Holds)),
            (true,       Some(" \n ..."),    Some(0.1), Allow,      Some(Holds)),
        ];
        for (required, prompt, composite, on_missing, expected) in cases {
            let mut facts = facts();
            facts.integrity.score.composite = composite;
            facts.integrity.attested = true;
            facts.integrity.on_missing = on_missing;
            facts.integrity.require_prompt = required;
            facts.integrity.prompt = prompt.map(str::to_owned);
            let found = unknown(&Sample::default().request(), &facts);
            let row = format!("{required} {prompt:?} {composite:?} {on_missing:?}");
            assert_eq!(found.as_ref().map(|found| found.severity), expected, "{row}");
            let told = found.is_none_or(|found| found.detail.contains("`prompt`"));
            assert!(told, "{row}");
        }
    }

    proptest! {
        /// Whatever the texts, a score is a number from 0 to 1, and equal texts never disagree.
        #[test]
        fn a_score_is_a_number_from_0_to_1(texts in prop::collection::vec("\\PC{0,40}", 0..5)) {
            let scored = score(&texts, None, None);
            if let Some(composite) = scored.composite {
                prop_assert!((0.0..=1.0).contains(&composite));
            }
            let twice: Vec<String> = texts.first().map(|t| vec![t.clone(); 2]).unwrap_or_default();
            let same = score(&twice, None, None);
            prop_assert!(same.composite.is_none_or(|c| c == 0.0));
        }
    }
}
