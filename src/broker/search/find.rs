//! Finding passages: the store's engine says which hold a word of the question and are seen by who
//! asks, and they are ranked here by figures of those alone.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::{Search, sight};
use crate::broker::core::Trouble;
use crate::domain::document::Document;
use crate::domain::ids::AgentId;
use crate::domain::principal::Principal;
use crate::domain::proposal::Proposal;
use crate::domain::search::ground::Given;
use crate::domain::search::rank::Figures;
use crate::domain::search::{Paper, near, question, words};
use crate::store::search::{Passage, SearchStore, Sight};

/// Words of a question that are looked for.
const MAX_WORDS: usize = 24;
/// Passages that are ranked, at most.
const RANKED: u32 = 1_000;
/// Passages that are told, at most and where nobody says how many.
const MOST: usize = 50;
const USUAL: usize = 5;

/// What somebody looks for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// In his words.
    pub text: String,
    /// So many passages.
    pub k: Option<usize>,
    /// Only under all of these labels.
    pub labels: Vec<String>,
    /// Only in these documents.
    pub documents: Vec<String>,
}

/// A passage, and how well it answers.
#[derive(Clone, Debug)]
pub(super) struct Scored {
    pub score: f64,
    pub passage: Passage,
}

/// A passage that was found.
#[derive(Clone, PartialEq, Debug)]
pub struct Found {
    /// What it is called.
    pub title: String,
    /// The passage.
    pub passage: Given,
    /// How well it answers; more is better.
    pub score: f64,
    /// The agent that wrote it, if one did.
    pub agent: Option<AgentId>,
}

impl Search {
    /// The passages that answer best, the best first: by words, by meaning where a model is
    /// configured, and in the order of another one if there is one.
    pub async fn find(&self, who: &Principal, wanted: &Wanted) -> Result<Vec<Found>, Trouble> {
        let k = wanted.k.unwrap_or(USUAL).min(MOST);
        if wanted.text.trim().is_empty() || k == 0 {
            return Ok(Vec::new());
        }
        let sight = self.sight_of(who, wanted).await?;
        let near = self.nearest(who, &sight, &wanted.text).await?;
        let by_words = self.by_words(who, &sight, &wanted.text).await?;
        let scored = match near.is_empty() {
            true => by_words,
            false => both(by_words, near),
        };
        let mut scored = self.reordered(who, &wanted.text, scored, k).await;
        scored.truncate(k);
        self.titled(who, scored).await
    }

    async fn sight_of(&self, who: &Principal, wanted: &Wanted) -> Result<Sight, Trouble> {
        Ok(Sight {
            labels: wanted.labels.clone(),
            documents: self.meant(who, &wanted.documents).await?,
            ..sight(who)
        })
    }

    /// The passages that hold words of the question, the best first.
    async fn by_words(
        &self,
        who: &Principal,
        sight: &Sight,
        text: &str,
    ) -> Result<Vec<Scored>, Trouble> {
        let asked = question(text, MAX_WORDS);
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let _turn = self.places().long_read(who).await?;
        let store = self.store()?;
        let (passages, total) = store.seen(sight).await?;
        let (holding, candidates) = candidates(store, sight, &asked).await?;
        let figures = Figures {
            passages,
            words: total,
            holding,
        };
        let scored = candidates.into_iter().map(|passage| Scored {
            score: figures.score(&asked, &words(&passage.text)),
            passage,
        });
        let mut scored: Vec<Scored> = scored.collect();
        // They came in the order of their names, and a stable sort keeps it among equals.
        scored.sort_by(|one, other| other.score.total_cmp(&one.score));
        Ok(scored)
    }

    /// Passages about who is paid by a proposal and what for, that this caller may find: of what
    /// people wrote. What an agent wrote is nothing that should speak for what an agent asks. By their
    /// words alone: what a proposal holds goes to no model.
    pub async fn related(
        &self,
        who: &Principal,
        proposal: &Proposal,
    ) -> Result<Vec<Found>, Trouble> {
        let fixed = &proposal.fixed;
        let mut text = String::new();
        leaves(&json!(fixed.payee), &mut text);
        leaves(&fixed.args.value(), &mut text);
        let mut scored = self.by_words(who, &sight(who), &text).await?;
        scored.truncate(MOST);
        let found = self.titled(who, scored).await?.into_iter();
        let by_people = found.filter(|found| found.agent.is_none());
        Ok(by_people.take(USUAL).collect())
    }

