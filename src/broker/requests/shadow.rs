//! Shadows: a second model that is asked beside the first, never shown, and compared with it.
//!
//! It is a request of its own, in the same pot and under the same limits; where they have no room it is
//! left out, and says so. The first never waits for it: what came of it is written down when both have
//! ended. It is asked once, whatever becomes of workers.

use std::time::Duration;

use super::Requests;
use super::accept::Asked;
use super::run::Told;
use super::screen::Screened;
use crate::broker::core::{Trouble, failed};
use crate::domain::change::Change;
use crate::domain::document::Document;
use crate::domain::ids::{OrgId, RequestId};
use crate::domain::principal::{Principal, Role};
use crate::domain::requests::ask::Ask;
use crate::domain::requests::event;
use crate::domain::requests::piece::Piece;
use crate::domain::requests::request::{AskBeside, Door, Request, Shadow, State, Wishes};
use crate::governance::integrity;
use crate::telemetry::models;

/// How often the first is looked at, where another process may end it.
const LOOK: Duration = Duration::from_millis(500);
/// How often the result is written while others write as well.
const ATTEMPTS: usize = 10;

/// What the second model said, and what that cost.
struct Beside {
    shadow: Shadow,
    text: Option<String>,
}

impl Requests {
    /// Begins to ask the second model, if the request wants one and none was asked yet.
    pub(super) fn cast_shadow(&self, org: &OrgId, request: &Request, ask: &Ask) {
        let Some(wish) = request.wishes.shadow.clone() else {
            return;
        };
        if request.lost_workers > 0 || !request.attempts.is_empty() {
            return;
        }
        let (requests, org, request, ask) =
            (self.clone(), org.clone(), request.clone(), ask.clone());
        self.tasks.spawn(async move {
            let beside = requests.beside(&org, &request, ask, wish).await;
            if let Err(trouble) = requests.compare(&org, request.id, beside).await {
                tracing::info!(request = %request.id, %trouble, "a shadow was not compared");
            }
        });
    }

    async fn beside(&self, org: &OrgId, of: &Request, ask: Ask, wish: AskBeside) -> Beside {
        let id = self.new_id();
        let mut shadow = Shadow {
            request: None,
            provider: wish.provider.clone(),
            model: wish.model.clone(),
            disagreement: None,
            numbers: None,
            nanos: 0,
            why: None,
        };
        let model = wish.model.or_else(|| of.wishes.model.clone());
        let asked = Asked {
            ask: Ask {
                model: model.clone().unwrap_or_default(),
                stream: false,
                ..ask
            },
            door: Door::Shadow,
            task: Door::Shadow.name().to_owned(),
            wishes: Wishes {
                model,
                hint: wish.provider,
                budget_nanos: of.wishes.budget_nanos,
                ..Wishes::default()
            },
            screened: Screened::default(),
            id: Some(id),
            shadow_of: Some(of.id),
            ..Asked::default()
        };
        let mut conversation = match self.converse(&payer(org, of), asked).await {
            Ok(conversation) => conversation,
            Err(trouble) => {
                shadow.why = Some(trouble.code().to_owned());
                return Beside { shadow, text: None };
            }
        };
        shadow.request = Some(id);
        let mut text = String::new();
        while let Some(told) = conversation.told.recv().await {
            match told {
                Told::Piece(Piece::Text(more)) => text.push_str(&more),
                Told::Started { .. } | Told::Piece(_) | Told::Vectors(_) | Told::Ranked(_) => {}
                Told::Done(done) => {
                    shadow.provider = Some(done.provider);
                    shadow.model = Some(done.model);
                    shadow.nanos = done.nanos;
                    let text = Some(text);
                    return Beside { shadow, text };
                }
                Told::Failed(trouble) => {
                    shadow.why = Some(trouble.code().to_owned());
                    return Beside { shadow, text: None };
                }
            }
        }
        shadow.why = Some("worker_lost".to_owned());
        Beside { shadow, text: None }
    }

    /// Waits for the end of the first, and writes down how far the two agree.
    async fn compare(&self, org: &OrgId, id: RequestId, beside: Beside) -> Result<(), Trouble> {
        for _ in 0..ATTEMPTS {
            let stored = loop {
                let stored = self.document::<Request>(org, &id).await?;
                let stored = stored.ok_or(Trouble::NotFound("request"))?;
                if stored.value.state.is_final() && stored.value.open.is_none() {
                    break stored;
                }
                self.heard(id, LOOK).await;
            };
            let mut request = stored.value;
            let mut shadow = beside.shadow.clone();
            if request.erased {
                request.shadow = Some(shadow);
                return self.forget_beside(org, &request, "hundi").await;
            }
            match (&beside.text, request.state) {
                (Some(second), State::Completed) => {
                    let first = event::Told::of(&self.all_events(org, &request).await?).text;
                    let signals = integrity::score(&[first, second.clone()], None, None).signals;
                    shadow.disagreement = signals.output_instability;
                    shadow.numbers = signals.numeric_variance;
                }
                (Some(_), state) => shadow.why = Some(state.name().to_owned()),
                (None, _) => {}
            }
            let disagreement = shadow.disagreement;
            request.shadow = Some(shadow);
            let docs = vec![request.write(org, &id, Some(stored.version))];
            let change = Change::request(Vec::new(), docs, Vec::new(), None, Vec::new());
            match self.ports().store.apply(change).await.map_err(failed) {
                Ok(_) => {
                    if let Some(disagreement) = disagreement {
                        models::shadow_disagreement(disagreement);
                    }
                    return Ok(());
                }
                Err(Trouble::Changed) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        Err(Trouble::Changed)
    }

    /// What was said in a request is forgotten, and with it what was said beside it.
    pub(super) async fn forget_beside(
        &self,
        org: &OrgId,
        request: &Request,
        by: &str,
    ) -> Result<(), Trouble> {
        let beside = request.shadow.as_ref().and_then(|shadow| shadow.request);
        let Some(beside) = beside else {
            return Ok(());
        };
        for _ in 0..ATTEMPTS {
            let Some(stored) = self.document::<Request>(org, &beside).await? else {
                return Ok(());
            };
            if stored.value.erased {
                return Ok(());
            }
            match self.forget(org, stored, by).await {
                Err(Trouble::Changed) => {}
                done => return done.map(drop),
            }
        }
        Err(Trouble::Changed)
    }
}

/// Who pays for the second: whoever pays for the first.
fn payer(org: &OrgId, of: &Request) -> Principal {
    Principal {
        id: of.by.clone(),
        name: of.by.clone(),
        org: org.clone(),
        roles: Role::Agent.into(),
        agent: Some(of.owner.clone()),
        person: None,
        server: None,
    }
}
