//! Money: integer minor units of one currency. A float never is an amount.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A currency by its ISO 4217 code, three upper-case letters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

impl Currency {
    /// The Indian rupee, whose minor unit is the paisa.
    pub const INR: Self = Self(*b"INR");

    /// Reads a code; `None` unless it is three upper-case letters.
    pub fn parse(code: &str) -> Option<Self> {
        let bytes: [u8; 3] = code.as_bytes().try_into().ok()?;
        bytes
            .iter()
            .all(u8::is_ascii_uppercase)
            .then_some(Self(bytes))
    }

    /// The three letters.
    pub fn code(&self) -> &str {
        // Letters by construction; were they not, ISO 4217 spells "no currency" so.
        std::str::from_utf8(&self.0).unwrap_or("XXX")
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl TryFrom<String> for Currency {
    type Error = &'static str;

    fn try_from(code: String) -> Result<Self, Self::Error> {
        Self::parse(&code).ok_or("a currency is three upper-case letters")
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> String {
        currency.code().to_owned()
    }
}

/// An amount in minor units (paise for INR).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Money {
    /// Minor units; positive for anything that leaves.
    pub minor: i64,
    /// Of this currency.
    pub currency: Currency,
}

impl fmt::Display for Money {
    /// `12,345.67 INR`, for people; two decimals unless the currency is known to have none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.minor < 0 { "-" } else { "" };
        let minor = self.minor.unsigned_abs();
        let whole_only = matches!(&self.currency.0, b"JPY" | b"KRW" | b"VND" | b"CLP");
        let (whole, rest) = if whole_only {
            (minor, 0)
        } else {
            (minor / 100, minor % 100)
        };
        let digits = whole.to_string();
        let mut grouped = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        if whole_only {
            write!(f, "{sign}{grouped} {}", self.currency)
        } else {
            write!(f, "{sign}{grouped}.{rest:02} {}", self.currency)
        }
    }
}

/// What a proposal can move at most, which need not be what its `amount` field says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effective {
    /// Moves no money.
    Nothing,
    /// Moves at most this.
    Amount(Money),
    /// May move everything there is (a full-balance settlement), so no finite limit allows it.
    Unbounded(Currency),
}

impl Effective {
    /// The amount in minor units: 0 for nothing, the largest number for everything.
    pub fn minor(&self) -> i64 {
        match self {
            Self::Nothing => 0,
            Self::Amount(money) => money.minor,
            Self::Unbounded(_) => i64::MAX,
        }
    }

    /// The currency moved, if money is.
    pub fn currency(&self) -> Option<Currency> {
        match self {
            Self::Nothing => None,
            Self::Amount(money) => Some(money.currency),
            Self::Unbounded(currency) => Some(*currency),
        }
    }

    /// True if money can leave.
    pub fn moves_money(&self) -> bool {
        !matches!(self, Self::Nothing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_reads_as_people_write_it() {
        let shown = |minor, code| {
            Money {
                minor,
                currency: Currency::parse(code).unwrap(),
            }
            .to_string()
        };
        assert_eq!(shown(123_456_789, "INR"), "1,234,567.89 INR");
        assert_eq!(shown(5, "INR"), "0.05 INR");
        assert_eq!(shown(-100, "USD"), "-1.00 USD");
        assert_eq!(shown(1_000, "JPY"), "1,000 JPY");
    }

    #[test]
    fn a_currency_has_one_spelling() {
        for bad in ["inr", "IN", "INRR", "₹", ""] {
            assert_eq!(Currency::parse(bad), None, "{bad}");
        }
    }
}
