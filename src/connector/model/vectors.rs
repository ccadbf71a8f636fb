//! Texts to vectors, and documents in order: the two calls that are no conversation.
//!
//! An answer counts only if it answers for every text, once, with vectors of one length; what a
//! provider leaves out or says twice would otherwise be stored under the wrong text.

use serde_json::Value;

use super::said::{Fields, count, items};
use super::{Auth, Format, Outgoing, address, malformed, refusal, rooted};
use crate::connector::Malformed;
use crate::domain::requests::ask::{Embed, Rank};
use crate::domain::requests::failure::Failure;
use crate::domain::requests::piece::Tokens;

/// Vectors, in the order of their texts.
#[derive(Clone, PartialEq, Debug)]
pub struct Vectors {
    /// One for each text.
    pub vectors: Vec<Vec<f32>>,
    /// What was counted.
    pub tokens: Option<Tokens>,
}

/// A document, by its place in the question, and how well it answers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Ranked {
    /// Its place.
    pub index: usize,
    /// How well, on the provider's own scale.
    pub score: f64,
}

/// Documents, the best first.
#[derive(Clone, PartialEq, Debug)]
pub struct Ranking {
    /// The documents.
    pub ranked: Vec<Ranked>,
    /// What was counted.
    pub tokens: Option<Tokens>,
}

/// The call for vectors.
pub fn embed(format: Format, base: &str, embed: &Embed) -> Result<Outgoing, Malformed> {
    let url = match format {
        Format::OpenAi | Format::Responses => address(base, "/embeddings", false),
        Format::Ollama => rooted(base, "/api", "/embed"),
        Format::Anthropic => {
            return Err(Malformed(
                "the format `anthropic` has no embeddings".to_owned(),
            ));
        }
    };
    if embed.texts.is_empty() || embed.texts.iter().any(String::is_empty) {
        return Err(Malformed(
            "`input` has to be texts, none of them empty".to_owned(),
        ));
    }
    let openai = format != Format::Ollama;
    let body = Fields::new()
        .with("model", Some(embed.model.as_str()))
        .with("input", Some(embed.texts.clone()))
        .with("dimensions", embed.dimensions)
        .with("encoding_format", openai.then_some("float"));
    Ok(outgoing(url, body.done()))
}

/// The call for an order, which providers agree on: `{model, query, documents, top_n}`.
pub fn rerank(format: Format, base: &str, rank: &Rank) -> Result<Outgoing, Malformed> {
    match format {
        Format::OpenAi | Format::Responses => {}
        Format::Anthropic | Format::Ollama => {
            return Err(Malformed(
                "only providers of the format `openai` put documents in order".to_owned(),
            ));
        }
    }
    if rank.documents.is_empty() {
        return Err(Malformed("`documents` is empty".to_owned()));
    }
    let body = Fields::new()
        .with("model", Some(rank.model.as_str()))
        .with("query", Some(rank.query.as_str()))
        .with("documents", Some(rank.documents.clone()))
        .with("top_n", rank.top);
    Ok(outgoing(address(base, "/rerank", false), body.done()))
}

fn outgoing(url: String, body: Value) -> Outgoing {
    Outgoing {
        url,
        headers: Vec::new(),
        auth: Auth::Bearer,
        body,
    }
}

/// The vectors of so many texts.
pub fn vectors(format: Format, body: &[u8], texts: usize) -> Result<Vectors, Failure> {
    let value = read(body)?;
    let mut vectors: Vec<Option<Vec<f32>>> = vec![None; texts];
    let list = if format == Format::Ollama {
        "/embeddings"
    } else {
        "/data"
    };
    for (place, item) in items(&value, list).enumerate() {
        let index = index_of(item).unwrap_or(place);
        let numbers = item.get("embedding").unwrap_or(item);
        let slot = vectors.get_mut(index).filter(|slot| slot.is_none());
        let slot =
            slot.ok_or_else(|| malformed("it answers for a text that was not asked about"))?;
        *slot = Some(vector(numbers)?);
    }
    let vectors: Option<Vec<Vec<f32>>> = vectors.into_iter().collect();
    let vectors = vectors.ok_or_else(|| malformed("a text has no vector"))?;
    let mut lengths = vectors.iter().map(Vec::len);
    let first = lengths.next();
    if lengths.any(|length| Some(length) != first) {
        return Err(malformed("the vectors are not of one length"));
    }
    Ok(Vectors {
        tokens: counted(&value),
        vectors,
    })
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "vectors are kept in single precision"
)]
fn vector(numbers: &Value) -> Result<Vec<f32>, Failure> {
    let numbers = numbers.as_array().filter(|numbers| !numbers.is_empty());
    let numbers = numbers.ok_or_else(|| malformed("a vector is no list of numbers"))?;
    let single = numbers.iter().map(|number| {
        let number = number.as_f64().map(|number| number as f32);
        number.filter(|number| number.is_finite())
    });
    let single: Option<Vec<f32>> = single.collect();
    single.ok_or_else(|| malformed("a vector has what is no number"))
}

