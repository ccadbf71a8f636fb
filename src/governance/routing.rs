//! Which provider and model answer a request, and why the others do not.
//!
//! Pure: what is known of every candidate comes in, an order comes out, of which the first is asked
//! and the rest are fallbacks, and for every candidate that is not in it the reason. The same facts
//! give the same order; where shares are wanted, the draw is a fact, too.
//!
//! In this order: a model that the caller named is looked for at its providers and nowhere else;
//! what cannot answer now (open, cooling, full, too dear, without a price) is out; a hint comes
//! first if it can answer; then what runs here, if that is preferred; then what `[routes]` say of the
//! task; then the best of price, measured latency, health and weight.

use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The model name that leaves the choice to the broker.
pub const AUTO: &str = "auto";
/// Thousandths: what is as good as the best.
const BEST: u64 = 1_000;
/// Thousandths: beyond ten times the best, it no longer matters how much.
const WORST: u64 = 10_000;
/// What a failure in every request would add, in thousandths of the best.
const ALL_FAIL: u64 = 20_000;
/// Thousandths of requests that fail.
const THOUSAND: u64 = 1_000;

/// What a request wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wish<'a> {
    /// What kind of work it is.
    pub task: &'a str,
    /// The model, if the caller named one; `auto` names none.
    pub model: Option<&'a str>,
    /// The provider that the caller would like.
    pub hint: Option<&'a str>,
    /// What runs here comes first.
    pub prefer_local: bool,
    /// The most that it may cost, in nano-dollars.
    pub budget_nanos: Option<u64>,
    /// A number by chance that is the request's own, for shares.
    pub draw: u64,
    /// Provider and model of earlier attempts.
    pub tried: &'a [(&'a str, &'a str)],
}

/// How a provider is with a model at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Health {
    /// It answers.
    Closed,
    /// Its breaker is open.
    Open,
    /// Its breaker was open, and one request may try it.
    HalfOpen,
    /// It has to rest for so long.
    Cooling {
        /// Milliseconds from now.
        for_ms: u64,
    },
}

/// What an answer is expected to cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cost {
    /// So many nano-dollars, at most.
    Nanos(u64),
    /// Nobody knows, and that is no obstacle: it is taken as the dearest.
    Unknown,
    /// Nobody knows, and then it is not asked.
    Refused,
}

/// One model at one provider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// The provider.
    pub provider: String,
    /// The model.
    pub model: String,
    /// It runs here.
    pub local: bool,
    /// How much it is wanted, by whoever configured it; 0 only if it is named.
    pub weight: u32,
    /// What this request would cost.
    pub cost: Cost,
    /// How long answers took, in milliseconds, at the median; none yet measured.
    pub latency_ms: Option<u64>,
    /// How many of a thousand requests failed lately.
    pub failed: u32,
    /// How it is.
    pub health: Health,
    /// It takes no more at once.
    pub full: bool,
    /// It takes no more in this minute, and again in so many milliseconds.
    pub over_rate_ms: Option<u64>,
}

/// What `[routes]` say of a task.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Route {
    /// These models, in this order.
    Models(Vec<String>),
    /// These models, by shares.
    Weights(BTreeMap<String, u32>),
}

/// Why a candidate is not asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lost {
    /// Another model was named.
    OtherModel,
    /// `[routes]` do not have it for this task.
    NotRouted,
    /// It was asked already.
    Tried,
    /// Its breaker is open.
    Open,
    /// It has to rest.
    Cooling,
    /// It takes no more at once.
    Full,
    /// It takes no more in this minute.
    OverRate,
    /// It has no price.
    NoPrice,
    /// It costs more than the request may.
    OverBudget,
    /// Its weight is 0, and it was not named.
    NotWanted,
}

impl Lost {
    /// Its one spelling.
    pub fn name(self) -> &'static str {
        match self {
            Lost::OtherModel => "other_model",
            Lost::NotRouted => "not_routed",
            Lost::Tried => "tried",
            Lost::Open => "open",
            Lost::Cooling => "cooling",
            Lost::Full => "full",
            Lost::OverRate => "over_rate",
            Lost::NoPrice => "no_price",
            Lost::OverBudget => "over_budget",
            Lost::NotWanted => "not_wanted",
        }
    }
}

