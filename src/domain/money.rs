//! Money: integer minor units of one currency. A float never is an amount.
//!
//! How many minor units make a major one is ISO 4217's to say, for every code, from a library's
//! table: 100 for most, 1 for the yen, 1,000 for the dinar of Bahrain.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A currency by its ISO 4217 code, three upper-case letters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

impl Currency {
    /// The Indian rupee, whose minor unit is the paisa.
    pub const INR: Self = Self(*b"INR");

    /// ISO 4217's code for "no currency": in no policy, so nothing is allowed in it.
    pub const NONE: Self = Self(*b"XXX");

    /// Billionths of a US dollar, which models are paid in. No ISO 4217 code, and so no policy's
    /// limit on payouts: models have a pot of their own.
    pub const NANO_USD: Self = Self(*b"QUN");

    /// Reads a code as other servers spell it, in any case; `None` if it is none.
    pub fn read(text: &str) -> Option<Self> {
        Self::parse(&text.trim().to_ascii_uppercase())
    }

    /// Decimals of a major unit; `None` for what ISO 4217 gives none (gold, no currency) or does not
    /// know.
    pub fn decimals(&self) -> Option<u32> {
        let known = iso_currency::Currency::from_code(self.code())?;
        known.exponent().map(u32::from)
    }

    /// Its name in English, as `Bahraini dinar`; empty for an unknown code.
    pub fn name(&self) -> String {
        let known = iso_currency::Currency::from_code(self.code());
        known.map_or_else(String::new, |known| known.name().to_owned())
    }

    /// The sign people write for it, as `₹`; empty for an unknown code.
    pub fn symbol(&self) -> String {
        let known = iso_currency::Currency::from_code(self.code());
        known.map_or_else(String::new, |known| known.symbol().symbol)
    }

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
    /// `12,345.67 INR`, for people, with the currency's own decimals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.minor < 0 { "-" } else { "" };
        let minor = self.minor.unsigned_abs();
        let currency = self.currency;
        let decimals = currency.decimals();
        let Some(unit) = decimals.and_then(|decimals| 10_u64.checked_pow(decimals)) else {
            return write!(f, "{sign}{} minor units of {currency}", grouped(minor));
        };
        let (whole, rest) = (grouped(minor / unit), minor % unit);
        match decimals.unwrap_or(0) as usize {
            0 => write!(f, "{sign}{whole} {currency}"),
            width => write!(f, "{sign}{whole}.{rest:0width$} {currency}"),
        }
    }
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
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
        assert_eq!(shown(1_200, "BHD"), "1.200 BHD");
        assert_eq!(shown(-7, "KWD"), "-0.007 KWD");
        assert_eq!(shown(12_345, "CLF"), "1.2345 CLF");
        assert_eq!(shown(1_200, "XAU"), "1,200 minor units of XAU");
        assert_eq!(shown(1_200, "QQQ"), "1,200 minor units of QQQ");
    }

    /// The codes of ISO 4217 (list one) that have other than two decimals, and that is all of them.
    #[test]
    fn every_code_has_the_decimals_of_iso_4217() {
        let other = [
            (
                0,
                "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
            ),
            (3, "BHD IQD JOD KWD LYD OMR TND"),
            (4, "CLF UYW"),
        ];
        let listed = |code: &str| {
            let mut rows = other.iter().filter(|(_, codes)| codes.contains(code));
            rows.next().map_or(2, |(decimals, _)| *decimals)
        };
        let mut known = 0;
        for currency in every_code() {
            if let Some(decimals) = currency.decimals() {
                assert_eq!(decimals, listed(currency.code()), "{currency}");
                known += 1;
            }
        }
        assert!(known > 150, "{known}");
        for code in ["INR", "USD", "EUR", "GBP", "AED", "CNY"] {
            assert_eq!(Currency::parse(code).unwrap().decimals(), Some(2));
        }
    }

    /// Every three letters there are.
    fn every_code() -> impl Iterator<Item = Currency> {
        let letters = || b'A'..=b'Z';
        letters().flat_map(move |a| {
            letters().flat_map(move |b| letters().map(move |c| Currency([a, b, c])))
        })
    }

    #[test]
    fn a_currency_has_one_spelling() {
        for bad in ["inr", "IN", "INRR", "₹", ""] {
            assert_eq!(Currency::parse(bad), None, "{bad}");
        }
    }
}
