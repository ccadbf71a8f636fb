//! `POST /v1/embeddings`: texts to vectors, as OpenAI's packages ask for them. They ask for base64 by
//! themselves, which is four bytes of each number, the lowest first.

use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::super::answer::ok;
use super::super::{Door, Problem};
use super::chat::paid;
use super::parts::{Fields, texts};
use super::refused::Style;
use super::visitor;
use crate::broker::requests::{Asked, Told};
use crate::domain::ids::RequestId;
use crate::domain::requests::ask::{Ask, Embed, Message, Other, Role};
use crate::domain::requests::request::{Door as Came, Wishes};

const STYLE: Style = Style::OpenAi;
/// As what it is counted.
const TASK: &str = "embedding";
/// Texts at once.
const MOST: usize = 2_048;

pub async fn create(State(door): State<Door>, request: Request) -> Response {
    let id = door.broker.requests.new_id();
    match answer(&door, request, id).await {
        Ok(answer) => answer,
        Err(problem) => STYLE.refused(&problem, id),
    }
}

async fn answer(door: &Door, request: Request, id: RequestId) -> Result<Response, Problem> {
    let (parts, body) = visitor::apart(request);
    let who = visitor::who(door, &parts).await?;
    let hints = visitor::hints(&parts.headers)?;
    let written = visitor::body(door, &who, &parts, body).await?;
    let mut fields = Fields::body(written.map);
    let model = fields.needed("model")?;
    let input = texts(&mut fields, "input")?;
    if input.is_empty() || input.len() > MOST || input.iter().any(String::is_empty) {
        return Err(fields.wrong("input", "1 to 2048 texts, none of them empty"));
    }
    let encoded = match fields.text("encoding_format")?.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(fields.wrong("encoding_format", "float or base64")),
    };
    let dimensions = fields.count("dimensions")?;
    let user = fields.text("user")?;
    if let Some(field) = fields.rest().keys().next() {
        let field = field.escape_debug();
        return Err(Problem::invalid(format!("`{field}` is not known here")));
    }
    let said = input.iter();
    let asked = Asked {
        ask: Ask {
            model: model.clone(),
            messages: said.map(|text| Message::text(Role::User, text)).collect(),
            ..Ask::default()
        },
        other: Some(Other::Embed(Embed {
            model: model.clone(),
            texts: input,
            dimensions,
        })),
        door: Came::Embeddings,
        task: TASK.to_owned(),
        priority: hints.priority,
        wishes: Wishes {
            model: Some(model.clone()),
            ..Wishes::default()
        },
        user,
        metadata: hints.beside(None),
        screened: written.screened,
        id: Some(id),
        weight: Some(written.weight),
        ..Asked::default()
    };
    let mut conversation = door.broker.requests.converse(&who, asked).await?;
    let (mut answering, mut vectors) = (model, Vec::new());
    while let Some(told) = conversation.told.recv().await {
        match told {
            Told::Started { model, .. } => answering = model,
            Told::Vectors(these) => vectors = these,
            Told::Piece(_) | Told::Ranked(_) => {}
            Told::Done(done) => {
                let data = vectors.iter().enumerate().map(|(index, vector)| {
                    json!({"object": "embedding", "index": index, "embedding": spelt(vector, encoded)})
                });
                let read = done.tokens.read();
                let answer = json!({
                    "object": "list", "model": answering, "data": data.collect::<Value>(),
                    "usage": {"prompt_tokens": read, "total_tokens": read},
                });
                return Ok(paid(ok(&answer), id, &done));
            }
            Told::Failed(trouble) => return Err(trouble.into()),
        }
    }
    Err(Problem::Internal)
}

fn spelt(vector: &[f32], encoded: bool) -> Value {
    match encoded {
        true => {
            let bytes: Vec<u8> = vector.iter().flat_map(|one| one.to_le_bytes()).collect();
            STANDARD.encode(bytes).into()
        }
        false => json!(vector),
    }
}