/// What put a candidate in its place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Because {
    /// The caller would like it.
    Hint,
    /// It runs here, and that is preferred.
    Local,
    /// `[routes]` say so.
    Route,
    /// It is the best, or the next.
    Score,
}

impl Because {
    /// Its one spelling.
    pub fn name(self) -> &'static str {
        match self {
            Because::Hint => "hint",
            Because::Local => "local",
            Because::Route => "route",
            Because::Score => "score",
        }
    }
}

/// A candidate in its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chosen {
    /// Which of the candidates.
    pub index: usize,
    /// Why there.
    pub because: Because,
    /// Thousandths of the best there could be; the smaller, the better.
    pub score: u64,
}

/// The decision.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Decision {
    /// Whom to ask, the first first.
    pub order: Vec<Chosen>,
    /// Who is not asked, and why.
    pub lost: Vec<(usize, Lost)>,
    /// Where nobody can be asked: when somebody could be, in milliseconds.
    pub again_in_ms: Option<u64>,
}

/// Decides.
pub fn route(wish: &Wish<'_>, candidates: &[Candidate], route: Option<&Route>) -> Decision {
    let named = wish.model.filter(|model| *model != AUTO);
    // What the caller named is no task's to change.
    let route = route.filter(|_| named.is_none());
    let mut decision = Decision::default();
    let mut able = Vec::new();
    for (index, candidate) in candidates.iter().enumerate() {
        match lost(wish, named, route, candidate) {
            Some(why) => decision.lost.push((index, why)),
            None => able.push((index, candidate)),
        }
    }
    let best = Best::of(&able);
    let ranks = route.map(|route| ranks(route, wish.draw));
    let mut order: Vec<(Place, Chosen)> = able
        .iter()
        .map(|(index, candidate)| {
            let score = best.score(candidate);
            let (because, rank) = because(wish, ranks.as_ref(), candidate);
            let chosen = Chosen {
                index: *index,
                because,
                score,
            };
            ((because, rank, score, *index), chosen)
        })
        .collect();
    order.sort_by_key(|(place, _)| *place);
    decision.order = order.into_iter().map(|(_, chosen)| chosen).collect();
    decision.again_in_ms = again(&decision, candidates);
    decision
}

type Place = (Because, usize, u64, usize);

fn lost(
    wish: &Wish<'_>,
    named: Option<&str>,
    route: Option<&Route>,
    candidate: &Candidate,
) -> Option<Lost> {
    if named.is_some_and(|named| named != candidate.model) {
        return Some(Lost::OtherModel);
    }
    if route.is_some_and(|route| !has(route, &candidate.model)) {
        return Some(Lost::NotRouted);
    }
    if wish
        .tried
        .contains(&(&candidate.provider, &candidate.model))
    {
        return Some(Lost::Tried);
    }
    let hinted = wish.hint == Some(&candidate.provider);
    if candidate.weight == 0 && named.is_none() && route.is_none() && !hinted {
        return Some(Lost::NotWanted);
    }
    match candidate.cost {
        Cost::Refused => return Some(Lost::NoPrice),
        Cost::Nanos(nanos) if wish.budget_nanos.is_some_and(|budget| nanos > budget) => {
            return Some(Lost::OverBudget);
        }
        Cost::Nanos(_) | Cost::Unknown => {}
    }
    match candidate.health {
        Health::Open => return Some(Lost::Open),
        Health::Cooling { .. } => return Some(Lost::Cooling),
        Health::Closed | Health::HalfOpen => {}
    }
    match (candidate.over_rate_ms, candidate.full) {
        (Some(_), _) => Some(Lost::OverRate),
        (None, true) => Some(Lost::Full),
        (None, false) => None,
    }
}

fn has(route: &Route, model: &str) -> bool {
    match route {
        Route::Models(models) => models.iter().any(|other| other == model),
        Route::Weights(weights) => weights.get(model).is_some_and(|weight| *weight > 0),
    }
}

/// The place of each model that a route names.
fn ranks(route: &Route, draw: u64) -> BTreeMap<&str, usize> {
    let models: Vec<&str> = match route {
        Route::Models(models) => models.iter().map(String::as_str).collect(),
        Route::Weights(weights) => drawn(weights, draw),
    };
    let mut ranks = BTreeMap::new();
    for (rank, model) in models.into_iter().enumerate() {
        ranks.entry(model).or_insert(rank);
    }
    ranks
}

