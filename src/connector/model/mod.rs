//! How models are asked and how they answer, in each of the formats that providers speak.
//!
//! Pure: a question becomes an address, headers and a body ([`Format::request`]), and what comes back
//! becomes pieces: [`Reader`] takes the bytes as they arrive, and [`Format::answer`] an answer that
//! came whole. A stream is an answer only once its last event came: `[DONE]`, `message_stop`,
//! `response.completed`, `"done": true`. A success without an answer, bytes that cannot be read and a
//! stream that ends early are failures, told apart.
//!
//! Nothing of a provider is believed: sizes are bounded, numbers of usage that cannot be are put
//! right or dropped, unknown events are passed over, and what comes behind the last event is not read.

mod anthropic;
mod frames;
mod ollama;
mod openai;
pub mod providers;
pub mod refusal;
mod responses;
mod said;
pub mod vectors;

use serde_json::{Map, Value};

use super::Malformed;
pub use crate::domain::requests::ask::Format;
use crate::domain::requests::ask::{Ask, Content};
use crate::domain::requests::failure::{Failure, Why};
use crate::domain::requests::piece::{Piece, Stop, Tokens};

pub use frames::Frames;

/// Most bytes of an answer. The longest answers of any model are a hundredth of it.
pub const MAX_ANSWER: usize = 64 << 20;
/// Most bytes of one event of a stream; a piece of thought or a picture in one is far shorter.
pub const MAX_EVENT: usize = 8 << 20;

/// How the key is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Auth {
    /// `Authorization: Bearer`.
    Bearer,
    /// A header of this name.
    Header(&'static str),
}

/// One call, without the key, which the wire adds.
#[derive(Clone, PartialEq)]
pub struct Outgoing {
    /// Where to.
    pub url: String,
    /// Headers besides the key's and the content type's.
    pub headers: Vec<(&'static str, &'static str)>,
    /// Where the key goes.
    pub auth: Auth,
    /// What is said, JSON.
    pub body: Value,
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// What a provider of a format is particular about.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Manner {
    /// It takes `max_completion_tokens`, and not `max_tokens` (OpenAI itself).
    pub completion_tokens: bool,
    /// Its address has no version (Perplexity).
    pub bare: bool,
}

impl Format {
    /// The call that asks, at a provider whose base address is `base`. Also the dry run: what a
    /// format has no words for is refused here, before anything is reserved.
    pub fn request(self, base: &str, ask: &Ask, manner: Manner) -> Result<Outgoing, Malformed> {
        self.has_words_for(ask)?;
        let body = match self {
            Format::OpenAi => openai::body(ask, manner)?,
            Format::Responses => responses::body(ask)?,
            Format::Anthropic => anthropic::body(ask)?,
            Format::Ollama => ollama::body(ask)?,
        };
        Ok(Outgoing {
            url: self.url(base, manner),
            headers: self.headers().to_vec(),
            auth: self.auth(),
            body,
        })
    }

    /// The call that asks which models there are, without a body: whether it is answered says whether
    /// the provider is there and lets us in.
    pub fn probe(self, base: &str, manner: Manner) -> Outgoing {
        let url = match self {
            Format::OpenAi | Format::Responses => address(base, "/models", manner.bare),
            Format::Anthropic => rooted(base, "/v1", "/models"),
            Format::Ollama => rooted(base, "/api", "/tags"),
        };
        Outgoing {
            url,
            headers: self.headers().to_vec(),
            auth: self.auth(),
            body: Value::Null,
        }
    }

    fn has_words_for(self, ask: &Ask) -> Result<(), Malformed> {
        let foreign = ask.written_in != Some(self);
        if let Some(field) = ask.extra.keys().next().filter(|_| foreign) {
            let name = self.name();
            return Err(Malformed(format!(
                "`{field}` cannot be said in the format `{name}`: leave it out, or name a model that speaks yours"
            )));
        }
        let mut fields = ask.messages.iter().enumerate();
        let field = fields.find_map(|(index, message)| Some((index, message.extra.keys().next()?)));
        if let Some((index, field)) = field.filter(|_| foreign) {
            let (field, name) = (field.escape_debug(), self.name());
            return Err(Malformed(format!(
                "`messages[{index}].{field}` cannot be said in the format `{name}`: leave it out, or name a model that speaks yours"
            )));
        }
        let mut parts = ask.messages.iter().flat_map(|message| &message.content);
        let raw = parts.find_map(|part| match part {
            Content::Raw(value) if foreign => Some(value),
            Content::Raw(_)
            | Content::Text(_)
            | Content::ImageUrl(_)
            | Content::Image { .. }
            | Content::ToolCall { .. }
            | Content::ToolResult { .. } => None,
        });
        if let Some(raw) = raw {
            let (kind, name) = (said::text(raw, "/type").unwrap_or("?"), self.name());
            return Err(Malformed(format!(
                "a part of `messages` of the type `{}` as it is written cannot be said in the format `{name}`: leave it out, or name a model that speaks yours",
                kind.escape_debug()
            )));
        }
        // Of several answers one would be shown, and all be paid.
        let one = ask.extra.get("n").is_none_or(|n| n.as_u64() == Some(1));
        let heard = !ask.is_silent();
        match (one, heard) {
            (true, true) => Ok(()),
            (false, _) => Err(Malformed(
                "`n` has to be 1: one answer is asked for".to_owned(),
            )),
            (true, false) => Err(Malformed(
                "`messages` has no words: nothing is asked".to_owned(),
            )),
        }
    }

