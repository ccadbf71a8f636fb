//! The amounts that a prompt names, each in the minor units it may mean.
//!
//! A number is read with its unit: `500 paise` is 500, `₹500` and `five hundred rupees` are 50,000,
//! `BHD 12` is 12,000, and `USD 12` is nothing at all where rupees move. Only a number without any
//! unit can be both major and minor units, because people write the one and programs the other.
//!
//! A number counts as an amount if it is marked as one (a unit, grouping, two decimals) or, where
//! nothing is marked, stands where amounts stand (`pay Acme 500 for lunch`); numbers inside ids,
//! URLs, dates and invoice numbers do not. Reading prose is guessing, so what is found here holds
//! and never refuses.

mod vocabulary;

use super::prose::Word;
use crate::domain::money::{Currency, Money};
use vocabulary::{CEILINGS, COUNTED, FLOORS, FOLLOWING, LABELS, Unit, VERBS};

/// How many words a payment verb may stand before its amount.
const REACH: usize = 4;
/// Most digits of a number: beyond any amount there is, and far within the integers used here.
const MAX_DIGITS: usize = 18;

/// An amount that the prompt names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Named {
    /// What it may mean, in minor units of the currency that moves; empty if it names another
    /// currency, or more decimals than this one has.
    readings: Vec<i128>,
    /// Marked as money, and not only standing where money stands.
    marked: bool,
    /// `at most` this.
    ceiling: bool,
    /// As it was written.
    written: String,
}

impl Named {
    fn may_be(&self, minor: i128) -> bool {
        if self.ceiling {
            return self.readings.iter().any(|most| minor <= *most);
        }
        self.readings.contains(&minor)
    }

    /// For people: as money where it is some, else as it was written.
    pub fn shown(&self, currency: Currency) -> String {
        match self.readings.first().map(|minor| i64::try_from(*minor)) {
            Some(Ok(minor)) => Money { minor, currency }.to_string(),
            Some(Err(_)) | None => self.written.clone(),
        }
    }
}

/// Whether none of the amounts named is this one. The parts of one bill may be paid in one payout.
pub fn contradict(named: &[Named], minor: i64) -> bool {
    let minor = i128::from(minor);
    let sum = |reading: fn(&Vec<i128>) -> Option<&i128>| -> Option<i128> {
        let mut parts = named.iter().map(|named| reading(&named.readings).copied());
        parts.try_fold(0, |sum: i128, part| Some(sum.saturating_add(part?)))
    };
    let total = [sum(|all| all.first()), sum(|all| all.last())].contains(&Some(minor));
    !named.is_empty() && !total && !named.iter().any(|named| named.may_be(minor))
}

/// The marked amounts of a prompt, or, if there are none, the numbers in the place of one.
pub fn named(words: &[Word], currency: Currency) -> Vec<Named> {
    let mut all = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let Some(number) = Number::read(words, at, currency) else {
            at += 1;
            continue;
        };
        let next = number.next.max(at + 1);
        all.extend(amount(words, at, number, currency));
        at = next;
    }
    let any_marked = all.iter().any(|named| named.marked);
    all.retain(|named| named.marked || !any_marked);
    all
}

/// The number at this place as an amount, if it is one.
fn amount(words: &[Word], at: usize, number: Number, currency: Currency) -> Option<Named> {
    let before = at.checked_sub(1).and_then(|at| words.get(at));
    let last = words.get(number.next - 1)?;
    let after = words.get(number.next).filter(|_| !last.ends);
    let unit = |word: &Word| vocabulary::unit(&word.text, currency);
    let minor = after
        .filter(|word| word.lower == "minor")
        .map(|_| Unit::Minor);
    // The word after a number is its unit before the word before it is: `Rs 5 and 50 paise`.
    let unit = number
        .unit
        .or_else(|| after.and_then(unit))
        .or_else(|| before.filter(|word| !word.ends).and_then(unit))
        .or(minor);
    let counted = after.is_some_and(|word| COUNTED.contains(&word.lower.as_str()));
    let marked = unit.is_some() || (number.looks_like_money && !counted);
    if !marked && (number.is_trifle || !stands_for_money(words, at, after)) {
        return None;
    }
    let start = at.saturating_sub(REACH);
    let lead = words.get(start..at).unwrap_or_default();
    let lead: Vec<&str> = lead.iter().map(|word| word.lower.as_str()).collect();
    if FLOORS.iter().any(|floor| ends_with(&lead, floor)) {
        return None;
    }
    let ceiling = CEILINGS.iter().any(|ceiling| ends_with(&lead, ceiling));
    let end = number.next + usize::from(after.is_some_and(|word| unit_of(word, currency)));
    let written = words.get(
        at.saturating_sub(usize::from(
            before.is_some_and(|word| unit_of(word, currency)),
        ))..end,
    );
    let written = written.unwrap_or_default().iter();
    Some(Named {
        readings: number.readings(unit, currency, ceiling),
        marked,
        ceiling,
        written: written
            .map(|word| word.text.as_str())
            .collect::<Vec<_>>()
            .join(" "),
    })
}