/// The model that the draw falls on comes first, then the others, the heaviest first.
fn drawn(weights: &BTreeMap<String, u32>, draw: u64) -> Vec<&str> {
    let all: u64 = weights.values().map(|weight| u64::from(*weight)).sum();
    let mut left = draw.checked_rem(all).unwrap_or(0);
    let first = weights.iter().find(|(_, weight)| {
        let here = left < u64::from(**weight);
        left = left.saturating_sub(u64::from(**weight));
        here
    });
    let first = first.map(|(model, _)| model.as_str());
    let mut models: Vec<(&str, u32)> = weights
        .iter()
        .map(|(model, weight)| (model.as_str(), *weight))
        .collect();
    models.sort_by_key(|(model, weight)| (Some(*model) != first, Reverse(*weight), *model));
    models.into_iter().map(|(model, _)| model).collect()
}

fn because(
    wish: &Wish<'_>,
    ranks: Option<&BTreeMap<&str, usize>>,
    candidate: &Candidate,
) -> (Because, usize) {
    let rank = ranks.and_then(|ranks| ranks.get(candidate.model.as_str()).copied());
    if wish.hint == Some(&candidate.provider) {
        (Because::Hint, rank.unwrap_or(0))
    } else if wish.prefer_local && candidate.local {
        (Because::Local, rank.unwrap_or(0))
    } else if let Some(rank) = rank {
        (Because::Route, rank)
    } else {
        (Because::Score, 0)
    }
}

/// The best that is among the candidates, in each respect.
struct Best {
    cost: u64,
    latency: u64,
    weight: u64,
}

impl Best {
    fn of(able: &[(usize, &Candidate)]) -> Self {
        let all = || able.iter().map(|(_, candidate)| candidate);
        let costs = all().filter_map(|candidate| match candidate.cost {
            Cost::Nanos(nanos) => Some(nanos),
            Cost::Unknown | Cost::Refused => None,
        });
        Self {
            cost: costs.min().unwrap_or(0),
            latency: all()
                .filter_map(|candidate| candidate.latency_ms)
                .min()
                .unwrap_or(0),
            weight: all()
                .map(|candidate| u64::from(candidate.weight))
                .max()
                .unwrap_or(0),
        }
    }

    /// Price and latency, against the best, and what fails, divided by weight.
    fn score(&self, candidate: &Candidate) -> u64 {
        let cost = match candidate.cost {
            Cost::Nanos(nanos) => against(nanos, self.cost),
            Cost::Unknown | Cost::Refused => WORST,
        };
        // Who was never measured is tried: as fast as the best, until it is known.
        let latency = candidate
            .latency_ms
            .map_or(BEST, |latency| against(latency, self.latency));
        let failed = u64::from(candidate.failed).min(THOUSAND) * ALL_FAIL / THOUSAND;
        // After a failure one request tries it, and better one that has somewhere else to go.
        let trying = if candidate.health == Health::HalfOpen {
            WORST
        } else {
            0
        };
        let sum = cost + latency + failed + trying;
        sum.saturating_mul(self.weight.max(1)) / u64::from(candidate.weight.max(1))
    }
}

/// Thousandths of the best, at least those of the best and at most those of the worst.
fn against(value: u64, best: u64) -> u64 {
    if value <= best {
        return BEST;
    }
    let ratio = u128::from(value) * u128::from(BEST) / u128::from(best.max(1));
    u64::try_from(ratio).unwrap_or(WORST).clamp(BEST, WORST)
}

fn again(decision: &Decision, candidates: &[Candidate]) -> Option<u64> {
    if !decision.order.is_empty() {
        return None;
    }
    let waits = decision.lost.iter().filter_map(|(index, why)| {
        let candidate = candidates.get(*index)?;
        match candidate.health {
            Health::Cooling { for_ms } if *why == Lost::Cooling => Some(for_ms),
            Health::Cooling { .. } | Health::Closed | Health::Open | Health::HalfOpen => {
                candidate.over_rate_ms.filter(|_| *why == Lost::OverRate)
            }
        }
    });
    waits.min()
}

#[cfg(test)]
#[path = "routing_tests.rs"]
mod tests;
