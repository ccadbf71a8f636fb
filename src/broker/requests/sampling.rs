//! The broker's own answers to an agent's prompt, to be compared with each other: asked of a model
//! like any request, twice, and booked on the broker's own name.

use futures_util::future::try_join;
use serde_json::{Value, json};

use super::accept::Asked;
use super::run::Told;
use super::{Requests, screen::Screened};
use crate::broker::core::Trouble;
use crate::domain::ids::{OrgId, ToolName};
use crate::domain::principal::{Principal, Role};
use crate::domain::requests::ask::{Ask, Message, Role as Says};
use crate::domain::requests::piece::Piece;
use crate::domain::requests::request::{Door, Wishes};

/// In whose name the broker asks.
const OURS: &str = "hundi";
/// Tokens of an answer: a sentence or two.
const MOST: u64 = 300;
/// As what such requests are counted.
const TASK: &str = "integrity";

impl Requests {
    /// Two answers of this model about a call of a tool.
    pub async fn samples(
        &self,
        model: &str,
        tool: &ToolName,
        args: &Value,
        prompt: Option<&str>,
    ) -> Result<Vec<String>, Trouble> {
        let words = format!(
            "An agent was told: {}\nIt wants to call the tool {tool} with these arguments: {args}\n\
             Say in one sentence what this call will do, naming every amount and every recipient.",
            prompt.unwrap_or("(nothing)")
        );
        let (first, second) =
            try_join(self.sample(model, &words), self.sample(model, &words)).await?;
        Ok(vec![first, second])
    }

    async fn sample(&self, model: &str, words: &str) -> Result<String, Trouble> {
        let who = ours(OrgId::default())?;
        // What must not leave does not leave for our own questions either.
        let mut said = json!({ "prompt": words });
        let screened: Screened = self.screen(&who, &mut said).await?;
        let words = said["prompt"].as_str().unwrap_or_default().to_owned();
        let asked = Asked {
            ask: Ask {
                model: model.to_owned(),
                messages: vec![Message::text(Says::User, words)],
                max_tokens: Some(MOST),
                ..Ask::default()
            },
            door: Door::Chat,
            task: TASK.to_owned(),
            wishes: Wishes {
                model: Some(model.to_owned()),
                ..Wishes::default()
            },
            screened,
            ..Asked::default()
        };
        let mut conversation = self.converse(&who, asked).await?;
        let mut text = String::new();
        while let Some(told) = conversation.told.recv().await {
            match told {
                Told::Piece(Piece::Text(more)) => text.push_str(&more),
                Told::Piece(_) | Told::Started { .. } | Told::Vectors(_) | Told::Ranked(_) => {}
                Told::Done(_) => return Ok(text),
                Told::Failed(trouble) => return Err(trouble),
            }
        }
        Err(Trouble::StoreUnavailable)
    }
}

/// The broker itself, in an organisation.
pub(super) fn ours(org: OrgId) -> Result<Principal, Trouble> {
    let agent = OURS.parse().map_err(|_| Trouble::StoreUnavailable)?;
    Ok(Principal {
        id: OURS.to_owned(),
        name: OURS.to_owned(),
        org,
        roles: Role::Agent.into(),
        agent: Some(agent),
        person: None,
        server: None,
    })
}
