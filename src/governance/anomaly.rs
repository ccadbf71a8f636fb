//! Is this far outside what the agent has done so far?
//!
//! Learned from payouts that were carried out, never from what was only asked for: proposing
//! teaches it nothing. Five questions, each answered in words:
//!
//! - *amount*: how many spreads the logarithm of the amount lies above the median of the agent's,
//!   the spread being the median absolute deviation, which a few outliers cannot stretch;
//! - *hour*: whether anything was ever paid near this hour of the week;
//! - *velocity*: whether this hour is far busier than any before;
//! - *changed account*: whether a known vendor is now paid elsewhere;
//! - *new payee*: whether anybody was ever paid there.
//!
//! Each answer carries a risk, and they add up as independent doubts do. An amount far out, a
//! changed account or a rush are enough alone; an odd hour and a new payee are not. Too little
//! history is no finding.
#![allow(
    clippy::float_arithmetic,
    reason = "statistics over amounts, compared with a threshold; no amount is computed from them"
)]

use std::borrow::Cow;

use super::{Request, domains};
use crate::domain::facts::{Fact, Facts, PastPayout};
use crate::domain::money::{Currency, Money};
use crate::domain::payee::{PayeeId, folded};
use crate::domain::reason::{Finding, Reason};
use crate::domain::time::Timestamp;
use crate::domain::tool::Payee;

/// Fewer payouts than this say nothing about what is usual.
pub(super) const MIN_HISTORY: usize = 20;
/// Spreads above the median from which an amount alone is held, and from which it is odd: the
/// customary bounds for outliers by median absolute deviation.
const FAR_OUT: f64 = 3.5;
const ODD: f64 = 2.0;
/// Smallest spread, in powers of ten. An agent that always pays the same amount has none, and
/// would be held for every other; with this, an amount is held above about 3.3 times the usual.
const MIN_SPREAD: f64 = 0.15;
/// Makes a median absolute deviation comparable to a standard deviation.
const MAD_TO_SIGMA: f64 = 1.4826;
/// Payouts, and the days they must span, before an hour of the week can be called unusual; and how
/// near to it a payout must be to count.
const MIN_FOR_HOURS: usize = 100;
const MIN_DAYS_FOR_HOURS: i64 = 21;
const NEAR_HOURS: u8 = 2;
/// Days of history before one hour can be called a rush; how many times the busiest hour it must
/// be, and the fewest payouts in it.
const MIN_DAYS_FOR_VELOCITY: i64 = 3;
const RUSH_FACTOR: usize = 3;
const MIN_RUSH: usize = 10;
/// A risk at or above this is held.
pub(super) const HOLD_AT: f64 = 0.75;

const HOUR_MS: i64 = 60 * 60 * 1_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const HOURS_OF_WEEK: u8 = 168;

/// `ANOMALY_DETECTED`, held.
pub fn unusual(request: &Request<'_>, facts: &Facts) -> Option<Finding> {
    let hold = |words: String| Some(Finding::hold(Reason::AnomalyDetected, words));
    if let Some(words) = &facts.anomaly {
        return hold(words.clone());
    }
    if !request.effective.moves_money() {
        return None;
    }
    let Fact::Known(history) = &facts.history else {
        return hold("the agent's history could not be read".to_owned());
    };
    let assessed = assess(&Look {
        minor: request.effective.minor(),
        currency: request.effective.currency().unwrap_or(Currency::INR),
        now: facts.now,
        hour_of_week: facts.hour_of_week,
        payee: request.payee,
        history,
        hours: &facts.history_hours,
    });
    (assessed.risk >= HOLD_AT)
        .then(|| Finding::hold(Reason::AnomalyDetected, assessed.reasons.join("; ")))
}

/// `NEW_PAYEE`, a remark: nobody was paid there before.
/// An agent with no past at all has no old payees to compare with.
pub fn new_payee(request: &Request<'_>, facts: &Facts) -> Option<Finding> {
    let history = facts.history.known().filter(|past| !past.is_empty())?;
    if !request.effective.moves_money() || is_known(request.payee, history.iter()) {
        return None;
    }
    let payee = key(request.payee)?;
    let why = format!("{payee} was never paid by this agent");
    Some(Finding::note(Reason::NewPayee, why))
}

