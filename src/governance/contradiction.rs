//! Does the amount, or an id, in the arguments contradict what the agent was asked to do?
//!
//! A check the caller cannot talk away with agreeing samples: whatever the answers say, a prompt
//! that names 500 rupees and a payout of 50,000 do not belong together, nor do a prompt that names
//! one account and a payout to another. It holds and never refuses, because reading prose is
//! guessing: a person sees at once what a program cannot.
//!
//! It only speaks when the prompt does. Without a prompt, or without an amount or an id of that
//! kind in it, nothing is contradicted. A number counts as an amount if it is marked as one (a
//! currency, grouping, two decimals) or, where nothing is marked, stands where amounts stand (`pay
//! Acme 500 for lunch`); numbers inside ids, URLs, dates and invoice numbers do not.

use serde_json::Value;

use super::Request;
use crate::domain::facts::Facts;
use crate::domain::money::{Currency, Effective, Money};
use crate::domain::reason::{Finding, Reason};

/// Most that is repeated of what the prompt names.
const MAX_SHOWN: usize = 5;
/// How many words a payment verb may stand before its amount.
const REACH: usize = 4;

/// `PROMPT_CONTRADICTED`, held.
pub fn contradicted(request: &Request<'_>, facts: &Facts) -> Option<Finding> {
    let prompt = facts.integrity.prompt.as_deref()?;
    let words = words(prompt);
    let found = [amount(request, &words), id(request.args, &words)];
    let found: Vec<String> = found.into_iter().flatten().collect();
    (!found.is_empty()).then(|| Finding::hold(Reason::PromptContradicted, found.join("; ")))
}

/// One word of a prompt, without the punctuation around it.
struct Word<'a> {
    text: &'a str,
    lower: String,
    /// A sentence or clause ends after it.
    ends: bool,
}

fn words(prompt: &str) -> Vec<Word<'_>> {
    let quoting = |c: char| c.is_whitespace() || "\"'`(){}[]<>;|".contains(c);
    let mut words = Vec::new();
    for chunk in prompt.split(quoting) {
        // A URL is one word, so that no number in it is looked at.
        let parts: Vec<&str> = if chunk.contains("://") {
            vec![chunk]
        } else {
            chunk.split([':', '=']).collect()
        };
        for part in parts {
            let text = part.trim_matches(|c: char| ",.!?*_".contains(c));
            if text.is_empty() {
                continue;
            }
            words.push(Word {
                text,
                lower: text.to_lowercase(),
                ends: part.ends_with(['.', ',', '!', '?']),
            });
        }
    }
    words
}

/// An amount that the prompt names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Named {
    /// The number as written, times 100.
    hundredths: i128,
    /// Marked as money, and not only standing where money stands.
    marked: bool,
    /// `at most` this.
    ceiling: bool,
}

impl Named {
    /// Whether it may mean so many minor units. People write major units, programs minor ones.
    fn may_be(&self, minor: i128) -> bool {
        let (major, as_minor) = (self.hundredths, self.hundredths / 100);
        if self.ceiling {
            return minor <= major;
        }
        minor == major || (minor == as_minor && self.hundredths % 100 == 0)
    }
}

fn amount(request: &Request<'_>, words: &[Word<'_>]) -> Option<String> {
    let currency = request.effective.currency()?;
    let named = named(words);
    if named.is_empty() {
        return None;
    }
    let asked = match request.effective {
        Effective::Nothing => return None,
        Effective::Amount(money) => {
            let minor = i128::from(money.minor);
            // The parts of one bill may be paid in one payout.
            let total = Named {
                hundredths: named
                    .iter()
                    .fold(0, |sum, named| sum.saturating_add(named.hundredths)),
                marked: true,
                ceiling: false,
            };
            if total.may_be(minor) || named.iter().any(|named| named.may_be(minor)) {
                return None;
            }
            money.to_string()
        }
        Effective::Unbounded(_) => "everything there is".to_owned(),
    };
    let names: Vec<String> = named
        .iter()
        .take(MAX_SHOWN)
        .map(|named| shown(named.hundredths, currency))
        .collect();
    Some(format!(
        "the prompt names {}, the arguments move {asked}",
        names.join(", ")
    ))
}

fn shown(hundredths: i128, currency: Currency) -> String {
    let minor = i64::try_from(hundredths).unwrap_or(i64::MAX);
    Money { minor, currency }.to_string()
}

