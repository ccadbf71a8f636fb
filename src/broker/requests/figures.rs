//! What the broker itself asks for figures: vectors of texts, and documents in order. Asked like any
//! request, and booked on the broker's own name in the organisation that it is for.

use super::accept::Asked;
use super::run::Told;
use super::{Requests, sampling};
use crate::broker::core::Trouble;
use crate::connector::model::vectors::Ranked;
use crate::domain::ids::OrgId;
use crate::domain::requests::ask::{Ask, Embed, Message, Other, Rank, Role};
use crate::domain::requests::request::{Door, Wishes};

impl Requests {
    /// A vector for each of these texts.
    pub async fn vectors(
        &self,
        org: &OrgId,
        model: &str,
        texts: Vec<String>,
    ) -> Result<Vec<Vec<f32>>, Trouble> {
        let said = texts.iter().map(|text| Message::text(Role::User, text));
        let said = said.collect();
        let embed = Embed {
            model: model.to_owned(),
            texts,
            dimensions: None,
        };
        let other = Other::Embed(embed);
        let told = self.figures(org, model, Door::Embeddings, said, other);
        let Told::Vectors(vectors) = told.await? else {
            return Err(Trouble::StoreUnavailable);
        };
        Ok(vectors)
    }

    /// The best of these documents for a question, the best first.
    pub async fn ranked(
        &self,
        org: &OrgId,
        model: &str,
        query: &str,
        documents: Vec<String>,
        top: usize,
    ) -> Result<Vec<Ranked>, Trouble> {
        let said = vec![Message::text(Role::User, query)];
        let rank = Rank {
            model: model.to_owned(),
            query: query.to_owned(),
            documents,
            top: u64::try_from(top).ok(),
        };
        let told = self.figures(org, model, Door::Rerank, said, Other::Rank(rank));
        let Told::Ranked(ranked) = told.await? else {
            return Err(Trouble::StoreUnavailable);
        };
        Ok(ranked)
    }

    async fn figures(
        &self,
        org: &OrgId,
        model: &str,
        door: Door,
        messages: Vec<Message>,
        other: Other,
    ) -> Result<Told, Trouble> {
        let who = sampling::ours(org.clone())?;
        let asked = Asked {
            ask: Ask {
                model: model.to_owned(),
                messages,
                ..Ask::default()
            },
            other: Some(other),
            door,
            task: door.name().to_owned(),
            wishes: Wishes {
                model: Some(model.to_owned()),
                ..Wishes::default()
            },
            ..Asked::default()
        };
        let mut conversation = self.converse(&who, asked).await?;
        let mut figures = None;
        while let Some(told) = conversation.told.recv().await {
            match told {
                Told::Started { .. } | Told::Piece(_) => {}
                told @ (Told::Vectors(_) | Told::Ranked(_)) => figures = Some(told),
                Told::Done(_) => return figures.ok_or(Trouble::StoreUnavailable),
                Told::Failed(trouble) => return Err(trouble),
            }
        }
        Err(Trouble::StoreUnavailable)
    }

    /// Whether a text may leave, as `secrets.mode` says: as it is then to be written, or not at all.
    pub async fn leaving(&self, org: &OrgId, text: &str) -> Result<String, Trouble> {
        let who = sampling::ours(org.clone())?;
        let mut said = serde_json::json!({ "query": text });
        self.screen(&who, &mut said).await?;
        Ok(said["query"].as_str().unwrap_or_default().to_owned())
    }
}
