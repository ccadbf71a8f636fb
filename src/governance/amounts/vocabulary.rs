//! The words of amounts: what numbers, multipliers and units are called, and what stands around an
//! amount or shows that a number is none.

use crate::domain::money::Currency;

/// What a number is counted in, seen from the currency that would move.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Its major unit: rupees.
    Major,
    /// Its minor unit: paise.
    Minor,
    /// Another currency, or a part that this one does not have.
    Foreign,
}

/// The unit that a word or a sign names; `None` if it names none.
pub fn unit(text: &str, currency: Currency) -> Option<Unit> {
    let lower = text.to_lowercase();
    let ours = |yes: bool| Some(if yes { Unit::Major } else { Unit::Foreign });
    if let Some((_, codes)) = MINOR
        .iter()
        .find(|(names, _)| names.contains(&lower.as_str()))
    {
        let ours = match *codes {
            // A hundredth of whatever has hundredths and no name of its own for them.
            "" => {
                let named = MINOR
                    .iter()
                    .any(|(_, codes)| codes.contains(currency.code()));
                currency.decimals() == Some(2) && !named
            }
            codes => codes.contains(currency.code()),
        };
        return Some(if ours { Unit::Minor } else { Unit::Foreign });
    }
    // In lower case most codes are words: `all`, `try`, `top`.
    let code = Currency::read(text).filter(|code| code.decimals().is_some());
    if let Some(code) = code
        && (text == code.code() || LOWER_CODES.contains(&lower.as_str()))
    {
        return ours(code == currency);
    }
    if let Some((_, stem)) = NAMES
        .iter()
        .find(|(names, _)| names.contains(&lower.as_str()))
    {
        return ours(currency.name().to_lowercase().contains(stem));
    }
    if let Some((_, codes)) = SIGNS.iter().find(|(sign, _)| *sign == lower) {
        return ours(match *codes {
            "" => currency.symbol().contains(&lower) || is_dollar(&lower, currency),
            codes => codes.contains(currency.code()),
        });
    }
    None
}

fn is_dollar(sign: &str, currency: Currency) -> bool {
    sign == "$" && currency.name().to_lowercase().contains("dollar")
}

/// Names of minor units, and the codes that have them; no code is every other with hundredths.
const MINOR: &[(&[&str], &str)] = &[
    (&["paise", "paisa"], "INR NPR PKR"),
    (&["pence", "penny", "pennies"], "GBP FKP GIP SHP"),
    (&["fils"], "AED BHD IQD JOD KWD YER"),
    (&["halala", "halalas"], "SAR"),
    (&["baisa"], "OMR"),
    (
        &[
            "cent", "cents", "¢", "centimes", "centavos", "sen", "kopecks", "öre", "øre",
        ],
        "",
    ),
];
/// Codes that people write in lower case, and that are no words.
const LOWER_CODES: &[&str] = &[
    "inr", "usd", "eur", "gbp", "jpy", "aed", "sgd", "aud", "cad", "chf", "bhd", "kwd", "omr",
];
/// Names of major units, and what the names of their currencies have in common.
const NAMES: &[(&[&str], &str)] = &[
    (&["rupee", "rupees", "rs", "rs."], "rupee"),
    (&["dollar", "dollars"], "dollar"),
    (&["euro", "euros"], "euro"),
    (&["pound", "pounds", "quid"], "pound"),
    (&["yen"], "yen"),
    (&["yuan", "renminbi"], "yuan"),
    (&["dinar", "dinars"], "dinar"),
    (&["dirham", "dirhams"], "dirham"),
    (&["riyal", "riyals"], "riyal"),
    (&["rial", "rials"], "rial"),
    (&["franc", "francs"], "franc"),
    (&["peso", "pesos"], "peso"),
    (&["won"], "won"),
    (&["ringgit"], "ringgit"),
    (&["baht"], "baht"),
    (&["rand"], "rand"),
    (&["shilling", "shillings"], "shilling"),
    (&["naira"], "naira"),
    (&["taka"], "taka"),
    (&["krona", "kronor"], "krona"),
    (&["krone", "kroner"], "krone"),
    (&["lira"], "lira"),
    (&["ruble", "rubles", "rouble", "roubles"], "ruble"),
    (&["rupiah"], "rupiah"),
];
/// Signs, and the codes they stand for; no code is whatever the library gives the sign to.
const SIGNS: &[(&str, &str)] = &[
    ("₹", "INR"),
    ("$", ""),
    ("us$", "USD"),
    ("a$", "AUD"),
    ("c$", "CAD"),
    ("s$", "SGD"),
    ("hk$", "HKD"),
    ("nz$", "NZD"),
    ("r$", "BRL"),
    ("€", "EUR"),
    ("£", ""),
    ("¥", "JPY CNY"),
    ("₩", "KRW KPW"),
    ("₦", "NGN"),
    ("฿", "THB"),
    ("₫", "VND"),
    ("₪", "ILS"),
    ("₱", "PHP CUP"),
    ("₴", "UAH"),
    ("₽", "RUB"),
    ("₺", "TRY"),
    ("৳", "BDT"),
];

/// How much a word multiplies the number before it by.
pub fn multiplier(word: &str) -> Option<i128> {
    Some(match word {
        "hundred" => 100,
        "k" | "thousand" | "thousands" => 1_000,
        "lakh" | "lakhs" | "lac" | "lacs" => 100_000,
        "m" | "mn" | "million" | "millions" => 1_000_000,
        "cr" | "crore" | "crores" => 10_000_000,
        "bn" | "billion" | "billions" => 1_000_000_000,
        _ => return None,
    })
}

/// The number from 0 to 99 that a word names, `twenty-five` included.
pub fn small_number(word: &str) -> Option<i128> {
    const ONES: [&str; 20] = [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "thirteen",
        "fourteen",
        "fifteen",
        "sixteen",
        "seventeen",
        "eighteen",
        "nineteen",
    ];
    const TENS: [&str; 8] = [
        "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
    ];
    let index = |list: &[&str], word: &str| {
        let at = list.iter().position(|name| *name == word)?;
        i128::try_from(at).ok()
    };
    let tens = |word: &str| index(&TENS, word).map(|at| (at + 2) * 10);
    if let Some((first, second)) = word.split_once('-') {
        let ones = index(&ONES, second).filter(|ones| (1..10).contains(ones))?;
        return Some(tens(first)? + ones);
    }
    index(&ONES, word).or_else(|| tens(word))
}

/// What pays, before an amount.
pub const VERBS: &[&str] = &[
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
pub const LABELS: &[&str] = &[
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
    "the",
    "this",
    "that",
];
/// What may follow an unmarked amount. Anything else is taken for what the number counts.
pub const FOLLOWING: &[&str] = &[
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
pub const COUNTED: &[&str] = &[
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
pub const CEILINGS: &[&[&str]] = &[
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
pub const FLOORS: &[&[&str]] = &[
    &["at", "least"],
    &["minimum"],
    &["minimum", "of"],
    &["balance"],
    &["balance", "of"],
    &["balance", "is"],
];
