//! Who could answer a request, at what price, and in which order they are asked.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::prices::PriceTable;
use super::{Requests, scope};
use crate::broker::core::models::OnUnknownPrice;
use crate::broker::core::{NoAnswer, Trouble};
use crate::connector::Malformed;
use crate::connector::model::{Manner, Outgoing, vectors};
use crate::domain::ids::OrgId;
use crate::domain::principal::Principal;
use crate::domain::requests::ask::{Ask, Embed, Other, Rank};
use crate::domain::requests::count;
use crate::domain::requests::failure::Why;
use crate::domain::requests::price::{Nanos, Prices};
use crate::domain::requests::provider::{MAX_MODEL, Provider};
use crate::domain::requests::request::{Loser, Routed, Wishes};
use crate::domain::requests::sending::Private;
use crate::domain::requests::shipped;
use crate::domain::requests::unpriced;
use crate::domain::secret::Secret;
use crate::governance::routing::{self, AUTO, Candidate, Cost, Decision, Lost, Wish};

/// The service whose prices the sandbox's model has.
const SANDBOX: &str = "sandbox";

/// A provider with its key, and whose it is: an organisation's, or everybody's.
pub(super) struct Entry {
    pub provider: Provider,
    pub key: Option<Secret>,
    pub org: Option<OrgId>,
    pub is_sandbox: bool,
}

impl Entry {
    pub fn scope(&self) -> &str {
        scope(self.org.as_ref())
    }

    pub fn manner(&self) -> Manner {
        Manner {
            completion_tokens: self.provider.completion_tokens,
            bare: self.provider.bare,
        }
    }

    /// The models it is known to have.
    pub fn models(&self) -> Vec<String> {
        match self.provider.models.is_empty() {
            true => shipped::models(&self.provider.name)
                .map(str::to_owned)
                .collect(),
            false => self.provider.models.clone(),
        }
    }

    /// Whether it would answer for this model: one of those it lists, any where it lists none.
    fn has(&self, model: &str) -> bool {
        let listed = self.provider.models.iter().any(|known| known == model);
        // The sandbox plays any model whose price is known.
        let played = self.is_sandbox && shipped::find(SANDBOX, model).is_some();
        let open = self.provider.models.is_empty();
        listed || played || open
    }
}

/// A model at a provider.
type Pair = (Arc<Entry>, String);

/// One model at one provider, with its price.
#[derive(Clone)]
pub(super) struct Offer {
    pub entry: Arc<Entry>,
    pub model: String,
    pub prices: Prices,
    /// Most that the request would cost.
    pub ceiling: u64,
}

