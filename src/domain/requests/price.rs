//! What models cost: exact decimal dollars for a million tokens, and a sum in whole billionths of a
//! dollar, rounded up once for each attempt.
//!
//! No float takes part. A price is kept in parts of 10⁻¹² dollars for a million tokens, so that the
//! products of all kinds of tokens can be added before anything is rounded.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::piece::Tokens;

/// Decimals that a price can have.
const RATE_DECIMALS: usize = 12;
/// Dollars for a million tokens that no model costs: a price above is a mistake of units.
const MAX_DOLLARS: u128 = 1_000_000;
/// Decimals of [`Nanos`].
const NANO_DECIMALS: usize = 9;
/// Parts of a rate, times tokens, that are a nano-dollar: 10⁻¹² × 10⁻⁶ against 10⁻⁹.
const PARTS_OF_A_NANO: u128 = 1_000_000_000;
/// Tokens that a rate is for.
const MILLION: u128 = 1_000_000;

/// Billionths of a dollar.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Nanos(pub u64);

impl fmt::Display for Nanos {
    /// Exact decimal dollars, as `0.000375`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&decimal(u128::from(self.0), NANO_DECIMALS))
    }
}

/// Why a text is no price and no sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotMoney {
    /// No decimal number.
    #[error("has to be decimal dollars as text, such as \"0.0375\"")]
    Malformed,
    /// More decimals than are kept.
    #[error("has more than {0} decimals")]
    TooFine(usize),
    /// More than anything costs.
    #[error("is too much")]
    TooMuch,
}

impl FromStr for Nanos {
    type Err = NotMoney;

    fn from_str(text: &str) -> Result<Self, NotMoney> {
        let parts = parts(text, NANO_DECIMALS)?;
        u64::try_from(parts)
            .map(Self)
            .map_err(|_| NotMoney::TooMuch)
    }
}

/// Dollars for a million tokens, or for one request.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Rate(u64);

impl FromStr for Rate {
    type Err = NotMoney;

    fn from_str(text: &str) -> Result<Self, NotMoney> {
        let parts = parts(text, RATE_DECIMALS)?;
        if parts > MAX_DOLLARS * 10_u128.pow(12) {
            return Err(NotMoney::TooMuch);
        }
        u64::try_from(parts)
            .map(Self)
            .map_err(|_| NotMoney::TooMuch)
    }
}

impl TryFrom<String> for Rate {
    type Error = NotMoney;

    fn try_from(text: String) -> Result<Self, NotMoney> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> String {
        rate.to_string()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&decimal(u128::from(self.0), RATE_DECIMALS))
    }
}

/// What one model costs. What is left out costs what it is a kind of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// Tokens that are read.
    pub input: Rate,
    /// Tokens read from a cache; as `input` where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_input: Option<Rate>,
    /// Tokens written to a cache; as `input` where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_write: Option<Rate>,
    /// Tokens that are written.
    pub output: Rate,
    /// Tokens that are thought; as `output` where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<Rate>,
    /// Dollars for each request besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Rate>,
}

impl Prices {
    /// What an attempt costs that used these tokens, rounded up once. `None` if that is more than
    /// can be counted, which no true answer costs.
    pub fn cost(&self, tokens: &Tokens) -> Option<Nanos> {
        let cached = self.cached_input.unwrap_or(self.input);
        let written = self.cache_write.unwrap_or(self.input);
        let thought = self.reasoning.unwrap_or(self.output);
        self.sum([
            (tokens.input, self.input),
            (tokens.cached_input, cached),
            (tokens.cache_write, written),
            (tokens.output, self.output),
            (tokens.reasoning, thought),
        ])
    }

    /// The most that an attempt can cost that reads `input` tokens and writes `output` at most,
    /// whatever is cached and however much is thought.
    pub fn ceiling(&self, input: u64, output: u64) -> Option<Nanos> {
        let read = [Some(self.input), self.cached_input, self.cache_write];
        let read = read.into_iter().flatten().max().unwrap_or_default();
        let written = self.output.max(self.reasoning.unwrap_or_default());
        self.sum([(input, read), (output, written)])
    }

    fn sum<const N: usize>(&self, terms: [(u64, Rate); N]) -> Option<Nanos> {
        let request = u128::from(self.request.unwrap_or_default().0) * MILLION;
        let parts = terms.into_iter().try_fold(request, |sum, (tokens, rate)| {
            sum.checked_add(u128::from(tokens).checked_mul(u128::from(rate.0))?)
        })?;
        u64::try_from(parts.div_ceil(PARTS_OF_A_NANO))
            .ok()
            .map(Nanos)
    }
}

/// Reads decimal text as so many parts; one text for one number would be too strict, but signs,
/// exponents, spaces and empty halves are no money.
fn parts(text: &str, decimals: usize) -> Result<u128, NotMoney> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err(NotMoney::Malformed);
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > decimals {
        return Err(NotMoney::TooFine(decimals));
    }
    if whole.len() > 18 {
        return Err(NotMoney::TooMuch);
    }
    format!("{whole}{fraction:0<decimals$}")
        .parse()
        .map_err(|_| NotMoney::TooMuch)
}