fn unit_of(word: &Word, currency: Currency) -> bool {
    vocabulary::unit(&word.text, currency).is_some()
}

/// Whether an unmarked number stands where amounts do: after a payment verb, not after a word that
/// numbers things, and not before what it counts.
fn stands_for_money(words: &[Word], at: usize, after: Option<&Word>) -> bool {
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

fn ends_with(words: &[&str], end: &[&str]) -> bool {
    // One filler may stand between: `at most Rs 500`, `up to about 500`.
    let shorter = words
        .get(..words.len().saturating_sub(1))
        .unwrap_or_default();
    words.ends_with(end) || shorter.ends_with(end)
}

/// A number as it is written, in digits or in words.
#[derive(Clone, Debug)]
struct Number {
    mantissa: i128,
    /// 10 to the number of decimals.
    divisor: i128,
    /// The word after its last one.
    next: usize,
    /// The unit that is written onto it.
    unit: Option<Unit>,
    /// With a multiplier or decimals: nobody writes minor units like that.
    is_major: bool,
    /// Grouped, or with two decimals.
    looks_like_money: bool,
    /// One or none, in words: rather an article than an amount.
    is_trifle: bool,
}

impl Number {
    fn read(words: &[Word], at: usize, currency: Currency) -> Option<Self> {
        let first = Self::digits(words, at, currency).or_else(|| Self::spelt(words, at))?;
        Some(first.with_rest(words, currency))
    }

    /// `5 lakh 20 thousand`: as long as the multipliers fall.
    fn with_rest(mut self, words: &[Word], currency: Currency) -> Self {
        let mut limit = i128::MAX;
        loop {
            let ends = |at: usize| words.get(at).is_none_or(|word| word.ends);
            let factor = match words.get(self.next).filter(|_| !ends(self.next - 1)) {
                Some(word) if limit == i128::MAX => vocabulary::multiplier(&word.lower),
                Some(_) | None => None,
            };
            if let Some(factor) = factor {
                self.mantissa = self.mantissa.saturating_mul(factor);
                (self.next, self.is_major, limit) = (self.next + 1, true, factor);
            }
            if limit == i128::MAX || self.divisor != 1 || ends(self.next - 1) {
                return self;
            }
            let Some(more) = Self::digits(words, self.next, currency) else {
                return self;
            };
            let multiplied = words.get(more.next).filter(|_| !ends(more.next - 1));
            let multiplied = multiplied.and_then(|word| vocabulary::multiplier(&word.lower));
            let Some(factor) = multiplied.filter(|factor| *factor < limit && more.divisor == 1)
            else {
                return self;
            };
            let part = more.mantissa.saturating_mul(factor);
            self.mantissa = self.mantissa.saturating_add(part);
            (self.next, limit) = (more.next + 1, factor);
        }
    }

    /// A word that is a number from end to end, a currency and a multiplier aside.
    fn digits(words: &[Word], at: usize, currency: Currency) -> Option<Self> {
        let word = words.get(at)?.text.as_str();
        let start = word.find(|c: char| c.is_ascii_digit())?;
        let (prefix, rest) = word.split_at(start);
        let end = rest
            .find(|c: char| !(c.is_ascii_digit() || c == ',' || c == '.'))
            .unwrap_or(rest.len());
        let (digits, suffix) = rest.split_at(end);
        let before = match prefix {
            "" => None,
            prefix => Some(vocabulary::unit(prefix, currency)?),
        };
        let (factor, after) = match suffix.to_lowercase().as_str() {
            "" => (1, None),
            "/-" => (1, vocabulary::unit("rs", currency)),
            // Litres, where nothing says that it is money.
            "l" if before.is_some() => (100_000, None),
            other => match vocabulary::unit(suffix, currency) {
                Some(unit) => (1, Some(unit)),
                None => (vocabulary::multiplier(other)?, None),
            },
        };
        let (whole, fraction) = halves(digits);
        let plain = ungrouped(whole)?;
        if fraction.len() > 6 || !fraction.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let mantissa: i128 = format!("{plain}{fraction}").parse().ok()?;
        Some(Self {
            mantissa: mantissa.saturating_mul(factor),
            divisor: 10_i128.pow(u32::try_from(fraction.len()).ok()?),
            next: at + 1,
            unit: before.or(after),
            is_major: factor > 1 || !fraction.is_empty(),
            looks_like_money: whole.contains([',', '.']) || fraction.len() == 2,
            is_trifle: false,
        })
    }

    /// `two lakh five hundred and ten`, `twenty-five`, `a hundred`.
    fn spelt(words: &[Word], at: usize) -> Option<Self> {
        let (mut total, mut group) = (0_i128, None::<i128>);
        let (mut next, mut is_major) = (at, false);
        while let Some(word) = words.get(next) {
            let after = words.get(next + 1).map(|word| word.lower.as_str());
            let counts = |word: &str| {
                vocabulary::small_number(word).is_some() || vocabulary::multiplier(word).is_some()
            };
            let started = group.is_some() || total > 0;
            let joins = after.is_some_and(counts) && !word.ends;
            match word.lower.as_str() {
                "and"
                    if started && after.is_some_and(|a| vocabulary::small_number(a).is_some()) => {}
                "a" | "an" if !started && joins => group = Some(1),
                // One letter is no number word by itself.
                "k" | "m" | "cr" | "mn" | "bn" => break,
                other => match (
                    vocabulary::small_number(other),
                    vocabulary::multiplier(other),
                ) {
                    (Some(number), _) => group = Some(group.unwrap_or(0).saturating_add(number)),
                    (None, Some(100)) if started => {
                        group = Some(group.unwrap_or(1).saturating_mul(100));
                    }
                    (None, Some(factor)) if started => {
                        let part = group.take().unwrap_or(1).saturating_mul(factor);
                        (total, is_major) = (total.saturating_add(part), true);
                    }
                    (None, _) => break,
                },
            }
            next += 1;
            if word.ends {
                break;
            }
        }
        if next == at {
            return None;
        }
        let mantissa = total.saturating_add(group.unwrap_or(0));
        Some(Self {
            mantissa,
            divisor: 1,
            next,
            unit: None,
            is_major,
            looks_like_money: false,
            is_trifle: mantissa <= 1,
        })
    }

    /// The minor units that it may mean.
    fn readings(&self, unit: Option<Unit>, currency: Currency, ceiling: bool) -> Vec<i128> {
        let decimals = currency.decimals().unwrap_or(0);
        let exact = |factor: i128| {
            let scaled = self.mantissa.saturating_mul(factor);
            let whole = ceiling || scaled % self.divisor == 0;
            whole.then_some(scaled / self.divisor)
        };
        let (major, minor) = (exact(10_i128.pow(decimals)), exact(1));
        let mut readings: Vec<i128> = match unit {
            Some(Unit::Foreign) => Vec::new(),
            Some(Unit::Major) => major.into_iter().collect(),
            Some(Unit::Minor) => minor.into_iter().collect(),
            None if self.is_major => major.into_iter().collect(),
            None => major.into_iter().chain(minor).collect(),
        };
        readings.dedup();
        readings
    }
}

/// The whole and the fraction of a number, with a point or, as in `12,50` and `1.234,56`, a comma.
fn halves(digits: &str) -> (&str, &str) {
    if let Some((whole, fraction)) = digits.rsplit_once(',')
        && !whole.contains(',')
        && (1..=2).contains(&fraction.len())
        && !fraction.contains('.')
    {
        return (whole, fraction);
    }
    digits.rsplit_once('.').unwrap_or((digits, ""))
}

/// `1,00,000` and `100,000` without their commas, `1.000` without its point; `None` if they do not
/// group.
fn ungrouped(whole: &str) -> Option<String> {
    let sign = if whole.contains('.') { '.' } else { ',' };
    let groups: Vec<&str> = whole.split(sign).collect();
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

#[cfg(test)]
mod tests;