    fn url(self, base: &str, manner: Manner) -> String {
        match self {
            Format::OpenAi => address(base, "/chat/completions", manner.bare),
            Format::Responses => address(base, "/responses", manner.bare),
            Format::Anthropic => rooted(base, "/v1", "/messages"),
            Format::Ollama => rooted(base, "/api", "/chat"),
        }
    }

    fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Format::Anthropic => &[("anthropic-version", "2023-06-01")],
            Format::OpenAi | Format::Responses | Format::Ollama => &[],
        }
    }

    fn auth(self) -> Auth {
        match self {
            Format::Anthropic => Auth::Header("x-api-key"),
            Format::OpenAi | Format::Responses | Format::Ollama => Auth::Bearer,
        }
    }

    /// Adds what a success that came whole says. Of one that is good for nothing, what it reports to
    /// have used is added all the same: that is paid.
    pub fn answer(self, body: &[u8], pieces: &mut Vec<Piece>) -> Result<(), Failure> {
        let value = serde_json::from_slice(body).map_err(|_| malformed("it is no JSON"))?;
        let from = pieces.len();
        let mut state = State::default();
        let heard = self.whole(&value, &mut state, pieces);
        let new = pieces.get(from..).unwrap_or_default();
        state.noted(new);
        let counted = new.iter().any(|piece| matches!(piece, Piece::Counted(_)));
        if heard.is_err() && !counted {
            pieces.extend(self.counted(&value));
        }
        heard.and_then(|()| state.check())
    }

    /// What an answer reports to have used.
    fn counted(self, value: &Value) -> Option<Piece> {
        match self {
            Format::OpenAi => openai::counted(value),
            Format::Responses => responses::counted(value),
            Format::Anthropic => anthropic::reported(value),
            Format::Ollama => ollama::counted(value).map(Piece::Counted),
        }
    }

    fn whole(
        self,
        value: &Value,
        state: &mut State,
        pieces: &mut Vec<Piece>,
    ) -> Result<(), Failure> {
        if let Some(failure) = refusal::inside(value) {
            return Err(failure);
        }
        match self {
            Format::OpenAi => openai::whole(value, state, pieces),
            Format::Responses => responses::whole(value, pieces),
            Format::Anthropic => anthropic::whole(value, state, pieces),
            Format::Ollama => ollama::event(value, state, pieces),
        }
    }
}

/// `path` at a base address as OpenAI's own packages take it, with its version. A bare host gets the
/// version that all of them have, unless it is known to have none.
pub(crate) fn address(base: &str, path: &str, bare: bool) -> String {
    let base = base.trim_end_matches('/');
    let host = base.split_once("://").map_or(base, |(_, host)| host);
    let version = if host.contains('/') || bare {
        ""
    } else {
        "/v1"
    };
    format!("{base}{version}{path}")
}

/// `root` and `path` at a base address that may have the root already.
fn rooted(base: &str, root: &str, path: &str) -> String {
    let base = base.trim_end_matches('/');
    let base = base.strip_suffix(root).unwrap_or(base);
    format!("{base}{root}{path}")
}

/// What is remembered between events.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// The last event came.
    ended: bool,
    /// Something of an answer came.
    answered: bool,
    /// Why it ended.
    stop: Option<Stop>,
    /// What was counted so far.
    tokens: Option<Tokens>,
    /// The tool calls that began.
    calls: Vec<u64>,
    /// What was told of the whole answer, as it was told last.
    beside: Map<String, Value>,
    /// The block that is open is passed on as it is.
    raw: bool,
}

impl State {
    fn noted(&mut self, pieces: &[Piece]) {
        for piece in pieces {
            self.answered |= piece.is_answer();
            if let Piece::Stopped(stop) = piece {
                self.stop = Some(*stop);
            }
        }
    }

