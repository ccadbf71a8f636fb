//! An answer in pieces, as server-sent events: each goes out as it comes, and none before the first,
//! so that what fails before it is told as a status.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use futures_util::stream;
use serde_json::Value;
use tokio::sync::mpsc;

use super::super::Problem;
use super::refused::named;
use crate::broker::Trouble;
use crate::broker::requests::{Done, Told};
use crate::domain::ids::RequestId;
use crate::domain::requests::piece::Piece;
use crate::entry::sse;

/// How a caller's format spells what is told.
pub trait Spell: Send + 'static {
    /// This model answers.
    fn started(&mut self, model: String);

    /// A piece came.
    fn piece(&mut self, piece: Piece, out: &mut Vec<String>);

    /// The answer is complete.
    fn done(&mut self, done: &Done, out: &mut Vec<String>);

    /// It broke off.
    fn failed(&mut self, problem: &Problem, out: &mut Vec<String>);
}

/// An event with this data.
pub fn data(value: &Value) -> String {
    format!("data: {}\n\n", sse::data(&value.to_string()))
}

/// An event with a name and this data.
pub fn event(name: &str, value: &Value) -> String {
    format!("event: {name}\n{}", data(value))
}

struct Telling<S> {
    told: mpsc::Receiver<Told>,
    spell: S,
    ready: Vec<String>,
    over: bool,
}

impl<S: Spell> Telling<S> {
    /// Takes what comes next; `Err` only before anything has gone out.
    async fn step(&mut self) -> Result<(), Trouble> {
        match self.told.recv().await {
            Some(Told::Started { model, .. }) => self.spell.started(model),
            Some(Told::Piece(piece)) => self.spell.piece(piece, &mut self.ready),
            Some(Told::Vectors(_) | Told::Ranked(_)) => {}
            Some(Told::Done(done)) => {
                self.spell.done(&done, &mut self.ready);
                self.over = true;
            }
            Some(Told::Failed(trouble)) => {
                self.over = true;
                return Err(trouble);
            }
            None => {
                self.over = true;
                return Err(Trouble::StoreUnavailable);
            }
        }
        Ok(())
    }

    async fn next(&mut self) -> Option<String> {
        while self.ready.is_empty() {
            if self.over {
                return None;
            }
            if let Err(trouble) = self.step().await {
                let problem = Problem::from(trouble);
                self.spell.failed(&problem, &mut self.ready);
            }
        }
        Some(std::mem::take(&mut self.ready).concat())
    }
}

/// The stream, once its first piece is there.
pub async fn answer<S: Spell>(
    told: mpsc::Receiver<Told>,
    spell: S,
    id: RequestId,
) -> Result<Response, Problem> {
    let mut telling = Telling {
        told,
        spell,
        ready: Vec::new(),
        over: false,
    };
    while telling.ready.is_empty() && !telling.over {
        telling.step().await?;
    }
    let events = stream::unfold(telling, |mut telling| async move {
        let events = telling.next().await?;
        Some((Ok::<_, Infallible>(events), telling))
    });
    let mut answer = Response::new(Body::from_stream(events));
    let headers = answer.headers_mut();
    let kind = HeaderValue::from_static("text/event-stream; charset=utf-8");
    headers.insert(CONTENT_TYPE, kind);
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    named(&mut answer, id);
    Ok(answer)
}