/// One payout against an agent's history.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// The amount in minor units.
    pub minor: i64,
    /// Their currency.
    pub currency: Currency,
    /// When.
    pub now: Timestamp,
    /// The hour of the week of `now` in the budget time zone.
    pub hour_of_week: u8,
    /// Who would be paid.
    pub payee: &'a Payee,
    /// What was paid before, newest first.
    pub history: &'a [PastPayout],
    /// The hour of the week of each of them.
    pub hours: &'a [u8],
}

/// What was seen, and how much it weighs.
#[derive(Clone, PartialEq, Debug)]
pub struct Assessment {
    /// 0 to 1.
    pub risk: f64,
    /// Spreads above (or below) the usual amount; `None` with too little history.
    pub zscore: Option<f64>,
    /// In words, the gravest kind first.
    pub reasons: Vec<String>,
}

/// Asks every question.
pub fn assess(look: &Look<'_>) -> Assessment {
    let amount = Amounts::of(look.history);
    let zscore = amount.as_ref().map(|amounts| amounts.zscore(look.minor));
    let doubts = [
        amount.and_then(|amounts| amounts.doubt(look)),
        changed_account(look),
        rush(look),
        odd_hour(look),
        stranger(look),
    ];
    let doubts: Vec<Doubt> = doubts.into_iter().flatten().collect();
    let trust: f64 = doubts.iter().map(|doubt| 1.0 - doubt.risk).product();
    Assessment {
        risk: (1.0 - trust).clamp(0.0, 1.0),
        zscore,
        reasons: doubts.into_iter().map(|doubt| doubt.words).collect(),
    }
}

/// One reason to doubt.
struct Doubt {
    risk: f64,
    words: String,
}

/// What amounts are usual.
struct Amounts {
    count: usize,
    median: f64,
    spread: f64,
}

impl Amounts {
    /// `None` with too little history.
    fn of(history: &[PastPayout]) -> Option<Self> {
        if history.len() < MIN_HISTORY {
            return None;
        }
        let mut logs: Vec<f64> = history.iter().map(|past| log(past.minor)).collect();
        let median = median(&mut logs);
        for log in &mut logs {
            *log = (*log - median).abs();
        }
        let spread = (self::median(&mut logs) * MAD_TO_SIGMA).max(MIN_SPREAD);
        Some(Self {
            count: history.len(),
            median,
            spread,
        })
    }

    fn zscore(&self, minor: i64) -> f64 {
        (log(minor) - self.median) / self.spread
    }

    fn doubt(&self, look: &Look<'_>) -> Option<Doubt> {
        let zscore = self.zscore(look.minor);
        let risk = match zscore {
            z if z > FAR_OUT => (HOLD_AT + (z - FAR_OUT) * 0.02).min(0.99),
            z if z > ODD => 0.5,
            _ => return None,
        };
        let times = 10_f64.powf(log(look.minor) - self.median);
        let asked = if look.minor == i64::MAX {
            "an unbounded amount".to_owned()
        } else {
            Money {
                minor: look.minor,
                currency: look.currency,
            }
            .to_string()
        };
        let words = format!(
            "{asked} is {} times the usual amount of the last {} payouts",
            if times < 1e6 {
                format!("{times:.1}")
            } else {
                "over a million".to_owned()
            },
            self.count
        );
        Some(Doubt { risk, words })
    }
}

fn changed_account(look: &Look<'_>) -> Option<Doubt> {
    // Operators wrote down every account of a registered payee.
    if look.payee.id.is_some() {
        return None;
    }
    let (name, account) = (look.payee.name.as_deref()?, look.payee.account.as_deref()?);
    let theirs = look.history.iter().filter(|past| {
        let vendor = past.vendor.as_deref();
        vendor.is_some_and(|vendor| same(vendor, name))
    });
    let accounts = theirs
        .filter_map(|past| past.payee.as_deref())
        // Paid by name then, so that no account is known.
        .filter(|payee| !same(payee, name));
    let folded = folded(account);
    let mut latest = None;
    for known in accounts {
        // Mostly the very first, so that the rest need not be looked at.
        if known == folded || known == account {
            return None;
        }
        latest.get_or_insert(known);
    }
    let latest = latest?;
    let words = format!("{name} was paid at {latest} before, and now is at {account}");
    Some(Doubt { risk: 0.8, words })
}

