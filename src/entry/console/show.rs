//! How values look to people: amounts with their currency and the grouping of its country, digits
//! and dates in the reader's language, and nothing that hides.

use serde_json::Value;

use super::words::Lang;
use crate::domain::money::Currency;
use crate::domain::visible;

/// Text of others, with what hides spelled out.
pub(super) fn seen(text: &str) -> String {
    visible::seen(text)
}

/// Text of others in a list: its beginning, where it is long.
pub(super) fn brief(text: &str) -> String {
    const LONGEST: usize = 120;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", seen(text.get(..end).unwrap_or_default())),
        None => seen(text),
    }
}

/// Text of others over several lines, each with what hides spelled out.
pub(super) fn seen_lines(text: &str) -> String {
    text.split('\n').map(seen).collect::<Vec<_>>().join("\n")
}

/// An amount as an answer has it: `{minor, currency}`, where no `minor` is everything there is.
pub(super) fn amount(value: &Value, lang: Lang) -> String {
    let code = value["currency"].as_str().unwrap_or("XXX");
    match (value.is_object(), value["minor"].as_i64()) {
        (false, _) => "—".to_owned(),
        (true, None) => format!("{} ({code})", lang.t("everything there is")),
        (true, Some(minor)) => money(minor, code, lang),
    }
}

/// Minor units of a currency: `₹ 12,34,567.50`.
pub(super) fn money(minor: i64, code: &str, lang: Lang) -> String {
    let currency = Currency::read(code).unwrap_or(Currency::NONE);
    let sign = if minor < 0 { "−" } else { "" };
    let amount = minor.unsigned_abs();
    let decimals = currency.decimals();
    let Some(unit) = decimals.and_then(|decimals| 10_u64.checked_pow(decimals)) else {
        let text = format!("{sign}{amount} {} {code}", lang.t("minor units"));
        return digits(&text, lang);
    };
    let whole = grouped(amount / unit, code == "INR");
    let rest = amount % unit;
    let number = match decimals.unwrap_or(0) as usize {
        0 => whole,
        width => format!("{whole}.{rest:0width$}"),
    };
    let mark = match code {
        "INR" => "₹".to_owned(),
        "USD" => "US$".to_owned(),
        "EUR" => "€".to_owned(),
        "GBP" => "£".to_owned(),
        other => other.to_owned(),
    };
    // Kept together, and in this order in any direction of writing.
    digits(&format!("{sign}{mark}\u{a0}{number}"), lang)
}

/// Exact decimal dollars as an answer spells them: `US$ 0.000123`.
pub(super) fn dollars(exact: &Value, lang: Lang) -> String {
    let Some(text) = exact.as_str() else {
        return "—".to_owned();
    };
    let (whole, rest) = text.split_once('.').unwrap_or((text, "00"));
    let whole = whole
        .parse()
        .map_or(whole.to_owned(), |whole| grouped(whole, false));
    digits(&format!("US$\u{a0}{whole}.{rest:0<2}"), lang)
}

/// A count, in threes.
pub(super) fn count(value: &Value, lang: Lang) -> String {
    match value.as_u64() {
        Some(number) => digits(&grouped(number, false), lang),
        None => "—".to_owned(),
    }
}

/// Digits in threes, or as in India: the last three, then twos.
fn grouped(number: u64, indian: bool) -> String {
    let digits = number.to_string();
    let length = digits.len();
    let mut out = String::with_capacity(length + length / 2);
    for (index, digit) in digits.chars().enumerate() {
        let left = length - index;
        let cut = match indian {
            true => left == 3 || (left > 3 && (left - 3).is_multiple_of(2)),
            false => left.is_multiple_of(3),
        };
        if index > 0 && cut {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Numbers in the digits of the language.
pub(super) fn digits(text: &str, lang: Lang) -> String {
    match lang {
        Lang::English => text.to_owned(),
        Lang::Persian => text.chars().map(persian).collect(),
    }
}

fn persian(c: char) -> char {
    let digit = c.to_digit(10).filter(|_| c.is_ascii());
    let shown = digit.and_then(|digit| char::from_u32(0x6f0 + digit));
    match c {
        '.' => '٫',
        ',' => '٬',
        _ => shown.unwrap_or(c),
    }
}

/// An RFC 3339 instant in UTC, for people.
pub(super) fn time(at: &str, lang: Lang) -> String {
    let Ok(at) = at.parse::<jiff::Timestamp>() else {
        return seen(at);
    };
    let at = at.to_zoned(jiff::tz::TimeZone::UTC);
    let clock = format!("{:02}:{:02}", at.hour(), at.minute());
    match lang {
        Lang::English => format!("{} {clock} UTC", at.date()),
        Lang::Persian => {
            let date = at.date();
            let (year, month, day) =
                jalali(date.year().into(), date.month().into(), date.day().into());
            let text = format!("{year}/{month:02}/{day:02} {clock} UTC");
            text.chars()
                .map(|c| if c.is_ascii_digit() { persian(c) } else { c })
                .collect()
        }
    }
}

/// A day as `2026-12-01`, in the reader's calendar.
pub(super) fn date(day: &str, lang: Lang) -> String {
    match (calendar(day), lang) {
        (Some((year, month, day)), Lang::Persian) => {
            let text = format!("{year}/{month:02}/{day:02}");
            text.chars()
                .map(|c| if c.is_ascii_digit() { persian(c) } else { c })
                .collect()
        }
        _ => seen(day),
    }
}

/// The day of its month alone.
pub(super) fn day(day: &str, lang: Lang) -> String {
    match (calendar(day), lang) {
        (Some((.., day)), Lang::Persian) => digits(&day.to_string(), lang),
        _ => seen(day.rsplit('-').next().unwrap_or(day)),
    }
}

/// A day in the Persian calendar.
fn calendar(day: &str) -> Option<(i64, i64, i64)> {
    let date: jiff::civil::Date = day.parse().ok()?;
    Some(jalali(
        date.year().into(),
        date.month().into(),
        date.day().into(),
    ))
}

/// A date of the Gregorian calendar in the Persian one, by the arithmetic of its 33-year cycle,
/// which holds for these centuries.
fn jalali(year: i64, month: i64, day: i64) -> (i64, i64, i64) {
    const BEFORE: [i64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let before = usize::try_from(month - 1).ok();
    let before = before
        .and_then(|month| BEFORE.get(month))
        .copied()
        .unwrap_or(0);
    let leaps = if month > 2 { year + 1 } else { year };
    let mut days = 355_666 + 365 * year + (leaps + 3) / 4 - (leaps + 99) / 100
        + (leaps + 399) / 400
        + day
        + before;
    let mut shown = -1595 + 33 * (days / 12_053);
    days %= 12_053;
    shown += 4 * (days / 1_461);
    days %= 1_461;
    if days > 365 {
        shown += (days - 1) / 365;
        days = (days - 1) % 365;
    }
    match days < 186 {
        true => (shown, 1 + days / 31, 1 + days % 31),
        false => (shown, 7 + (days - 186) / 30, 1 + (days - 186) % 30),
    }
}

/// One value of somebody's JSON on one line.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => seen(text),
        Value::Null => "—".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            seen(&value.to_string())
        }
    }
}

/// A document over several lines, with what hides as JSON escapes.
pub(super) fn pretty(value: &Value) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    visible::plain_json(&text)
}