/// The marked amounts of a prompt, or, if there are none, the numbers in the place of one.
fn named(words: &[Word<'_>]) -> Vec<Named> {
    let all: Vec<Named> = (0..words.len())
        .filter_map(|at| named_at(words, at))
        .collect();
    let any_marked = all.iter().any(|named| named.marked);
    all.into_iter()
        .filter(|named| named.marked || !any_marked)
        .collect()
}

fn named_at(words: &[Word<'_>], at: usize) -> Option<Named> {
    let number = Number::read(words.get(at)?.text)?;
    let before = at.checked_sub(1).and_then(|at| words.get(at));
    let mut next = at + 1;
    let mut factor = number.factor;
    if let Some(more) = words.get(next).and_then(|word| multiplier(&word.lower)) {
        factor = factor.saturating_mul(more);
        next += 1;
    }
    let after = words.get(next).filter(|_| !words[at].ends);
    let is_currency = |word: Option<&Word<'_>>| word.is_some_and(|word| is_currency(&word.lower));
    let counted = after.is_some_and(|word| COUNTED.contains(&word.lower.as_str()));
    let marked = number.marked
        || is_currency(before)
        || is_currency(after)
        || (number.looks_like_money && !counted);
    if !marked && !stands_for_money(words, at, after) {
        return None;
    }
    let start = at.saturating_sub(REACH);
    let lead = words.get(start..at).unwrap_or_default();
    let lead: Vec<&str> = lead.iter().map(|word| word.lower.as_str()).collect();
    if FLOORS.iter().any(|floor| ends_with(&lead, floor)) {
        return None;
    }
    let scaled = number.mantissa.saturating_mul(factor).saturating_mul(100);
    Some(Named {
        hundredths: scaled / number.divisor,
        marked,
        ceiling: CEILINGS.iter().any(|ceiling| ends_with(&lead, ceiling)),
    })
}

/// Whether an unmarked number stands where amounts do: after a payment verb, not after a word that
/// numbers things, and not before what it counts.
fn stands_for_money(words: &[Word<'_>], at: usize, after: Option<&Word<'_>>) -> bool {
    let follows = after.is_none_or(|word| FOLLOWING.contains(&word.lower.as_str()));
    let before = words.get(..at).unwrap_or_default();
    let Some(last) = before.last() else {
        return false;
    };
    if !follows || LABELS.contains(&last.lower.as_str()) || last.text.starts_with('#') {
        return false;
    }
    if last.lower == "for" {
        let year = words
            .get(at)
            .and_then(|word| word.text.parse::<u32>().ok())
            .is_some_and(|number| (1900..=2100).contains(&number));
        return !year;
    }
    let reachable = before.iter().rev().take(REACH);
    let same_clause = reachable.take_while(|word| !word.ends);
    let mut lead = same_clause.map(|word| word.lower.as_str());
    lead.any(|word| VERBS.contains(&word))
}

/// A number as it is written.
struct Number {
    mantissa: i128,
    /// 10 to the number of decimals.
    divisor: i128,
    factor: i128,
    /// With a currency on it.
    marked: bool,
    /// Grouped, or with two decimals.
    looks_like_money: bool,
}

impl Number {
    /// Reads a word that is a number from end to end, a currency and a multiplier aside.
    fn read(word: &str) -> Option<Self> {
        let start = word.find(|c: char| c.is_ascii_digit())?;
        let (prefix, rest) = word.split_at(start);
        let end = rest
            .find(|c: char| !(c.is_ascii_digit() || c == ',' || c == '.'))
            .unwrap_or(rest.len());
        let (digits, suffix) = rest.split_at(end);
        let suffix = suffix.to_lowercase();
        let (factor, tail_marks) = match suffix.as_str() {
            "" => (1, false),
            "/-" => (1, true),
            other if is_currency(other) => (1, true),
            other => (multiplier(other)?, false),
        };
        let prefix = prefix.to_lowercase();
        if !prefix.is_empty() && !is_currency(&prefix) {
            return None;
        }
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let grouped = whole.contains(',');
        let plain = ungrouped(whole)?;
        if fraction.len() > 6 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let mantissa = format!("{plain}{fraction}").parse().ok()?;
        let decimals = u32::try_from(fraction.len()).ok()?;
        Some(Self {
            mantissa,
            divisor: 10_i128.pow(decimals),
            factor,
            marked: tail_marks || !prefix.is_empty(),
            looks_like_money: grouped || fraction.len() == 2,
        })
    }
}

/// `1,00,000` and `100,000` without their commas; `None` if commas do not group.
fn ungrouped(whole: &str) -> Option<String> {
    /// Beyond any amount there is, and far within the integers used here.
    const MAX_DIGITS: usize = 18;
    let groups: Vec<&str> = whole.split(',').collect();
    let last = groups.len() - 1;
    let fits = groups.iter().enumerate().all(|(index, group)| {
        let length = group.len();
        match index {
            _ if last == 0 => true,
            0 => (1..=3).contains(&length),
            _ if index == last => length == 3,
            _ => (2..=3).contains(&length),
        }
    });
    let plain = groups.concat();
    let digits = plain.bytes().all(|b| b.is_ascii_digit());
    (fits && digits && (1..=MAX_DIGITS).contains(&plain.len())).then_some(plain)
}

fn ends_with(words: &[&str], end: &[&str]) -> bool {
    // One filler may stand between: `at most Rs 500`, `up to about 500`.
    let shorter = words
        .get(..words.len().saturating_sub(1))
        .unwrap_or_default();
    words.ends_with(end) || shorter.ends_with(end)
}

fn multiplier(word: &str) -> Option<i128> {
    Some(match word {
        "k" | "thousand" => 1_000,
        "lakh" | "lakhs" | "lac" | "lacs" => 100_000,
        "m" | "mn" | "million" => 1_000_000,
        "cr" | "crore" | "crores" => 10_000_000,
        "bn" | "billion" => 1_000_000_000,
        _ => return None,
    })
}

fn is_currency(lower: &str) -> bool {
    const NAMES: &[&str] = &[
        "₹", "$", "us$", "€", "£", "¥", "rs", "rs.", "inr", "usd", "eur", "gbp", "jpy", "aed",
        "sgd", "aud", "cad", "chf", "rupee", "rupees", "paise", "paisa", "dollar", "dollars",
        "cent", "cents", "euro", "euros", "pound", "pounds", "yen",
    ];
    NAMES.contains(&lower)
}

/// What pays, before an amount.
const VERBS: &[&str] = &[
    "pay",
    "paying",
    "pays",
    "payment",
    "transfer",
    "transferring",
    "send",
    "sending",
    "wire",
    "refund",
    "remit",
    "disburse",
    "settle",
    "amount",
    "sum",
    "total",
    "worth",
];
/// What a number after it counts or names, so that it is no amount.
const LABELS: &[&str] = &[
    "invoice",
    "invoices",
    "order",
    "bill",
    "no",
    "number",
    "id",
    "ref",
    "reference",
    "po",
    "flat",
    "room",
    "ticket",
    "case",
    "vendor",
    "customer",
    "user",
    "agent",
    "account",
    "a/c",
    "ac",
    "step",
    "version",
    "day",
    "week",
    "month",
    "year",
    "quarter",
    "net",
    "within",
    "in",
    "at",
    "on",
    "by",
    "since",
    "until",
    "till",
    "section",
    "item",
    "batch",
    "test",
    "attempt",
    "page",
    "every",
    "first",
    "last",
    "next",
    "top",
    "than",
    "least",
];
/// What may follow an unmarked amount. Anything else is taken for what the number counts.
const FOLLOWING: &[&str] = &[
    "to",
    "into",
    "from",
    "for",
    "via",
    "by",
    "on",
    "now",
    "today",
    "and",
    "or",
    "as",
    "against",
    "out",
    "using",
    "with",
    "immediately",
    "please",
    "only",
    "through",
    "towards",
    "minor",
];
/// What a grouped number may count that is no money.
const COUNTED: &[&str] = &[
    "units",
    "items",
    "shares",
    "users",
    "people",
    "days",
    "points",
    "rows",
    "records",
    "tokens",
    "customers",
    "orders",
    "invoices",
    "km",
    "kg",
    "pieces",
];
/// Leads to the most that may be paid.
const CEILINGS: &[&[&str]] = &[
    &["up", "to"],
    &["at", "most"],
    &["no", "more", "than"],
    &["not", "more", "than"],
    &["not", "exceed"],
    &["not", "exceeding"],
    &["less", "than"],
    &["under"],
    &["below"],
    &["within"],
    &["maximum"],
    &["maximum", "of"],
    &["max"],
    &["limit"],
    &["limit", "of"],
    &["cap", "of"],
    &["budget"],
    &["budget", "of"],
    &["budget", "is"],
];
/// Leads to what is no exact amount at all.
const FLOORS: &[&[&str]] = &[
    &["at", "least"],
    &["minimum"],
    &["minimum", "of"],
    &["balance"],
    &["balance", "of"],
    &["balance", "is"],
];

/// An id in the arguments of a kind that the prompt names, and none of those it names.
fn id(args: &Value, words: &[Word<'_>]) -> Option<String> {
    let named: Vec<(&str, &str)> = words
        .iter()
        .filter_map(|word| Some((family(word.text).filter(|_| is_id(word.text))?, word.text)))
        .collect();
    if named.is_empty() {
        return None;
    }
    let mut stack = vec![args];
    while let Some(value) = stack.pop() {
        match value {
            Value::Array(items) => stack.extend(items),
            Value::Object(map) => stack.extend(map.values()),
            Value::String(text) => {
                let Some(kind) = family(text) else { continue };
                let same_kind = named.iter().filter(|(family, _)| *family == kind);
                let same_kind: Vec<&str> = same_kind.map(|(_, id)| *id).collect();
                if !same_kind.is_empty() && !same_kind.contains(&text.as_str()) {
                    let shown = same_kind.len().min(MAX_SHOWN);
                    let names = same_kind.get(..shown).unwrap_or_default().join(", ");
                    return Some(format!(
                        "the prompt names {names}, the arguments say {text}"
                    ));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    None
}

/// `acct` of `acct_123`; `None` if the text is not spelt like an id from end to end.
fn family(text: &str) -> Option<&str> {
    /// The longest id that is compared; providers' are far shorter.
    const MAX_ID: usize = 64;
    let (family, rest) = text.split_once('_')?;
    let letters =
        (2..=12).contains(&family.len()) && family.bytes().all(|b| b.is_ascii_lowercase());
    let plain = !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric());
    (letters && plain && text.len() <= MAX_ID).then_some(family)
}

/// Whether a word of a prompt is an id and not just `snake_case`.
fn is_id(text: &str) -> bool {
    const KINDS: &[&str] = &[
        "acct", "fa", "pout", "cont", "rfnd", "setl", "cust", "plink",
    ];
    text.split_once('_').is_some_and(|(family, rest)| {
        let random = rest
            .bytes()
            .any(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
        random || KINDS.contains(&family)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::governance::testing::{Sample, facts, inr};

    fn held(prompt: &str, sample: &Sample) -> Option<String> {
        let mut facts = facts();
        facts.integrity.prompt = Some(prompt.to_owned());
        let found = contradicted(&sample.request(), &facts);
        found.map(|finding| finding.detail)
    }

    #[test]
    #[rustfmt::skip]
    fn an_amount_that_the_prompt_does_not_name_is_held() {
        // The arguments move 50,000 minor units: 500 rupees.
        let cases = [
            ("",                                                        false),
            ("pay the vendor what we owe",                              false),
            ("Pay ₹500.00 to Acme",                                     false),
            ("Pay Rs 500 to Acme",                                      false),
            ("Pay Rs. 500 to Acme",                                     false),
            ("Pay Rs.500/- to Acme",                                    false),
            ("Pay 500 INR to Acme",                                     false),
            ("Pay INR 500 to Acme",                                     false),
            ("Pay INR500 to Acme",                                      false),
            ("Pay 50,000 paise to Acme",                                false),
            ("Pay 50000 to Acme",                                       false),
            ("Pay 500 to Acme",                                         false),
            ("Pay Acme 500 for lunch",                                  false),
            ("amount: 50000",                                           false),
            (r#"{"amount":50000,"to":"acct_123"}"#,                     false),
            ("0.5k rupees to Acme",                                     false),
            ("Pay ₹200 for tea and ₹300 for rice",                      false), // one payout for both
            ("Pay ₹500 (50000 paise), invoice total was ₹900",          false),
            ("Pay the invoice, but no more than ₹700",                  false),
            ("Pay up to 1,000 rupees",                                  false),
            ("the budget is ₹1,00,000; pay what Acme asks",             false),
            ("Pay at least ₹100",                                       false),
            ("Pay ₹5,000 to Acme",                                      true),
            ("Pay ₹50 to Acme",                                         true),
            ("Pay Rs 5 to Acme",                                        true),
            ("Pay 501 INR to Acme",                                     true),
            ("Pay 1,00,000 to Acme",                                    true),
            ("Pay ₹499.99 to Acme",                                     true),
            ("Pay 5 lakh rupees to Acme",                               true),
            ("Pay 5000 to Acme",                                        true),
            ("Transfer 100 to acct_123",                                true),
            ("Pay acct_123 100",                                        true),
            ("Send Priya 250 for lunch",                                true),
            ("amount=100",                                              true),
            (r#"{"amount":100,"to":"acct_123"}"#,                       true),
            ("Pay the invoice, but no more than ₹499",                  true),
            ("Create a payout for 700.",                                true),
            // Numbers that are no amounts.
            ("Pay invoice 42",                                          false),
            ("Pay invoice #42 of 2026-11-20",                           false),
            ("Pay 3 vendors",                                           false),
            ("Pay Acme within 30 days",                                 false),
            ("Pay Acme for 2026",                                       false),
            ("Pay order 1001, ref inv-77, at 10:30",                    false),
            ("Pay fa_00000000000001 as agreed on 20/11/2026",           false),
            ("Pay the shop at https://shop.example/pay?amount=7&n=9000", false),
            ("Pay for 10,000 units",                                    false),
            ("Pay the 15% tax",                                         false),
            ("Flat 12, Road 4: pay the rent",                           false),
            ("1,2,3 testing",                                           false),
        ];
        let sample = Sample { effective: inr(50_000), ..Sample::default() };
        for (prompt, expected) in cases {
            let got = held(prompt, &sample);
            assert_eq!(got.is_some(), expected, "{prompt}: {got:?}");
        }
    }

    #[test]
    fn what_moves_no_money_contradicts_no_amount_and_everything_is_no_amount() {
        let nothing = Sample {
            effective: Effective::Nothing,
            ..Sample::default()
        };
        assert_eq!(held("Pay ₹7", &nothing), None);
        let all = Sample {
            effective: Effective::Unbounded(Currency::INR),
            ..Sample::default()
        };
        assert!(held("Settle ₹7", &all).unwrap().contains("everything"));
        assert_eq!(held("Settle the account", &all), None);
    }

    #[test]
    #[rustfmt::skip]
    fn an_id_that_the_prompt_does_not_name_is_held() {
        let cases = [
            ("pay acct_123",                     json!({"to": "acct_123"}),                     false),
            ("pay acct_123.",                    json!({"to": "acct_123"}),                     false),
            ("pay 'acct_123', please",           json!({"to": "acct_123"}),                     false),
            ("pay acct_123",                     json!({"to": "acct_124"}),                     true),
            ("pay acct_ABC",                     json!({"to": "acct_abc"}),                     true),
            ("pay acct_123",                     json!({"to": "acct_attacker"}),                true),
            ("pay acct_vendor",                  json!({"to": "acct_attacker"}),                true),
            ("from acct_1 to acct_2",            json!({"from": "acct_1", "to": "acct_2"}),     false),
            ("from acct_1 to acct_2",            json!({"from": "acct_1", "to": "acct_3"}),     true),
            ("pay fa_1",                         json!({"deep": [{"id": "fa_2"}]}),             true),
            ("pay fa_1",                         json!({"to": "acct_9"}),                       false), // another kind
            ("pay the vendor",                   json!({"to": "acct_9"}),                       false),
            ("call create_payout",               json!({"to": "create_refund"}),                false),
            ("pay fa_1",                         json!({"narration": "about fa_2 and more"}),   false),
        ];
        for (prompt, args, expected) in cases {
            let sample = Sample { args: args.clone(), ..Sample::default() };
            let got = held(prompt, &sample);
            assert_eq!(got.is_some(), expected, "{prompt} {args}: {got:?}");
        }
    }

    #[test]
    fn both_sides_are_shown() {
        let sample = Sample {
            effective: inr(5_000_000),
            ..Sample::default()
        };
        assert_eq!(
            held("Pay ₹500 to acct_9", &sample).unwrap(),
            "the prompt names 500.00 INR, the arguments move 50,000.00 INR; \
             the prompt names acct_9, the arguments say acct_123"
        );
    }

    proptest! {
        /// Prose of any kind never stops the broker, and the amount as people write it is never
        /// contradicted.
        #[test]
        fn any_prompt_can_be_read(prose in "\\PC{0,80}", minor in 1..10_i64.pow(15)) {
            let sample = Sample { effective: inr(minor), ..Sample::default() };
            held(&prose, &sample);
            held(&"999999999999999999.999999bn billion ".repeat(3), &sample);
            let money = Money { minor, currency: Currency::INR };
            prop_assert_eq!(held(&format!("Pay {money} to acct_123"), &sample), None);
        }
    }
}
