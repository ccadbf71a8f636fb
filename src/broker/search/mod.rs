//! Documents that people keep so that they can be found: written, read, deleted, and looked through
//! for passages.
//!
//! Whoever may not see a document is told that there is none, and nothing of it moves a score or a
//! count that he gets. They are found by their words, and by their meaning where a model of embeddings
//! is configured. What is written is looked over for secrets first. Each write is recorded, by
//! title and never by text.

mod find;
mod meaning;
mod named;

use std::ops::Deref;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Mutex;

pub use find::{Found, Wanted};

use named::Place;

use crate::broker::core::{Core, FoundSecret, ModelPorts, Trouble, failed, forbidden};
use crate::broker::requests::Requests;
use crate::domain::audit::names::RecordKind;
use crate::domain::change::{Change, Conflict, Record};
use crate::domain::document::Document;
use crate::domain::ids::AgentId;
use crate::domain::principal::{Principal, Right, Role};
use crate::domain::requests::rows::Beside;
use crate::domain::search::{EVERYBODY, Paper, Row, Says, author, passages, readers};
use crate::governance::secrets::judge;
use crate::store::ApplyError;
use crate::store::search::{SearchStore, Sight};
use crate::telemetry::models;

/// Most documents in one organisation.
const MOST: u64 = 10_000;
/// Longest text, in bytes.
pub const MAX_TEXT: usize = 256 * 1024;
/// Longest title, name or label, in bytes.
const MAX_NAME: usize = 200;
/// Most labels, and most who are named as readers.
const MAX_NAMES: usize = 50;
/// Documents in one page at most.
const PAGE: u32 = 500;

/// The handle. Cheap to clone.
#[derive(Clone)]
pub struct Search(Arc<Parts>);

/// What a [`Search`] stands on.
pub struct Parts {
    core: Core,
    requests: Requests,
    /// Held by whoever turns passages into vectors.
    tending: Mutex<()>,
}

impl Deref for Search {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// Every subject reaches the core as its own.
impl Deref for Parts {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.core
    }
}

/// A document as somebody writes it.
#[derive(Debug)]
pub struct NewPaper {
    /// Its name; one is made up if there is none.
    pub id: Option<String>,
    /// What it is called.
    pub title: String,
    /// What it says.
    pub text: String,
    /// What it is sorted under.
    pub labels: Vec<String>,
    /// Who may find it; everybody in the organisation if nobody is said.
    pub visible_to: Option<Vec<String>>,
}

/// A document as people see it.
#[derive(Debug)]
pub struct PaperView {
    /// Its name.
    pub id: String,
    /// What is known of it.
    pub paper: Paper,
    /// What it says, where that was asked for.
    pub text: Option<String>,
}

impl Search {
    /// Over these.
    pub(in crate::broker) fn new(core: Core, requests: Requests) -> Self {
        Self(Arc::new(Parts {
            core,
            requests,
            tending: Mutex::default(),
        }))
    }

    /// What was just written gets its vectors; what that leaves, a duty looks for.
    fn learn_soon(&self) {
        if self.settings().models.embedding_model.is_some() {
            let search = self.clone();
            self.requests.tasks().spawn(async move {
                if let Err(trouble) = search.tend_vectors().await {
                    tracing::info!(%trouble, "a document has no vectors yet");
                }
            });
        }
    }

    fn store(&self) -> Result<&dyn SearchStore, Trouble> {
        let off = || Trouble::Off("this process keeps no documents".to_owned());
        let ports: &ModelPorts = self.ports().models.as_ref().ok_or_else(off)?;
        Ok(ports.search.as_ref())
    }

