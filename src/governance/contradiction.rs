//! Does the amount, or an id, in the arguments contradict what the agent was asked to do?
//!
//! A check the caller cannot talk away with agreeing samples: whatever the answers say, a prompt
//! that names 500 rupees and a payout of 50,000 do not belong together, nor do a prompt that names
//! one account and a payout to another. It holds and never refuses, because reading prose is
//! guessing: a person sees at once what a program cannot.
//!
//! It only speaks when the prompt does. Without a prompt, or without an amount or an id of that
//! kind in it, nothing is contradicted; where that is not enough, `integrity.require_prompt` holds
//! what has no prompt. How amounts are read is `amounts`' business.

use serde_json::Value;

use super::prose::{Word, words};
use super::{Request, amounts};
use crate::domain::facts::Facts;
use crate::domain::money::Effective;
use crate::domain::reason::{Finding, Reason};

/// Most that is repeated of what the prompt names.
const MAX_SHOWN: usize = 5;

/// `PROMPT_CONTRADICTED`, held.
pub fn contradicted(request: &Request<'_>, facts: &Facts) -> Option<Finding> {
    let prompt = facts.integrity.prompt.as_deref()?;
    let words = words(prompt);
    let found = [amount(request, &words), id(request.args, &words)];
    let found: Vec<String> = found.into_iter().flatten().collect();
    (!found.is_empty()).then(|| Finding::hold(Reason::PromptContradicted, found.join("; ")))
}

fn amount(request: &Request<'_>, words: &[Word]) -> Option<String> {
    let currency = request.effective.currency()?;
    let named = amounts::named(words, currency);
    if named.is_empty() {
        return None;
    }
    let asked = match request.effective {
        Effective::Nothing => return None,
        Effective::Amount(money) if amounts::contradict(&named, money.minor) => money.to_string(),
        Effective::Amount(_) => return None,
        Effective::Unbounded(_) => "everything there is".to_owned(),
    };
    let names = named.iter().take(MAX_SHOWN);
    let names: Vec<String> = names.map(|named| named.shown(currency)).collect();
    Some(format!(
        "the prompt names {}, the arguments move {asked}",
        names.join(", ")
    ))
}

/// An id in the arguments of a kind that the prompt names, and none of those it names.
fn id(args: &Value, words: &[Word]) -> Option<String> {
    let named: Vec<(&str, &str)> = words
        .iter()
        .filter_map(|word| {
            let text = word.text.as_str();
            Some((family(text).filter(|_| is_id(text))?, text))
        })
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
    use crate::domain::money::{Currency, Money};
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