/// The order of so many documents.
pub fn ranking(body: &[u8], documents: usize) -> Result<Ranking, Failure> {
    let value = read(body)?;
    let list = if value.get("results").is_some() {
        "/results"
    } else {
        "/data"
    };
    let mut ranked: Vec<Ranked> = Vec::new();
    for item in items(&value, list) {
        let score = ["relevance_score", "score"]
            .iter()
            .find_map(|name| item.get(*name)?.as_f64());
        let index = index_of(item).filter(|index| *index < documents);
        let new = index.filter(|index| ranked.iter().all(|other| other.index != *index));
        match (new, score.filter(|score| score.is_finite())) {
            (Some(index), Some(score)) => ranked.push(Ranked { index, score }),
            (None, _) | (_, None) => return Err(malformed("it ranks what was not asked about")),
        }
    }
    if ranked.is_empty() {
        return Err(malformed("it ranks nothing"));
    }
    ranked.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.index.cmp(&b.index)));
    Ok(Ranking {
        tokens: counted(&value),
        ranked,
    })
}

fn read(body: &[u8]) -> Result<Value, Failure> {
    let value = serde_json::from_slice(body).map_err(|_| malformed("it is no JSON"))?;
    match refusal::inside(&value) {
        Some(failure) => Err(failure),
        None => Ok(value),
    }
}

fn index_of(item: &Value) -> Option<usize> {
    usize::try_from(count(item, "/index")?).ok()
}

fn counted(value: &Value) -> Option<Tokens> {
    let places = [
        "/usage/prompt_tokens",
        "/usage/total_tokens",
        "/prompt_eval_count",
        "/meta/tokens/input_tokens",
    ];
    let input = places.iter().find_map(|at| count(value, at))?;
    Some(Tokens {
        input,
        ..Tokens::default()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    #[rustfmt::skip]
    fn vectors_answer_for_every_text_once() {
        let read = |value: Value| vectors(Format::OpenAi, value.to_string().as_bytes(), 2);
        let good = json!({"data": [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1]}], "usage": {"prompt_tokens": 7}});
        let good = read(good).unwrap();
        assert_eq!(good.vectors, [vec![1.0], vec![2.0]]);
        assert_eq!(good.tokens.map(|tokens| tokens.input), Some(7));
        for bad in [
            json!({"data": [{"index": 0, "embedding": [1.0]}]}),
            json!({"data": [{"index": 0, "embedding": [1.0]}, {"index": 0, "embedding": [1.0]}]}),
            json!({"data": [{"index": 0, "embedding": [1.0]}, {"index": 2, "embedding": [1.0]}]}),
            json!({"data": [{"index": 0, "embedding": [1.0]}, {"index": 1, "embedding": [1.0, 2.0]}]}),
            json!({"data": [{"index": 0, "embedding": []}, {"index": 1, "embedding": []}]}),
            json!({"data": [{"index": 0, "embedding": ["1"]}, {"index": 1, "embedding": [1e300]}]}),
            json!({"error": {"message": "no"}}),
            json!([]),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
        let ollama = json!({"embeddings": [[1.0], [2.0]], "prompt_eval_count": 3});
        let ollama = vectors(Format::Ollama, ollama.to_string().as_bytes(), 2).unwrap();
        assert_eq!(ollama.vectors.len(), 2);
        assert_eq!(ollama.tokens.map(|tokens| tokens.input), Some(3));
    }

    #[test]
    #[rustfmt::skip]
    fn a_ranking_is_of_what_was_asked_about() {
        let read = |value: Value| ranking(value.to_string().as_bytes(), 2);
        let order = read(json!({"results": [{"index": 0, "relevance_score": 0.1}, {"index": 1, "relevance_score": 0.9}]})).unwrap();
        assert_eq!(order.ranked.iter().map(|ranked| ranked.index).collect::<Vec<_>>(), [1, 0]);
        assert!(read(json!({"data": [{"index": 0, "score": 1}]})).is_ok());
        for bad in [
            json!({"results": []}),
            json!({"results": [{"index": 2, "relevance_score": 0.1}]}),
            json!({"results": [{"index": 0, "relevance_score": 0.1}, {"index": 0, "relevance_score": 0.2}]}),
            json!({"results": [{"index": 0}]}),
            json!({"results": [{"relevance_score": 0.1}]}),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn nothing_is_asked_about_nothing() {
        assert!(embed(Format::OpenAi, "https://a", &Embed::default()).is_err());
        assert!(rerank(Format::OpenAi, "https://a", &Rank::default()).is_err());
        let texts = Embed {
            texts: vec!["a".into()],
            ..Embed::default()
        };
        assert!(embed(Format::Anthropic, "https://a", &texts).is_err());
        assert_eq!(
            embed(Format::Ollama, "http://a:11434", &texts).unwrap().url,
            "http://a:11434/api/embed"
        );
    }
}