fn rush(look: &Look<'_>) -> Option<Doubt> {
    let now = look.now.millis();
    let at = |past: &PastPayout| past.at.millis();
    let span = now - look.history.last().map(at)?;
    let recent = look
        .history
        .iter()
        .filter(|past| now - at(past) < HOUR_MS)
        .count();
    let with_this = recent + 1;
    // What is no rush whatever was usual is most of what there is.
    if with_this <= MIN_RUSH || span < MIN_DAYS_FOR_VELOCITY * DAY_MS {
        return None;
    }
    let older: Vec<i64> = look.history.iter().skip(recent).map(at).collect();
    if older.len() < MIN_HISTORY {
        return None;
    }
    let usual = busiest_hour(&older);
    if with_this <= usual * RUSH_FACTOR {
        return None;
    }
    let words = format!("{with_this} payouts within an hour, and never more than {usual} before");
    Some(Doubt { risk: 0.8, words })
}

/// Most payouts in any sixty minutes. Instants are newest first.
fn busiest_hour(at: &[i64]) -> usize {
    let mut most = 0;
    let mut end = 0;
    for (start, newest) in at.iter().enumerate() {
        while at.get(end).is_some_and(|older| newest - older < HOUR_MS) {
            end += 1;
        }
        most = most.max(end - start);
    }
    most
}

fn odd_hour(look: &Look<'_>) -> Option<Doubt> {
    let days = (look.now.millis() - look.history.last()?.at.millis()) / DAY_MS;
    if look.hours.len() < MIN_FOR_HOURS || days < MIN_DAYS_FOR_HOURS {
        return None;
    }
    let near = |hour: &u8| {
        let apart = hour.abs_diff(look.hour_of_week) % HOURS_OF_WEEK;
        apart.min(HOURS_OF_WEEK - apart) <= NEAR_HOURS
    };
    if look.hours.iter().any(near) {
        return None;
    }
    const DAYS: [&str; 7] = [
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
    ];
    let day = DAYS
        .get(usize::from(look.hour_of_week / 24))
        .unwrap_or(&"that day");
    let words = format!(
        "none of {} payouts in {days} days was near {day}, {:02}:00",
        look.hours.len(),
        look.hour_of_week % 24
    );
    Some(Doubt { risk: 0.4, words })
}

fn stranger(look: &Look<'_>) -> Option<Doubt> {
    let enough = look.history.len() >= MIN_HISTORY;
    if !enough || is_known(look.payee, look.history) {
        return None;
    }
    let payee = key(look.payee)?;
    let words = format!("{payee} was never paid before");
    Some(Doubt { risk: 0.2, words })
}

/// Who is paid, by the surest name there is, as the history has it.
fn key(payee: &Payee) -> Option<Cow<'_, str>> {
    let id = payee.id.as_ref().map(PayeeId::as_str);
    let named = id.or(payee.account.as_deref()).or(payee.name.as_deref());
    match named {
        Some(named) => Some(Cow::Borrowed(named)),
        None => domains::host(payee.url.as_deref()?).map(Cow::Owned),
    }
}

fn is_known<'a>(payee: &Payee, history: impl IntoIterator<Item = &'a PastPayout>) -> bool {
    let Some(key) = key(payee) else { return true };
    let account = payee.account.as_deref();
    let (folded_key, folded_account) = (folded(&key), account.map(folded));
    history
        .into_iter()
        .filter_map(|past| past.payee.as_deref())
        .any(|past| {
            // A registered payee may have been paid at this account before anybody registered it.
            // Older histories have an account as it was written.
            past == folded_key
                || past == key
                || Some(past) == account
                || Some(past) == folded_account.as_deref()
                || (account.is_none() && same(past, &key))
        })
}

/// Whether two names are one to a reader.
fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.trim(), b.trim());
    // A history is compared name by name, and nearly all are ASCII: letter by letter through the
    // tables of Unicode would cost more than all other checks together.
    if a == b || (a.is_ascii() && b.is_ascii()) {
        return a.eq_ignore_ascii_case(b);
    }
    lower(a).eq(lower(b))
}

fn lower(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(char::to_lowercase)
}

pub(super) fn log(minor: i64) -> f64 {
    float(minor.max(1)).log10()
}