/// What is to be done: a question to be answered, texts to be turned into vectors, or documents to be
/// put in order.
pub(super) enum Work<'a> {
    Ask(&'a Ask),
    Embed(&'a Embed),
    Rank(&'a Rank),
}

impl<'a> Work<'a> {
    pub fn of(ask: &'a Ask, other: Option<&'a Other>) -> Self {
        match other {
            None => Work::Ask(ask),
            Some(Other::Embed(embed)) => Work::Embed(embed),
            Some(Other::Rank(rank)) => Work::Rank(rank),
        }
    }

    /// Tokens that are read, and written at most.
    pub fn tokens(&self) -> (u64, u64) {
        match self {
            Work::Ask(ask) => (count::input(ask), count::output(ask)),
            Work::Embed(embed) => {
                let texts = embed.texts.iter().map(|text| count::text(text));
                (texts.fold(1, u64::saturating_add), 0)
            }
            Work::Rank(rank) => {
                // Each document is read with the question.
                let asked = count::text(&rank.query);
                let each = rank.documents.iter().map(|one| count::text(one) + asked);
                (each.fold(1, u64::saturating_add), 0)
            }
        }
    }

    /// What it asks for that no price list tells.
    pub fn unpriced(&self) -> Option<String> {
        match self {
            Work::Ask(ask) => unpriced::beside(ask),
            Work::Embed(_) | Work::Rank(_) => None,
        }
    }

    /// The call that does it.
    pub fn outgoing(&self, entry: &Entry) -> Result<Outgoing, Malformed> {
        let (base, format) = (&entry.provider.base_url, entry.provider.format);
        match self {
            Work::Ask(ask) => format.request(base, ask, entry.manner()),
            Work::Embed(embed) => vectors::embed(format, base, embed),
            Work::Rank(rank) => vectors::rerank(format, base, rank),
        }
    }
}

/// What was decided.
pub(super) struct Planned {
    /// Whom to ask, the first first.
    pub offers: Vec<Offer>,
    pub routed: Routed,
    /// Tokens that are read.
    pub input: u64,
}

/// A model as lists show it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ModelView {
    /// Its name.
    pub id: String,
    /// A provider that has it.
    pub provider: String,
}

impl Requests {
    /// Which private addresses a provider may be at.
    pub(super) fn private_of(&self, entry: &Entry) -> Private {
        let allowed = &self.settings().models.private_orgs;
        match (&entry.org, entry.provider.allow_private) {
            (_, false) => Private::None,
            (None, true) => Private::Any,
            (Some(org), true) if allowed.iter().any(|one| one == org.as_str() || one == "*") => {
                Private::Allowed
            }
            (Some(_), true) => Private::None,
        }
    }

    /// The models that a caller may name.
    pub async fn models(&self, who: &Principal) -> Result<Vec<ModelView>, Trouble> {
        let entries = self.entries(&who.org).await?;
        let mut seen = BTreeSet::new();
        let mut models = Vec::new();
        for entry in entries.iter() {
            for id in entry.models() {
                if seen.insert(id.clone()) {
                    let provider = entry.provider.name.clone();
                    models.push(ModelView { id, provider });
                }
            }
        }
        Ok(models)
    }

    /// What a model costs at a provider, where more than tokens is asked for or not; `None` if nobody
    /// knows and that is an obstacle.
    fn price(
        &self,
        table: &PriceTable,
        entry: &Entry,
        model: &str,
        beside: bool,
    ) -> Option<Prices> {
        // What runs here costs nobody anything, whatever it is asked for.
        if beside && !entry.provider.local {
            match self.model_settings().on_unknown_price {
                OnUnknownPrice::Refuse => return None,
                OnUnknownPrice::Ceiling => return dearest(),
                OnUnknownPrice::Free => {}
            }
        }
        let service = match entry.is_sandbox {
            true => SANDBOX,
            false => entry.provider.name.as_str(),
        };
        let own = entry.provider.own_price(model).copied();
        let known = own.or_else(|| Self::listed(table, service, model));
        // What runs here costs nobody anything, unless somebody says so.
        let known = known.or_else(|| entry.provider.local.then(Prices::default));
        known.or_else(|| match self.model_settings().on_unknown_price {
            OnUnknownPrice::Refuse => None,
            OnUnknownPrice::Free => Some(Prices::default()),
            OnUnknownPrice::Ceiling => dearest(),
        })
    }

    /// Decides whom to ask, or says why nobody can be.
    pub(super) async fn plan(
        &self,
        org: &OrgId,
        work: &Work<'_>,
        task: &str,
        wishes: &Wishes,
    ) -> Result<Planned, Trouble> {
        let model = wishes.model.as_deref().filter(|model| *model != AUTO);
        if model.is_some_and(|model| model.is_empty() || model.len() > MAX_MODEL) {
            return Err(Trouble::InvalidRequest(
                "`model` is a name of 1 to 256 bytes, or `auto`".to_owned(),
            ));
        }
        let (input, output) = work.tokens();
        let mut pairs: Vec<Pair> = Vec::new();
        let entries = self.entries(org).await?;
        for entry in entries.iter().cloned() {
            match model {
                Some(model) if entry.has(model) => pairs.push((entry, model.to_owned())),
                Some(_) => {}
                None => {
                    let models = entry.models();
                    pairs.extend(models.into_iter().map(|model| (entry.clone(), model)));
                }
            }
        }
        if pairs.is_empty() {
            return Err(Trouble::UnknownModel(model.unwrap_or(AUTO).to_owned()));
        }
        let (able, unfit) = fitting(pairs, work);
        if able.is_empty() {
            let words = unfit.into_iter().next().map(|(_, words)| words);
            let words = words.unwrap_or_else(|| "no provider can be asked this".to_owned());
            return Err(Trouble::InvalidRequest(words));
        }
        let unpriced = work.unpriced();
        let wish = Wish {
            task,
            model,
            hint: wishes.hint.as_deref(),
            prefer_local: wishes.prefer_local,
            budget_nanos: wishes.budget_nanos,
            draw: u64::from_be_bytes(self.ports().ambient.bytes()),
            tried: &[],
        };
        let table = self.imported().await?;
        let priced = able
            .iter()
            .map(|(entry, model)| self.price(&table, entry, model, unpriced.is_some()))
            .collect::<Vec<_>>();
        let ceilings: Vec<Option<u64>> = priced
            .iter()
            .map(|prices| prices.as_ref()?.ceiling(input, output).map(|nanos| nanos.0))
            .collect();
        let candidates: Vec<Candidate> = able
            .iter()
            .zip(&ceilings)
            .map(|((entry, model), ceiling)| self.candidate(entry, model, *ceiling))
            .collect();
        let route = self.model_settings().routes.get(task);
        let decision = routing::route(&wish, &candidates, route);
        let mut routed = routed(&decision, &candidates);
        routed
            .lost
            .extend(unfit.into_iter().map(|(loser, _)| loser));
        routed.lost.extend(unmet(&entries, &wish, &candidates));
        let offers = decision.order.iter().filter_map(|chosen| {
            let (entry, model) = able.get(chosen.index)?;
            Some(Offer {
                entry: entry.clone(),
                model: model.clone(),
                prices: (*priced.get(chosen.index)?)?,
                ceiling: (*ceilings.get(chosen.index)?)?,
            })
        });
        let offers: Vec<Offer> = offers.collect();
        if offers.is_empty() {
            let nobody = nobody(&wish, &decision, &candidates);
            return Err(match (nobody, unpriced) {
                (Trouble::PriceUnknown(model), Some(what)) => {
                    Trouble::PriceUnknown(format!("{model} with {what}"))
                }
                (nobody, _) => nobody,
            });
        }
        Ok(Planned {
            offers,
            routed,
            input,
        })
    }

    fn candidate(&self, entry: &Entry, model: &str, ceiling: Option<u64>) -> Candidate {
        let provider = &entry.provider;
        let seen = self.health.look(entry.scope(), provider, model);
        Candidate {
            provider: provider.name.clone(),
            model: model.to_owned(),
            local: provider.local,
            weight: provider.weight,
            cost: ceiling.map_or(Cost::Refused, Cost::Nanos),
            latency_ms: seen.p50_ms,
            failed: seen.failed,
            health: seen.health,
            full: seen.full,
            over_rate_ms: seen.over_rate_ms,
        }
    }
}

/// Those whose format has words for all of it; and those that have none, each with why.
fn fitting(pairs: Vec<Pair>, work: &Work<'_>) -> (Vec<Pair>, Vec<(Loser, String)>) {
    let mut unfit = Vec::new();
    let mut able = Vec::new();
    for (entry, model) in pairs {
        match work.outgoing(&entry) {
            Ok(_) => able.push((entry, model)),
            Err(malformed) => {
                let loser = Loser {
                    provider: entry.provider.name.clone(),
                    model,
                    why: "unfit".to_owned(),
                };
                unfit.push((loser, malformed.to_string()));
            }
        }
    }
    (able, unfit)
}

/// A hint that nothing can come of: at a provider that is none, or that has not got the model.
fn unmet(entries: &[Arc<Entry>], wish: &Wish<'_>, candidates: &[Candidate]) -> Option<Loser> {
    let hint = wish.hint?;
    if candidates.iter().any(|one| one.provider == hint) {
        return None;
    }
    let known = entries.iter().any(|entry| entry.provider.name == hint);
    Some(Loser {
        provider: hint.to_owned(),
        model: wish.model.unwrap_or_default().to_owned(),
        why: if known { "other_model" } else { "unknown" }.to_owned(),
    })
}

fn dearest() -> Option<Prices> {
    let known = shipped::ROWS.iter().filter_map(shipped::prices);
    known.max_by_key(|prices| prices.output)
}

fn routed(decision: &Decision, candidates: &[Candidate]) -> Routed {
    let named = |index: usize| {
        let candidate = candidates.get(index);
        candidate.map(|one| (one.provider.clone(), one.model.clone()))
    };
    let order = decision.order.iter().filter_map(|chosen| {
        let (provider, model) = named(chosen.index)?;
        Some((provider, model, chosen.because.name().to_owned()))
    });
    let lost = decision.lost.iter().filter_map(|(index, why)| {
        let (provider, model) = named(*index)?;
        Some(Loser {
            provider,
            model,
            why: why.name().to_owned(),
        })
    });
    Routed {
        order: order.collect(),
        lost: lost.collect(),
    }
}

/// Why nobody can be asked, in the words of whoever came nearest.
fn nobody(wish: &Wish<'_>, decision: &Decision, candidates: &[Candidate]) -> Trouble {
    let has = |wanted: Lost| decision.lost.iter().find(|(_, lost)| *lost == wanted);
    let retry_after_secs = decision.again_in_ms.map(|ms| {
        let secs = ms.div_ceil(1_000).max(1);
        u32::try_from(secs).unwrap_or(u32::MAX)
    });
    let no_answer = |why: Why, words: &str| {
        Trouble::Provider(Box::new(NoAnswer {
            why,
            words: words.to_owned(),
            retry_after_secs,
        }))
    };
    if let Some((index, _)) = has(Lost::OverBudget) {
        let least = candidates.get(*index).map(|candidate| candidate.cost);
        let least = match least {
            Some(Cost::Nanos(nanos)) => format!(" (about {} USD)", Nanos(nanos)),
            Some(Cost::Unknown | Cost::Refused) | None => String::new(),
        };
        let most = Nanos(wish.budget_nanos.unwrap_or(0));
        return Trouble::BudgetExceeded(format!(
            "this request may cost more{least} than the {most} USD that one request may"
        ));
    }
    if has(Lost::Cooling).is_some() || has(Lost::OverRate).is_some() {
        return no_answer(
            Why::Cooling,
            "every provider that could answer has been asked too often, and rests",
        );
    }
    if has(Lost::Open).is_some() {
        return no_answer(
            Why::Open,
            "every provider that could answer has failed several times in a row, and is left alone for a moment",
        );
    }
    if has(Lost::Full).is_some() {
        return Trouble::Overloaded {
            retry_after_secs: 1,
        };
    }
    if let Some((index, _)) = has(Lost::NoPrice) {
        let model = candidates.get(*index).map(|one| one.model.clone());
        return Trouble::PriceUnknown(model.unwrap_or_default());
    }
    Trouble::UnknownModel(wish.model.unwrap_or(AUTO).to_owned())
}
