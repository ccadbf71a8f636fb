//! `GET /v1/models`: what can be named as a model, in the form of whoever asks.

use axum::extract::{Path, Request, State};
use axum::response::Response;
use serde_json::{Value, json};

use super::super::answer::ok;
use super::super::{Door, Problem};
use super::refused::{Style, named};
use super::visitor;
use crate::broker::Trouble;
use crate::broker::requests::ModelView;

/// The model that leaves the choice to the broker.
const AUTO: &str = "auto";
/// When a model was made is not known; packages want a time.
const MADE: u64 = 1_767_225_600;
const MADE_AT: &str = "2026-01-01T00:00:00Z";

pub async fn all(State(door): State<Door>, request: Request) -> Response {
    let style = style(&request);
    answer(&door, style, request, None).await
}

pub async fn one(
    State(door): State<Door>,
    Path(model): Path<String>,
    request: Request,
) -> Response {
    let style = style(&request);
    answer(&door, style, request, Some(model)).await
}

fn style(request: &Request) -> Style {
    match request.headers().contains_key("anthropic-version") {
        true => Style::Anthropic,
        false => Style::OpenAi,
    }
}

async fn answer(door: &Door, style: Style, request: Request, model: Option<String>) -> Response {
    let id = door.broker.requests.new_id();
    let mut answer = match told(door, style, request, model).await {
        Ok(value) => ok(&value),
        Err(problem) => return style.refused(&problem, id),
    };
    named(&mut answer, id);
    answer
}

async fn told(
    door: &Door,
    style: Style,
    request: Request,
    model: Option<String>,
) -> Result<Value, Problem> {
    let (parts, _) = visitor::apart(request);
    let who = visitor::who(door, &parts).await?;
    let mut models = vec![ModelView {
        id: AUTO.to_owned(),
        provider: "hundi".to_owned(),
    }];
    models.extend(door.broker.requests.models(&who).await?);
    if let Some(model) = model {
        let found = models.iter().find(|known| known.id == model);
        let found = found.ok_or(Trouble::UnknownModel(model.clone()))?;
        return Ok(spelt(style, found));
    }
    let data: Vec<Value> = models.iter().map(|model| spelt(style, model)).collect();
    Ok(match style {
        Style::OpenAi => json!({"object": "list", "data": data}),
        Style::Anthropic => json!({
            "data": data, "has_more": false,
            "first_id": models.first().map(|model| &model.id),
            "last_id": models.last().map(|model| &model.id),
        }),
    })
}

fn spelt(style: Style, model: &ModelView) -> Value {
    match style {
        Style::OpenAi => json!({
            "id": model.id, "object": "model", "created": MADE, "owned_by": model.provider,
        }),
        Style::Anthropic => json!({
            "type": "model", "id": model.id, "display_name": model.id, "created_at": MADE_AT,
        }),
    }
}