/// The middle of values in any order, which it rearranges; the mean of the two middle ones.
pub(super) fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let half = values.len() / 2;
    let even = values.len().is_multiple_of(2);
    let (below, upper, _) = values.select_nth_unstable_by(half, f64::total_cmp);
    let lower = below.iter().copied().max_by(f64::total_cmp);
    match lower.filter(|_| even) {
        Some(lower) => (lower + *upper) / 2.0,
        None => *upper,
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "for statistics, 53 bits are plenty"
)]
pub(super) fn float(minor: i64) -> f64 {
    minor as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::money::Effective;
    use crate::domain::reason::Severity;
    use crate::governance::testing::{Sample, facts, inr};

    /// Payouts `every` so often before `now`, newest first, to the payee of [`Sample`].
    fn past(count: i64, every_ms: i64, minor: impl Fn(i64) -> i64) -> Vec<PastPayout> {
        (1..=count)
            .map(|index| PastPayout {
                at: facts().now.plus_millis(-index * every_ms),
                minor: minor(index),
                payee: Some("acct_123".into()),
                vendor: Some("Acme Ltd".into()),
            })
            .collect()
    }

    fn near_10_000(index: i64) -> i64 {
        9_800 + index % 5 * 100
    }

    fn found(history: Vec<PastPayout>, sample: &Sample) -> Option<Finding> {
        let facts = Facts {
            history: Fact::Known(history.into()),
            ..facts()
        };
        unusual(&sample.request(), &facts)
    }

    fn of(effective: Effective) -> Sample {
        Sample {
            effective,
            ..Sample::default()
        }
    }

    #[test]
    #[rustfmt::skip]
    fn an_amount_far_above_the_usual_is_held() {
        let cases = [
            // payouts  asked                                held
            (30, inr(10_500),                                false),
            (30, inr(10_000_000),                            true),
            (30, inr(33_000),                                false),
            (30, inr(34_500),                                true),
            (30, inr(1),                                     false), // less is no risk
            (30, Effective::Unbounded(Currency::INR),        true),
            (30, Effective::Nothing,                         false),
            (20, inr(10_000_000),                            true),
            (19, inr(10_000_000),                            false), // too little to judge
            (0,  inr(10_000_000),                            false),
        ];
        for (count, effective, held) in cases {
            // All within one second: neither the hour nor the rush is to be found odd.
            let got = found(past(count, 30, near_10_000), &of(effective));
            assert_eq!(got.is_some(), held, "{count} {effective:?}: {got:?}");
            if let Some(finding) = got {
                assert_eq!(finding.severity, Severity::Hold);
            }
        }
        let exact = found(past(30, 30, |_| 10_000), &of(inr(10_500)));
        assert_eq!(exact, None, "the same amount every time is no reason to hold the next");
        let words = found(past(30, 30, |_| 10_000), &of(inr(10_000_000))).unwrap().detail;
        assert_eq!(
            words,
            "100,000.00 INR is 1000.0 times the usual amount of the last 30 payouts"
        );
    }

    proptest! {
        #[test]
        fn the_median_is_that_of_the_sorted_values(values in prop::collection::vec(0_i64..1_000, 1..50)) {
            let mut values: Vec<f64> = values.into_iter().map(float).collect();
            let found = median(&mut values);
            values.sort_by(f64::total_cmp);
            let half = values.len() / 2;
            let lower = if values.len().is_multiple_of(2) { half - 1 } else { half };
            let expected = (values[lower] + values[half]) / 2.0;
            prop_assert_eq!(found.to_bits(), expected.to_bits());
        }

        #[test]
        fn names_compare_as_letter_by_letter(a in "[aAkK\u{212a}ßẞİi .]{0,4}", b in "[aAkK\u{212a}ßẞİi .]{0,4}") {
            prop_assert_eq!(same(&a, &b), lower(a.trim()).eq(lower(b.trim())));
        }
    }

    #[test]
    fn no_values_have_no_middle() {
        assert_eq!(median(&mut []), 0.0);
    }

    #[test]
    fn a_few_outliers_do_not_make_outliers_usual() {
        let poisoned = |index: i64| {
            if index % 4 == 0 {
                10_000_000
            } else {
                near_10_000(index)
            }
        };
        assert!(found(past(40, 30, poisoned), &of(inr(10_000_000))).is_some());
    }

    #[test]
    #[rustfmt::skip]
    fn a_known_vendor_at_another_account_is_held() {
        let cases = [
            // vendor           account           held
            ("Acme Ltd",        Some("acct_123"), false),
            (" acme LTD ",      Some("acct_999"), true),
            ("Other Ltd",       Some("acct_999"), false),
            ("Acme Ltd",        None,             false),
        ];
        for (name, account, held) in cases {
            let mut sample = of(inr(100));
            sample.payee.name = Some(name.into());
            sample.payee.account = account.map(str::to_owned);
            let got = found(past(1, 30, |_| 100), &sample);
            assert_eq!(got.is_some(), held, "{name} {account:?}: {got:?}");
        }
        let mut by_name = past(1, 30, |_| 100);
        by_name[0].payee = Some("Acme Ltd".into());
        assert_eq!(found(by_name, &of(inr(100))), None, "no account was known");
    }

    #[test]
    #[rustfmt::skip]
    fn a_rush_is_held_once_there_is_a_usual_pace() {
        let minute = 60_000;
        // Every six hours for ten days, then this many within the last hour.
        for (burst, held) in [(9, false), (10, true), (30, true)] {
            let mut history = past(burst, minute, |_| 100);
            history.extend(past(40, 6 * HOUR_MS, |_| 100));
            let got = found(history, &of(inr(100)));
            assert_eq!(got.is_some(), held, "{burst}: {got:?}");
        }
        assert_eq!(found(past(40, minute, |_| 100), &of(inr(100))), None, "no pace is known");
        // An agent that always works in bursts of ten.
        let bursts = |index: i64| facts().now.plus_millis(-(index / 10) * DAY_MS - index % 10 * minute);
        let mut history = past(60, 1, |_| 100);
        for (index, payout) in (0..).zip(history.iter_mut()) {
            payout.at = bursts(index);
        }
        assert_eq!(found(history, &of(inr(100))), None, "twice the usual is no rush");
    }

    #[test]
    fn an_odd_hour_is_odd_and_not_enough() {
        let history = past(120, 6 * HOUR_MS, |_| 100);
        let hours = vec![10_u8; 120];
        let payee = Sample::default().payee;
        let at = |hour_of_week| {
            let look = Look {
                minor: 100,
                currency: Currency::INR,
                now: facts().now,
                hour_of_week,
                payee: &payee,
                history: &history,
                hours: &hours,
            };
            assess(&look).risk
        };
        for (hour, odd) in [
            (10, false),
            (12, false),
            (13, true),
            (8, false),
            (7, true),
            (167, true),
        ] {
            assert_eq!(at(hour) > 0.0, odd, "{hour}");
            assert!(at(hour) < HOLD_AT);
        }
        let by_midnight = Look {
            minor: 100,
            currency: Currency::INR,
            now: facts().now,
            hour_of_week: 167,
            payee: &payee,
            history: &history,
            hours: &[1; 120],
        };
        assert_eq!(
            assess(&by_midnight).risk,
            0.0,
            "Sunday 23:00 is near Monday 01:00"
        );
    }

    #[test]
    fn small_doubts_add_up() {
        let history = past(120, 6 * HOUR_MS, |_| 10_000);
        let mut payee = Sample::default().payee;
        payee.account = Some("acct_9".into());
        payee.name = None;
        let look = Look {
            minor: 25_000,
            currency: Currency::INR,
            now: facts().now,
            hour_of_week: 100,
            payee: &payee,
            history: &history,
            hours: &[10; 120],
        };
        let assessed = assess(&look);
        assert_eq!(assessed.reasons.len(), 3, "{assessed:?}");
        assert!(assessed.risk >= HOLD_AT);
        let usual = Look {
            minor: 10_000,
            ..look
        };
        assert!(assess(&usual).risk < HOLD_AT);
    }

    #[test]
    fn a_new_payee_is_remarked_and_an_unknown_history_held() {
        let noted = |history: Fact<Vec<PastPayout>>, account: &str| {
            let mut sample = Sample::default();
            sample.payee.account = Some(account.into());
            sample.payee.name = None;
            let history = match history {
                Fact::Known(past) => Fact::Known(past.into()),
                Fact::Missing => Fact::Missing,
            };
            let facts = Facts { history, ..facts() };
            (
                new_payee(&sample.request(), &facts).map(|finding| finding.severity),
                unusual(&sample.request(), &facts).map(|finding| finding.severity),
            )
        };
        let one = Fact::Known(past(1, 30, |_| 100));
        assert_eq!(noted(one.clone(), "acct_123"), (None, None));
        assert_eq!(
            noted(one.clone(), "ACCT_123"),
            (None, None),
            "spelt otherwise"
        );
        assert_eq!(noted(one.clone(), "acct_124"), (Some(Severity::Note), None));
        assert_eq!(noted(one, "acct_9"), (Some(Severity::Note), None));
        assert_eq!(noted(Fact::Known(vec![]), "acct_9"), (None, None));
        assert_eq!(noted(Fact::Missing, "acct_9"), (None, Some(Severity::Hold)));
    }
}