/// Spells parts as decimal text without zeros at the end.
fn decimal(parts: u128, decimals: usize) -> String {
    let digits = format!("{parts:0>width$}", width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    match fraction.trim_end_matches('0') {
        "" => whole.to_owned(),
        fraction => format!("{whole}.{fraction}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prices(input: &str, output: &str) -> Prices {
        Prices {
            input: input.parse().unwrap(),
            output: output.parse().unwrap(),
            ..Prices::default()
        }
    }

    fn tokens(input: u64, output: u64) -> Tokens {
        Tokens {
            input,
            output,
            ..Tokens::default()
        }
    }

    #[test]
    #[rustfmt::skip]
    fn money_is_decimal_text() {
        for (text, read) in [
            ("0",            Ok("0")),
            ("0.0375",       Ok("0.0375")),
            ("3.00",         Ok("3")),
            ("007.5",        Ok("7.5")),
            ("0.000000001",  Ok("0.000000001")),
            ("0.0000000001", Err(NotMoney::TooFine(9))),
            ("0.0000000010", Ok("0.000000001")),
            ("18446744073",  Ok("18446744073")),
            ("18446744074",  Err(NotMoney::TooMuch)),
            ("9999999999999999999999", Err(NotMoney::TooMuch)),
            ("",             Err(NotMoney::Malformed)),
            (".5",           Err(NotMoney::Malformed)),
            ("5.",           Err(NotMoney::Malformed)),
            ("-1",           Err(NotMoney::Malformed)),
            ("+1",           Err(NotMoney::Malformed)),
            ("1e3",          Err(NotMoney::Malformed)),
            (" 1",           Err(NotMoney::Malformed)),
            ("1,5",          Err(NotMoney::Malformed)),
            ("NaN",          Err(NotMoney::Malformed)),
            ("١",            Err(NotMoney::Malformed)),
        ] {
            let nanos = text.parse::<Nanos>().map(|nanos| nanos.to_string());
            assert_eq!(nanos, read.map(str::to_owned), "{text:?}");
        }
        assert_eq!("1000001".parse::<Rate>(), Err(NotMoney::TooMuch));
    }

    #[test]
    #[rustfmt::skip]
    fn costs_are_rounded_up_once() {
        for (input, output, used, nanos) in [
            ("3",      "15",    tokens(1_000, 500),  10_500_000),
            ("0.0375", "0.15",  tokens(10_000, 0),      375_000),
            ("0.0001", "0",     tokens(1, 0),                 1),
            ("0.0004", "0.0004", tokens(1, 1),                1),
            ("0.0005", "0.0006", tokens(1, 1),                2),
            ("0",      "0",     tokens(9, 9),                 0),
        ] {
            assert_eq!(prices(input, output).cost(&used), Some(Nanos(nanos)), "{input} {output} {used:?}");
        }
    }

    #[test]
    fn each_kind_has_its_price_and_else_that_of_its_kind() {
        let all = Tokens {
            input: 1,
            cached_input: 10,
            cache_write: 100,
            output: 1_000,
            reasoning: 10_000,
        };
        let mut prices = prices("1", "2");
        assert_eq!(prices.cost(&all), Some(Nanos((111 + 2 * 11_000) * 1_000)));
        prices.cached_input = "0.1".parse().ok();
        prices.cache_write = "1.25".parse().ok();
        prices.reasoning = "3".parse().ok();
        prices.request = "0.005".parse().ok();
        let nanos = 1_000 + 1_000 + 125_000 + 2_000_000 + 30_000_000 + 5_000_000;
        assert_eq!(prices.cost(&all), Some(Nanos(nanos)));
    }

    #[test]
    fn a_sum_beyond_counting_is_none() {
        assert_eq!(prices("1000000", "0").cost(&tokens(u64::MAX, 0)), None);
    }

    #[test]
    fn a_price_list_is_read_strictly_and_written_as_it_was() {
        let text = r#"{"input":"3","cached_input":"0.3","output":"15"}"#;
        let prices: Prices = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&prices).unwrap(), text);
        for wrong in [
            r#"{"input":3,"output":"1"}"#,
            r#"{"input":"3"}"#,
            r#"{"input":"3","output":"1","in":"2"}"#,
        ] {
            assert!(serde_json::from_str::<Prices>(wrong).is_err(), "{wrong}");
        }
    }

    prop_compose! {
        fn any_rate()(parts in 0_u64..2_000_000_000_000_000) -> Rate { Rate(parts) }
    }

    prop_compose! {
        fn any_prices()(
            input in any_rate(), output in any_rate(),
            cached_input in prop::option::of(any_rate()), cache_write in prop::option::of(any_rate()),
            reasoning in prop::option::of(any_rate()), request in prop::option::of(any_rate()),
        ) -> Prices {
            Prices { input, cached_input, cache_write, output, reasoning, request }
        }
    }

    proptest! {
        #[test]
        fn money_comes_back_as_it_was_written(nanos in any::<u64>(), parts in any::<u64>()) {
            prop_assert_eq!(Nanos(nanos).to_string().parse(), Ok(Nanos(nanos)));
            let rate = Rate(parts % 1_000_000_000_000_000_000);
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        }

        /// What is reserved is never less than what is settled.
        #[test]
        fn nothing_costs_more_than_the_ceiling(
            prices in any_prices(),
            tokens in prop::array::uniform5(0_u64..100_000_000),
        ) {
            let [input, cached_input, cache_write, output, reasoning] = tokens;
            let tokens = Tokens { input, cached_input, cache_write, output, reasoning };
            let ceiling = prices.ceiling(tokens.read(), tokens.written());
            prop_assert!(prices.cost(&tokens) <= ceiling);
        }
    }
}