    /// A success has an answer, or says why it has none.
    fn check(&self) -> Result<(), Failure> {
        let excused = match self.stop {
            Some(
                Stop::MaxTokens | Stop::Filtered | Stop::Refused | Stop::Paused | Stop::Sequence,
            ) => true,
            Some(Stop::Done | Stop::ToolCalls) | None => false,
        };
        if self.answered || excused {
            return Ok(());
        }
        Err(Failure::new(
            Why::Empty,
            "it answered with success and said nothing",
        ))
    }

    /// Whether this call is a new one.
    fn begins(&mut self, index: u64) -> bool {
        let new = !self.calls.contains(&index);
        if new {
            self.calls.push(index);
        }
        new
    }
}

/// Reads a stream as it arrives.
#[derive(Debug)]
pub struct Reader {
    format: Format,
    frames: Frames,
    state: State,
    taken: usize,
    most: usize,
    events: usize,
    /// Lines that are no events: what came may be an answer in one piece after all.
    stray: String,
}

impl Reader {
    /// Of a stream in this format.
    pub fn new(format: Format) -> Self {
        Self::bounded(format, MAX_ANSWER)
    }

    /// Of a stream of at most so many bytes.
    pub fn bounded(format: Format, most: usize) -> Self {
        let frames = match format {
            Format::Ollama => Frames::lines(MAX_EVENT),
            Format::OpenAi | Format::Responses | Format::Anthropic => Frames::events(MAX_EVENT),
        };
        Self {
            format,
            frames,
            state: State::default(),
            taken: 0,
            most,
            events: 0,
            stray: String::new(),
        }
    }

    /// Whether the last event came. Nothing is read any more.
    pub fn is_ended(&self) -> bool {
        self.state.ended
    }

    /// Takes bytes, and adds the pieces that they complete.
    pub fn push(&mut self, bytes: &[u8], pieces: &mut Vec<Piece>) -> Result<(), Failure> {
        if self.state.ended {
            return Ok(());
        }
        self.taken = self.taken.saturating_add(bytes.len());
        if self.taken > self.most {
            return Err(malformed("it has no end: more came than any answer has"));
        }
        self.frames.push(bytes);
        self.read(pieces)
    }

    /// The connection ended. An answer whose last event did not come is cut.
    pub fn end(&mut self, pieces: &mut Vec<Piece>) -> Result<(), Failure> {
        if !self.state.ended {
            self.frames.end();
            self.read(pieces)?;
        }
        if self.state.ended {
            return self.state.check();
        }
        if self.events > 0 {
            return Err(Failure::new(
                Why::Cut,
                "the stream ended before its last event",
            ));
        }
        if self.stray.trim().is_empty() {
            return Err(Failure::new(
                Why::Empty,
                "it answered with success and said nothing",
            ));
        }
        // Asked for pieces, it answered in one.
        self.format.answer(self.stray.as_bytes(), pieces)?;
        self.state.ended = true;
        Ok(())
    }

    fn read(&mut self, pieces: &mut Vec<Piece>) -> Result<(), Failure> {
        while !self.state.ended {
            let Some(frame) = self.frames.frame()? else {
                return Ok(());
            };
            let from = pieces.len();
            match frame {
                frames::Frame::Event(data) => self.event(&data, pieces)?,
                frames::Frame::Stray(line) => {
                    self.stray.push_str(&line);
                    self.stray.push('\n');
                }
            }
            let new = pieces.get(from..).unwrap_or_default();
            self.state.noted(new);
        }
        Ok(())
    }

    fn event(&mut self, data: &str, pieces: &mut Vec<Piece>) -> Result<(), Failure> {
        self.events += 1;
        if data.trim() == "[DONE]" {
            // A stream of responses has its own last event, and others have none of this.
            self.state.ended |= self.format == Format::OpenAi;
            return Ok(());
        }
        let value: Value =
            serde_json::from_str(data).map_err(|_| malformed("an event is no JSON"))?;
        if let Some(failure) = refusal::inside(&value) {
            return Err(failure);
        }
        match self.format {
            Format::OpenAi => openai::event(&value, &mut self.state, pieces),
            Format::Responses => responses::event(&value, &mut self.state, pieces),
            Format::Anthropic => anthropic::event(&value, &mut self.state, pieces),
            Format::Ollama => ollama::event(&value, &mut self.state, pieces),
        }
    }
}

pub(crate) fn malformed(words: &str) -> Failure {
    Failure::new(Why::Malformed, words)
}

#[cfg(test)]
mod tests;
