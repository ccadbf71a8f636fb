//! Finding by meaning, where a model of embeddings is configured: each passage gets a vector after it
//! was written, and a question is compared with those that its asker may see. Where one that puts
//! documents in order is configured, it has the last word on what was found.
//!
//! Both are a help and nothing more: a model that is away, slow or over its budget leaves the words.
//! What a question holds that must not leave stays here, and words alone answer it.

use std::time::Duration;

use tokio::time::timeout;

use super::Search;
use super::find::Scored;
use crate::broker::core::Trouble;
use crate::domain::ids::OrgId;
use crate::domain::principal::Principal;
use crate::domain::requests::failure::Why;
use crate::domain::search::near;
use crate::store::search::{Passage, SearchStore, Sight};

/// Passages that are turned into vectors at once.
const BATCH: u32 = 64;
/// Vectors that a question is compared with, at most; passages beyond are found by their words.
const COMPARED: u32 = 10_000;
/// The nearest of them that count.
const NEAREST: usize = 100;
/// Passages that are put in order anew.
const REORDERED: usize = 50;
/// Longest that a search waits for a model.
const PATIENCE: Duration = Duration::from_secs(5);

impl Search {
    /// Turns passages into vectors that have none yet, until none is left.
    pub async fn tend_vectors(&self) -> Result<(), Trouble> {
        let Some(model) = &self.settings().models.embedding_model else {
            return Ok(());
        };
        // One at a time in this process: two would pay for the same passages.
        let _turn = self.tending.lock().await;
        let store = self.store()?;
        loop {
            let lacking = store.without_vectors(model, BATCH).await?;
            let Some((org, _)) = lacking.first() else {
                return Ok(());
            };
            let org = org.clone();
            let ours = lacking.into_iter().filter(|(of, _)| *of == org);
            let passages: Vec<Passage> = ours.map(|(_, passage)| passage).collect();
            self.learn(store, &org, model, &passages).await?;
        }
    }

    /// Keeps vectors of these. If the model refuses them, each is asked for by itself, and what it
    /// refuses then has none.
    async fn learn(
        &self,
        store: &dyn SearchStore,
        org: &OrgId,
        model: &str,
        passages: &[Passage],
    ) -> Result<(), Trouble> {
        match self.vectors_of(org, model, passages).await {
            Ok(vectors) => {
                for (passage, vector) in passages.iter().zip(&vectors) {
                    let kept = near::kept(vector);
                    store.keep_vector(org, passage, model, &kept).await?;
                }
                Ok(())
            }
            Err(trouble) if !is_refused(&trouble) => Err(trouble),
            Err(_) => {
                for passage in passages {
                    let one = std::slice::from_ref(passage);
                    let vector = match self.vectors_of(org, model, one).await {
                        Ok(vectors) => vectors.first().map(|vector| near::kept(vector)),
                        Err(trouble) if is_refused(&trouble) => None,
                        Err(trouble) => return Err(trouble),
                    };
                    let kept = vector.unwrap_or_default();
                    store.keep_vector(org, passage, model, &kept).await?;
                }
                Ok(())
            }
        }
    }

    async fn vectors_of(
        &self,
        org: &OrgId,
        model: &str,
        passages: &[Passage],
    ) -> Result<Vec<Vec<f32>>, Trouble> {
        let texts = passages.iter().map(|passage| passage.text.clone());
        self.requests.vectors(org, model, texts.collect()).await
    }

    /// The passages whose vectors are nearest to the question's, the nearest first.
    pub(super) async fn nearest(
        &self,
        who: &Principal,
        sight: &Sight,
        text: &str,
    ) -> Result<Vec<Passage>, Trouble> {
        let Some(model) = &self.settings().models.embedding_model else {
            return Ok(Vec::new());
        };
        let Some(asked) = self.vector_of(&who.org, model, text).await else {
            return Ok(Vec::new());
        };
        let _turn = self.places().long_read(who).await?;
        let kept = self.store()?.vectors(sight, model, COMPARED).await?;
        let near = kept.into_iter().filter_map(|(passage, vector)| {
            let cosine = near::cosine(&asked, &vector)?;
            (cosine > 0.0).then_some((cosine, passage))
        });
        let mut near: Vec<(f32, Passage)> = near.collect();
        near.sort_by(|(one, _), (other, _)| other.total_cmp(one));
        near.truncate(NEAREST);
        Ok(near.into_iter().map(|(_, passage)| passage).collect())
    }

    /// The vector of a question, if there is one in time.
    async fn vector_of(&self, org: &OrgId, model: &str, text: &str) -> Option<Vec<f32>> {
        let asked = async {
            let leaving = self.requests.leaving(org, text).await?;
            self.requests.vectors(org, model, vec![leaving]).await
        };
        let vectors = self.in_time("embeddings", asked).await?;
        vectors.into_iter().next()
    }

    /// What was found, the best first as a model sees it; as it is, where none does.
    pub(super) async fn reordered(
        &self,
        who: &Principal,
        text: &str,
        mut scored: Vec<Scored>,
        k: usize,
    ) -> Vec<Scored> {
        let Some(model) = &self.settings().models.rerank_model else {
            return scored;
        };
        if scored.is_empty() {
            return scored;
        }
        scored.truncate(REORDERED.max(k));
        let documents: Vec<String> = scored.iter().map(|one| one.passage.text.clone()).collect();
        let asked = async {
            let leaving = self.requests.leaving(&who.org, text).await?;
            let requests = &self.requests;
            requests
                .ranked(&who.org, model, &leaving, documents, k)
                .await
        };
        let Some(ranked) = self.in_time("rerank", asked).await else {
            return scored;
        };
        let ordered = ranked.into_iter().filter_map(|one| {
            let passage = scored.get(one.index)?.passage.clone();
            Some(Scored {
                score: one.score,
                passage,
            })
        });
        ordered.collect()
    }

    async fn in_time<T>(
        &self,
        what: &'static str,
        asked: impl Future<Output = Result<T, Trouble>>,
    ) -> Option<T> {
        match timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(trouble)) => {
                let code = trouble.code();
                tracing::info!(what, code, "a search does without a model");
                None
            }
            Err(_) => {
                tracing::info!(what, "a search does without a model that was slow");
                None
            }
        }
    }
}

/// Whether asking again would change nothing.
fn is_refused(trouble: &Trouble) -> bool {
    if let Trouble::Provider(no) = trouble {
        return no.why == Why::Refused;
    }
    matches!(trouble, Trouble::InvalidRequest(_))
}