    /// Writes a document, or puts it in the place of one that the caller may write.
    pub async fn write(&self, who: &Principal, new: NewPaper) -> Result<PaperView, Trouble> {
        self.may_write(who)?;
        let new = self.looked_over(checked(new)?)?;
        let Place { id, alias, version } = self.place(who, new.id).await?;
        if version == 0 && self.store()?.count_papers(&who.org).await? >= MOST {
            let text = format!("there are {MOST} documents already; delete some first");
            return Err(Trouble::InvalidRequest(text));
        }
        let cut = passages(&new.text);
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let paper = Paper {
            title: new.title,
            labels: new.labels,
            visible_to: new.visible_to.unwrap_or_else(|| vec![EVERYBODY.to_owned()]),
            passages: count(cut.len()),
            bytes: count(new.text.len()),
            by: author(who),
            agent: who.agent.clone(),
            at: self.ports().ambient.now(),
            alias,
        };
        let mut says = vec![Says::Gone];
        says.extend((0..).zip(&cut).map(|(place, text)| Says::Passage {
            place,
            text: (*text).to_owned(),
        }));
        says.extend(paper.readers().into_iter().map(Says::Reader));
        says.extend(paper.labels.iter().cloned().map(Says::Label));
        let record = record(self, who, RecordKind::DocumentStored, &id, &paper);
        let docs = vec![paper.write(&who.org, &id, Some(version))];
        self.put(who, docs, &id, says, record).await?;
        self.learn_soon();
        Ok(PaperView {
            id: paper.shown(who, &id),
            paper,
            text: None,
        })
    }

    /// Deletes a document.
    pub async fn delete(&self, who: &Principal, id: &str) -> Result<(), Trouble> {
        let stored = self.visible(who, id).await?;
        if self.may_write(who).is_err() || !self.may_replace(who, &stored.value) {
            return Err(forbidden(who));
        }
        let id = stored.key.id.clone();
        let record = record(self, who, RecordKind::DocumentDeleted, &id, &stored.value);
        let docs = vec![stored.remove()];
        self.put(who, docs, &id, vec![Says::Gone], record).await
    }

    /// One document with its text.
    pub async fn read(&self, who: &Principal, id: &str) -> Result<PaperView, Trouble> {
        let stored = self.visible(who, id).await?;
        let passages = self.store()?.text(&sight(who), &stored.key.id).await?;
        Ok(PaperView {
            id: id.to_owned(),
            paper: stored.value,
            text: Some(passages.into_iter().map(|one| one.text).collect()),
        })
    }

    /// Documents that the caller may find, by name, and after which to go on if there are more.
    pub async fn list(
        &self,
        who: &Principal,
        after: Option<&str>,
        limit: Option<u32>,
    ) -> Result<(Vec<PaperView>, Option<String>), Trouble> {
        let _turn = self.places().long_read(who).await?;
        let limit = limit.unwrap_or(PAGE).clamp(1, PAGE);
        let (sight, after) = (sight(who), after.unwrap_or_default());
        let docs = self.store()?.papers(&sight, after, limit + 1).await?;
        let most = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = docs.len() > most;
        let last = docs.get(..most).and_then(<[_]>::last).filter(|_| more);
        let last = last.map(|doc| doc.key.id.clone());
        let views = docs.iter().take(most).map(|doc| {
            let stored = Paper::read(doc)?;
            Ok(PaperView {
                id: stored.value.shown(who, &stored.key.id),
                paper: stored.value,
                text: None,
            })
        });
        Ok((views.collect::<Result<_, Trouble>>()?, last))
    }

    /// People who make, keep or run things; agents where they are let.
    fn may_write(&self, who: &Principal) -> Result<(), Trouble> {
        let agents = self.settings().models.agents_write && who.may(Right::Propose);
        match agents || keeps(who) {
            true => Ok(()),
            false => Err(forbidden(who)),
        }
    }

    fn may_replace(&self, who: &Principal, paper: &Paper) -> bool {
        paper.by == author(who) || (keeps(who) && sees(who, paper))
    }

