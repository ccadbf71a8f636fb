//! The built-in model of the sandbox: it "answers" a prompt twice, so that the score has something
//! to compare where no real model is configured.
//!
//! Deterministic, and steady like a model that understood the task: the second answer says the
//! same in nearly the same words, with the amount one percent off and a little less certainty. It
//! does not read the prompt; the checks that compare prompt and arguments do that.

use serde_json::Value;

/// Fields that are told; more do not change how alike the two answers are.
const MAX_FIELDS: usize = 16;
/// Characters told of one field.
const MAX_CHARS: usize = 64;

/// Two answers about a call of `tool` with `args`.
pub fn samples(tool: &str, args: &Value, prompt: Option<&str>) -> [String; 2] {
    let _ = prompt;
    let mut fields = fields(args);
    let first = answer(tool, &fields);
    if let Some((_, value, amount)) = fields.first_mut()
        && let Some(amount) = *amount
    {
        *value = one_percent_more(amount);
    }
    let second = answer(tool, &fields);
    [format!("{first}."), format!("{second}, maybe later.")]
}

/// Name, text, and the number it is, if it is one.
type Field = (String, String, Option<i64>);

/// The amount, or else the first whole number, leads: it is what the answers differ in.
fn fields(args: &Value) -> Vec<Field> {
    let mut fields: Vec<Field> = args
        .as_object()
        .into_iter()
        .flatten()
        .take(MAX_FIELDS)
        .map(|(name, value)| (name.clone(), shown(value), value.as_i64()))
        .collect();
    fields.sort_by_key(|(name, _, number)| (name != "amount", number.is_none(), name.clone()));
    fields
}

fn answer(tool: &str, fields: &[Field]) -> String {
    let told: Vec<String> = fields
        .iter()
        .map(|(name, value, _)| format!("{name} {value}"))
        .collect();
    let told = told.join(" and ");
    let with = if told.is_empty() { "" } else { " with " };
    format!("Plan: {tool}{with}{told}; it takes 2 steps")
}

fn shown(value: &Value) -> String {
    let text = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    text.chars().take(MAX_CHARS).collect()
}

/// In integers, so that the relative difference is one percent whatever the size.
fn one_percent_more(amount: i64) -> String {
    let hundredths = i128::from(amount) * 101;
    let sign = if hundredths < 0 { "-" } else { "" };
    let (whole, rest) = (hundredths.abs() / 100, hundredths.abs() % 100);
    if rest == 0 {
        format!("{sign}{whole}")
    } else {
        format!("{sign}{whole}.{rest:02}")
    }
}

#[cfg(test)]
#[allow(clippy::float_arithmetic, reason = "the score is a ratio")]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use regex::Regex;
    use serde_json::json;

    use super::*;

    /// The formulas of the score, written out once more: instability, variance, composite.
    fn score([a, b]: &[String; 2]) -> (f64, Option<f64>, f64) {
        let words = Regex::new(r"\w+").unwrap();
        let bag = |text: &str| -> BTreeSet<String> {
            let text = text.to_lowercase();
            words
                .find_iter(&text)
                .map(|word| word.as_str().to_owned())
                .collect()
        };
        let (left, right) = (bag(a), bag(b));
        let (common, all) = (
            left.intersection(&right).count(),
            left.union(&right).count(),
        );
        let instability = 1.0 - common as f64 / all as f64;

        let digits = Regex::new(r"[-+]?\d*\.?\d+").unwrap();
        let numbers = |text: &str| -> Vec<f64> {
            let found = digits.find_iter(text);
            found
                .map(|number| number.as_str().parse().unwrap())
                .collect()
        };
        let (left, right) = (numbers(a), numbers(b));
        let pairs: Vec<f64> = left
            .iter()
            .zip(&right)
            .map(|(a, b)| (a - b).abs() / a.abs().max(1e-9))
            .collect();
        let mean = pairs.iter().sum::<f64>() / pairs.len() as f64;
        let variance = (!left.is_empty()).then_some(mean.clamp(0.0, 1.0));
        let composite = match variance {
            Some(variance) => (instability * 0.5 + variance * 0.3) / 0.8,
            None => instability,
        };
        (instability, variance, composite)
    }

    fn rounded(value: f64) -> f64 {
        (value * 10_000.0).round() / 10_000.0
    }

    #[test]
    fn the_known_transfer_scores_as_it_always_did() {
        let args = json!({"amount": 100, "to": "acct_123"});
        let (instability, variance, composite) = score(&samples("transfer_funds", &args, None));
        assert_eq!(rounded(instability), 0.2667);
        assert_eq!(variance.map(rounded), Some(0.0033));
        assert_eq!(rounded(composite), 0.1679);
        let prompted = samples("transfer_funds", &args, Some("pay 100 to acct_123"));
        assert_eq!(prompted, samples("transfer_funds", &args, None));
    }

    #[test]
    #[rustfmt::skip]
    fn every_amount_is_one_percent_off() {
        let cases = [(1, "1.01"), (100, "101"), (150, "151.50"), (250_000, "252500"), (-200, "-202"),
                     (9_007_199_254_740_991, "9097271247288400.91")];
        for (amount, expected) in cases {
            assert_eq!(one_percent_more(amount), expected);
        }
        let (_, variance, _) = score(&samples("transfer_funds", &json!({"amount": 7, "to": "acct_123"}), None));
        assert_eq!(variance.map(rounded), Some(0.0033));
    }

    #[test]
    fn tools_without_an_amount_are_answered_too() {
        for (tool, args) in [
            ("noop", json!({})),
            ("noop", json!({"note": "x"})),
            (
                "approve_payout",
                json!({"payout_id": "pout_00000000000001", "remarks": "ok"}),
            ),
            ("odd", json!([1, 2])),
            ("nested", json!({"list": [{"amount": 5}], "flag": true})),
        ] {
            let (_, _, composite) = score(&samples(tool, &args, None));
            assert!(composite < 0.45, "{tool} {args} {composite}");
        }
    }

    proptest! {
        /// The sandbox lets a newcomer's proposal through, whatever it is.
        #[test]
        fn the_score_stays_low(amount in 1_i64..9_007_199_254_740_991, to in "[A-Za-z0-9_.@-]{1,64}", tool in "[a-z_]{1,20}") {
            let (_, _, composite) = score(&samples(&tool, &json!({"amount": amount, "to": to}), None));
            prop_assert!(composite < 0.45, "{}", composite);
        }
    }
}