/// The texts of a list.
pub(super) fn texts(list: &Value) -> Vec<String> {
    let texts = list.as_array().into_iter().flatten();
    texts.filter_map(Value::as_str).map(seen).collect()
}

/// The leaves of a document, each with its dotted path.
pub(super) fn leaves(value: &Value) -> Vec<(String, String)> {
    let mut out = Vec::new();
    gather(value, String::new(), &mut out);
    out
}

fn gather(value: &Value, path: String, out: &mut Vec<(String, String)>) {
    let under = |name: &str| match path.is_empty() {
        true => name.to_owned(),
        false => format!("{path}.{name}"),
    };
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (name, value) in map {
                gather(value, under(name), out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, value) in items.iter().enumerate() {
                gather(value, format!("{path}[{index}]"), out);
            }
        }
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => out.push((seen(&path), plain(value))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    #[rustfmt::skip]
    fn amounts_are_grouped_as_their_country_does() {
        let cases = [
            (1_234_567_890, "INR", "₹\u{a0}1,23,45,678.90"),
            (100_000,       "INR", "₹\u{a0}1,000.00"),
            (5,             "INR", "₹\u{a0}0.05"),
            (1_234_567_890, "USD", "US$\u{a0}12,345,678.90"),
            (1_234,         "JPY", "JPY\u{a0}1,234"),
            (1_234,         "BHD", "BHD\u{a0}1.234"),
            (-500,          "EUR", "−€\u{a0}5.00"),
        ];
        for (minor, code, expected) in cases {
            assert_eq!(money(minor, code, Lang::English), expected);
        }
        assert_eq!(money(123_456_700, "INR", Lang::Persian), "₹\u{a0}۱۲٬۳۴٬۵۶۷٫۰۰");
        assert_eq!(amount(&json!({"minor": null, "currency": "INR"}), Lang::English), "everything there is (INR)");
        assert_eq!(amount(&Value::Null, Lang::English), "—");
    }

    #[test]
    fn dates_are_those_of_the_readers_calendar() {
        let cases = [
            ((2026, 3, 21), (1405, 1, 1)),
            ((2025, 3, 20), (1403, 12, 30)),
            ((2026, 12, 1), (1405, 9, 10)),
            ((2000, 1, 1), (1378, 10, 11)),
        ];
        for ((year, month, day), expected) in cases {
            assert_eq!(jalali(year, month, day), expected);
        }
        assert_eq!(
            time("2026-12-01T08:03:49.120Z", Lang::English),
            "2026-12-01 08:03 UTC"
        );
        assert_eq!(
            time("2026-12-01T08:03:49Z", Lang::Persian),
            "۱۴۰۵/۰۹/۱۰ ۰۸:۰۳ UTC"
        );
    }

    #[test]
    fn a_long_name_is_cut_in_lists() {
        assert_eq!(brief("Acme\u{202e}"), "Acme‹U+202E›");
        let long = brief(&"é".repeat(60_000));
        assert!(long.chars().count() == 121 && long.ends_with('…'));
    }

    #[test]
    fn a_document_is_its_leaves() {
        let value = json!({"a": {"b": [1, {"c": "x\u{202e}"}]}, "d": {}, "e": null});
        let told: Vec<_> = leaves(&value);
        let pairs: Vec<(&str, &str)> = told.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(
            pairs,
            [
                ("a.b[0]", "1"),
                ("a.b[1].c", "x‹U+202E›"),
                ("d", "{}"),
                ("e", "—")
            ]
        );
    }
}