    /// Without what must not be kept in the open, as `secrets.mode` says.
    fn looked_over(&self, new: NewPaper) -> Result<NewPaper, Trouble> {
        let settings = &self.settings().models;
        let mut body = json!({"title": new.title, "text": new.text});
        let verdict = judge::judge(&mut body, settings.secrets, &settings.exceptions);
        let action = match verdict.refused {
            true => "block",
            false => settings.secrets.name(),
        };
        for placed in &verdict.found {
            models::secret_found(placed.find.rule, action);
        }
        if verdict.refused {
            let found = verdict.found.into_iter().map(|placed| FoundSecret {
                rule: placed.find.rule,
                pointer: placed.pointer,
            });
            return Err(Trouble::SecretFound(found.collect()));
        }
        let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
        Ok(NewPaper {
            title: text("title"),
            text: text("text"),
            ..new
        })
    }

    async fn put(
        &self,
        who: &Principal,
        docs: Vec<crate::domain::change::DocWrite>,
        document: &str,
        says: Vec<Says>,
        record: Record,
    ) -> Result<(), Trouble> {
        let rows = says.into_iter().map(|says| {
            Beside::Search(Box::new(Row {
                org: who.org.clone(),
                document: document.to_owned(),
                says,
            }))
        });
        let change = Change::request(Vec::new(), docs, rows.collect(), None, vec![record]);
        match self.ports().store.apply(change).await {
            Ok(_) => Ok(()),
            Err(ApplyError::Conflict(Conflict::DocChanged(_))) => Err(Trouble::Changed),
            Err(error) => Err(failed(error)),
        }
    }
}

/// Whether somebody keeps documents by his office.
fn keeps(who: &Principal) -> bool {
    [Right::Develop, Right::Steward, Right::Operate]
        .into_iter()
        .any(|right| who.may(right))
}

fn sees(who: &Principal, paper: &Paper) -> bool {
    let theirs = readers(who);
    paper.readers().iter().any(|reader| theirs.contains(reader))
}

/// All that somebody may find.
fn sight(who: &Principal) -> Sight {
    Sight {
        org: who.org.clone(),
        readers: readers(who),
        labels: Vec::new(),
        documents: Vec::new(),
    }
}

fn record(core: &Core, who: &Principal, kind: RecordKind, id: &str, paper: &Paper) -> Record {
    let mut record = Record::new(core.ports().ambient.now(), &who.org, kind, &who.id);
    record.agent.clone_from(&who.agent);
    record.with(told(id, paper))
}

fn told(id: &str, paper: &Paper) -> Value {
    json!({
        "document": id, "title": paper.title, "labels": paper.labels,
        "visible_to": paper.visible_to, "bytes": paper.bytes,
    })
}

fn checked(new: NewPaper) -> Result<NewPaper, Trouble> {
    let invalid = |why: &str| Err(Trouble::InvalidRequest(why.to_owned()));
    let plain = |id: &String| {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        (1..=128).contains(&id.len()) && id.bytes().all(letter)
    };
    if !new.id.as_ref().is_none_or(plain) {
        return invalid("`id` is 1 to 128 letters, digits, `.`, `_` or `-`");
    }
    let fits =
        |text: &String| (1..=MAX_NAME).contains(&text.len()) && !text.chars().any(char::is_control);
    if !fits(&new.title) {
        return invalid("`title` is 1 to 200 bytes without control characters");
    }
    if new.text.trim().is_empty() || new.text.len() > MAX_TEXT || new.text.contains('\0') {
        return invalid("`text` is 1 to 262144 bytes, and not blank; cut longer ones in parts");
    }
    if new.labels.len() > MAX_NAMES || !new.labels.iter().all(fits) || has_comma(&new.labels) {
        return invalid("`labels` are at most 50, each 1 to 200 bytes without commas");
    }
    let names = new.visible_to.as_deref().unwrap_or_default();
    let known = |name: &String| {
        name == EVERYBODY || Role::parse(name).is_some() || name.parse::<AgentId>().is_ok()
    };
    if names.len() > MAX_NAMES || !names.iter().all(known) {
        return invalid("`visible_to` is at most 50 of `org`, names of roles and ids of agents");
    }
    Ok(new)
}

fn has_comma(labels: &[String]) -> bool {
    labels.iter().any(|label| label.contains(','))
}