    async fn titled(&self, who: &Principal, scored: Vec<Scored>) -> Result<Vec<Found>, Trouble> {
        // Their titles, what they are called before this caller, and the agent that wrote them.
        let mut titles: BTreeMap<String, (String, String, Option<AgentId>)> = BTreeMap::new();
        let mut found = Vec::new();
        for Scored {
            score,
            passage: one,
        } in scored
        {
            if !titles.contains_key(&one.document) {
                let key = Paper::key(&who.org, &one.document);
                let doc = self.ports().store.doc(&key).await?;
                let stored = doc.map(|doc| Paper::read(&doc)).transpose()?;
                let name = one.document.clone();
                let told = match stored {
                    Some(stored) => {
                        let shown = stored.value.shown(who, &name);
                        (stored.value.title, shown, stored.value.agent)
                    }
                    None => (String::new(), name.clone(), None),
                };
                titles.insert(name, told);
            }
            let told = titles.get(&one.document).cloned();
            let (title, document, agent) = told.unwrap_or_default();
            found.push(Found {
                title,
                agent,
                passage: Given {
                    document,
                    place: one.place,
                    text: one.text,
                },
                score,
            });
        }
        Ok(found)
    }
}

/// One order of what holds the words and what is near.
fn both(by_words: Vec<Scored>, near: Vec<Passage>) -> Vec<Scored> {
    let by_words: Vec<Passage> = by_words.into_iter().map(|one| one.passage).collect();
    let name = |one: &Passage| (one.document.clone(), one.place);
    let orders: [Vec<(String, u64)>; 2] =
        [&by_words, &near].map(|order| order.iter().map(name).collect());
    let all = by_words.iter().chain(&near).map(|one| (name(one), one));
    let named: HashMap<(String, u64), &Passage> = all.collect();
    let scored = near::fused(&orders)
        .into_iter()
        .filter_map(|(name, score)| {
            let passage = (*named.get(&name)?).clone();
            Some(Scored { score, passage })
        });
    scored.collect()
}

/// In how many passages each word is, and the passages to rank. Where there are too many of those,
/// the ones with the rarest words.
async fn candidates(
    store: &dyn SearchStore,
    sight: &Sight,
    asked: &[String],
) -> Result<(HashMap<String, u64>, Vec<Passage>), Trouble> {
    let all = store.matching(sight, asked, RANKED + 1).await?;
    let most = usize::try_from(RANKED).unwrap_or(usize::MAX);
    if all.len() <= most {
        let mut holding: HashMap<String, u64> = HashMap::new();
        for one in &all {
            for word in question(&one.text, usize::MAX) {
                *holding.entry(word).or_default() += 1;
            }
        }
        return Ok((holding, all));
    }
    let mut holding = HashMap::new();
    for word in asked {
        let count = store.holding(sight, std::slice::from_ref(word)).await?;
        holding.insert(word.clone(), count);
    }
    let mut rarest: Vec<&String> = asked.iter().filter(|word| holding[*word] > 0).collect();
    rarest.sort_by_key(|word| holding[*word]);
    let mut taken = 0;
    let within = rarest.into_iter().enumerate().take_while(|(at, word)| {
        taken += holding[*word];
        *at == 0 || taken <= u64::from(RANKED)
    });
    let within: Vec<String> = within.map(|(_, word)| word.clone()).collect();
    Ok((holding, store.matching(sight, &within, RANKED).await?))
}

/// Every text in a document, with blanks between them.
fn leaves(value: &Value, text: &mut String) {
    match value {
        Value::String(one) => {
            text.push_str(one);
            text.push(' ');
        }
        Value::Array(all) => all.iter().for_each(|one| leaves(one, text)),
        Value::Object(all) => all.values().for_each(|one| leaves(one, text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
