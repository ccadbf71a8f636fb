//! Documents that people keep so that they can be found, and finding passages of them.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Call, Effect, Operation, Reply, Rest, invalid};
use crate::broker::Trouble;
use crate::broker::search::{Found, NewPaper, PaperView, Wanted};
use crate::domain::principal::Right;

const SPELT: &[(&str, &str)] = &[("id", "document_id")];
/// Those who may write, where they are let; what else holds is for the broker to say.
const WRITERS: &[Right] = &[
    Right::Develop,
    Right::Steward,
    Right::Operate,
    Right::Propose,
];
/// Everybody has one of these.
const READERS: &[Right] = &[Right::ReadOwn, Right::ReadSetup];
/// Longest body: the longest text, written with escapes.
const MAX_BODY: usize = 1_024 * 1_024;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("list_documents", list)
            .says(
                "List documents",
                "Documents that you may find, by name, without their texts.",
            )
            .needs(READERS)
            .rest(Rest::get("/v1/documents").answers(200, "a page")),
        Operation::new("create_document", create)
            .says(
                "Write a document",
                "Keep a text so that it can be found: a contract, a mandate, a manual. Under the id \
                 of one that you may write, it takes its place. Agents may where \
                 `documents.agents_write` lets them. Secrets are dealt with as `secrets.mode` says.",
            )
            .needs(WRITERS)
            .does(Effect::Acts)
            .rest(
                Rest::post("/v1/documents")
                    .up_to(MAX_BODY)
                    .answers(201, "the document")
                    .problems(&[409]),
            ),
        Operation::new("get_document", read)
            .says("Read a document", "One document with its text.")
            .needs(READERS)
            .rest(
                Rest::get("/v1/documents/{id}")
                    .spelt(SPELT)
                    .answers(200, "the document"),
            ),
        Operation::new("delete_document", delete)
            .says(
                "Delete a document",
                "Delete a document; it is found no more.",
            )
            .needs(WRITERS)
            .does(Effect::Acts)
            .rest(
                Rest::delete("/v1/documents/{id}")
                    .spelt(SPELT)
                    .answers(200, "done"),
            ),
        Operation::new("search_documents", search)
            .says(
                "Search documents",
                "Passages of documents that answer best, the best first. What you may not find is \
                 neither found nor counted.",
            )
            .needs(READERS)
            .rest(Rest::get("/v1/search").answers(200, "the passages")),
    ]
}

/// A document as somebody writes it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewDocument")]
struct WriteDocument {
    /// 1 to 128 letters, digits, `.`, `_` or `-`; one is made up if it is left out.
    id: Option<String>,
    /// What it is called.
    title: String,
    /// What it says: at most 262,144 bytes.
    text: String,
    /// What it is sorted under.
    labels: Option<Vec<String>>,
    /// Who may find it: `org` (the default), names of roles, ids of agents. You and admins always may.
    visible_to: Option<Vec<String>>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Document")]
struct DocumentTold {
    id: String,
    title: String,
    labels: Vec<String>,
    visible_to: Vec<String>,
    /// Its parts, as they are found.
    passages: u64,
    bytes: u64,
    created_by: String,
    created_at: String,
    /// Left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

impl From<PaperView> for DocumentTold {
    fn from(view: PaperView) -> Self {
        Self {
            id: view.id,
            title: view.paper.title,
            labels: view.paper.labels,
            visible_to: view.paper.visible_to,
            passages: view.paper.passages,
            bytes: view.paper.bytes,
            created_by: view.paper.by,
            created_at: view.paper.at.to_string(),
            text: view.text,
        }
    }
}

async fn create(call: Call, new: WriteDocument) -> Result<Reply<DocumentTold>, Trouble> {
    let new = NewPaper {
        id: new.id,
        title: new.title,
        text: new.text,
        labels: new.labels.unwrap_or_default(),
        visible_to: new.visible_to,
    };
    let view = call.broker.search.write(&call.who, new).await?;
    Ok(Reply::created(view.into()))
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NamedDocument {
    /// The document's id.
    document_id: String,
}

async fn read(call: Call, named: NamedDocument) -> Result<DocumentTold, Trouble> {
    let read = call.broker.search.read(&call.who, &named.document_id);
    Ok(read.await?.into())
}

#[derive(Serialize, JsonSchema)]
struct DeletedDocument {
    id: String,
    deleted: bool,
}

async fn delete(call: Call, named: NamedDocument) -> Result<DeletedDocument, Trouble> {
    let id = named.document_id;
    call.broker.search.delete(&call.who, &id).await?;
    Ok(DeletedDocument { id, deleted: true })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DocumentFilter {
    /// At most so many.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct DocumentList {
    documents: Vec<DocumentTold>,
    next_cursor: Option<String>,
}

async fn list(call: Call, asked: DocumentFilter) -> Result<DocumentList, Trouble> {
    let search = &call.broker.search;
    let (views, next_cursor) = search
        .list(&call.who, asked.cursor.as_deref(), asked.limit)
        .await?;
    Ok(DocumentList {
        documents: views.into_iter().map(DocumentTold::from).collect(),
        next_cursor,
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SearchAsked {
    /// What is looked for, in words; without any, nothing is found.
    #[serde(default)]
    q: String,
    /// So many passages; 5 if left out.
    #[schemars(range(min = 1, max = 50))]
    k: Option<u32>,
    /// Only of documents under all of these labels, with commas between them.
    labels: Option<String>,
}

#[derive(Serialize, JsonSchema)]
struct SearchAnswer {
    /// The best first.
    passages: Vec<PassageTold>,
}

/// A part of a document that was found.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Passage")]
pub struct PassageTold {
    /// The document and the place in it.
    id: String,
    document: String,
    title: String,
    /// Which passage of the document, from 0.
    place: u64,
    text: String,
    /// How well it answers; more is better.
    score: f64,
}

impl From<Found> for PassageTold {
    fn from(found: Found) -> Self {
        Self {
            id: found.passage.id(),
            document: found.passage.document,
            title: found.title,
            place: found.passage.place,
            text: found.passage.text,
            score: found.score,
        }
    }
}

/// Longest question, in bytes.
const MAX_QUESTION: usize = 4 * 1024;
/// Most labels that one question may name: as many as a document can have.
const MAX_LABELS: usize = 20;

async fn search(call: Call, asked: SearchAsked) -> Result<SearchAnswer, Trouble> {
    if asked.q.len() > MAX_QUESTION {
        return Err(invalid("`q` is at most 4096 bytes long"));
    }
    let labels = asked.labels.as_deref().unwrap_or_default().split(',');
    let labels = labels.map(str::trim).filter(|label| !label.is_empty());
    let labels: BTreeSet<String> = labels.map(str::to_owned).collect();
    if labels.len() > MAX_LABELS {
        return Err(invalid(
            "`labels` names more than 20, and no document has so many",
        ));
    }
    let wanted = Wanted {
        labels: labels.into_iter().collect(),
        k: asked.k.and_then(|k| usize::try_from(k).ok()),
        text: asked.q,
        documents: Vec::new(),
    };
    let found = call.broker.search.find(&call.who, &wanted).await?;
    Ok(SearchAnswer {
        passages: found.into_iter().map(PassageTold::from).collect(),
    })
}
