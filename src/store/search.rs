//! What is remembered of documents that can be found: their passages, who may find them, and the
//! engine's index of their words.
//!
//! Every question here is asked as somebody: who asks is part of it, so what he may not see is
//! neither found nor counted. Ranks are not the engine's, whose figures are of everything there is.

use async_trait::async_trait;

use super::StoreError;
use super::columns::{Columns, Read, doc_of};
use super::question::Question;
use super::sql::Database;
use super::stored::{name, signed, unsigned};
use crate::domain::change::Doc;
use crate::domain::document::Document;
use crate::domain::ids::OrgId;
use crate::domain::search::{Paper, Row, Says, indexed, words};

/// As whom to look, and where.
#[derive(Clone, Debug)]
pub struct Sight {
    /// In this organisation.
    pub org: OrgId,
    /// As any of these.
    pub readers: Vec<String>,
    /// Only under all of these.
    pub labels: Vec<String>,
    /// Only in these documents; in all of them if there are none.
    pub documents: Vec<String>,
}

/// A passage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Passage {
    /// Of which document.
    pub document: String,
    /// Where in it.
    pub place: u64,
    /// Its text.
    pub text: String,
}

/// Finds passages.
#[async_trait]
pub trait SearchStore: Send + Sync {
    /// Passages that are seen, and their words together.
    async fn seen(&self, sight: &Sight) -> Result<(u64, u64), StoreError>;

    /// How many of them hold one of these words.
    async fn holding(&self, sight: &Sight, words: &[String]) -> Result<u64, StoreError>;

    /// Those that hold one of these words, in order of their names; at most so many.
    async fn matching(
        &self,
        sight: &Sight,
        words: &[String],
        limit: u32,
    ) -> Result<Vec<Passage>, StoreError>;

    /// Documents that are seen, by name, after this one; at most so many.
    async fn papers(&self, sight: &Sight, after: &str, limit: u32) -> Result<Vec<Doc>, StoreError>;

    /// The passages of one document that is seen, in order.
    async fn text(&self, sight: &Sight, document: &str) -> Result<Vec<Passage>, StoreError>;

    /// How many documents an organisation has.
    async fn count_papers(&self, org: &OrgId) -> Result<u64, StoreError>;

    /// Passages that are seen, with the vectors that this model made of them, in order of their names;
    /// at most so many.
    async fn vectors(
        &self,
        sight: &Sight,
        model: &str,
        limit: u32,
    ) -> Result<Vec<(Passage, String)>, StoreError>;

    /// Passages of which this model has made no vector yet, with their organisations; at most so many.
    async fn without_vectors(
        &self,
        model: &str,
        limit: u32,
    ) -> Result<Vec<(OrgId, Passage)>, StoreError>;

    /// Keeps the vector that a model made of a passage, if the passage still reads so; `''` if it could
    /// make none.
    async fn keep_vector(
        &self,
        org: &OrgId,
        passage: &Passage,
        model: &str,
        vector: &str,
    ) -> Result<(), StoreError>;
}

/// The statements of one row.
pub(super) fn told(row: &Row) -> Vec<Question> {
    let (org, document) = (row.org.as_str(), row.document.as_str());
    let named = |table: &str, column: &str, value: &str| {
        Question::new(format!("INSERT INTO {table} (org, document, {column})"))
            .with(" VALUES (", org)
            .with(", ", document)
            .with(", ", value)
            .words(") ON CONFLICT DO NOTHING")
    };
    match &row.says {
        Says::Gone => [
            "passages",
            "passage_readers",
            "passage_labels",
            "passage_vectors",
        ]
        .map(|table| {
            Question::new(format!("DELETE FROM {table}"))
                .with(" WHERE org = ", org)
                .with(" AND document = ", document)
        })
        .into(),
        Says::Reader(reader) => vec![named("passage_readers", "reader", reader)],
        Says::Label(label) => vec![named("passage_labels", "label", label)],
        Says::Passage { place, text } => {
            let words = words(text);
            let length = u64::try_from(words.len()).unwrap_or(u64::MAX);
            let kept: Vec<String> = words.iter().map(|word| indexed(&row.org, word)).collect();
            vec![
                Question::new("INSERT INTO passages (org, document, place, text, words, length)")
                    .with(" VALUES (", org)
                    .with(", ", document)
                    .with(", ", signed(*place))
                    .with(", ", text.as_str())
                    .with(", ", kept.join(" "))
                    .with(", ", signed(length))
                    .words(")"),
                Question::new("INSERT INTO passage_vectors (org, document, place, model, vector)")
                    .with(" VALUES (", org)
                    .with(", ", document)
                    .with(", ", signed(*place))
                    .words(", '', '')"),
            ]
        }
    }
}

/// A list of values, one of which it is.
fn among(asked: Question, words: &str, values: &[String]) -> Question {
    let opened = asked.words(words).words(" IN (");
    let listed = values.iter().enumerate().fold(opened, |asked, (at, one)| {
        asked.with(if at == 0 { "" } else { ", " }, one.as_str())
    });
    listed.words(")")
}

/// What narrows rows of the table `of` to what is seen, where `document` is their document's name.
fn narrowed(asked: Question, sight: &Sight, document: &str) -> Question {
    let org = sight.org.as_str();
    let asked = asked
        .with(
            " AND EXISTS (SELECT 1 FROM passage_readers v WHERE v.org = ",
            org,
        )
        .words(&format!(" AND v.document = {document}"));
    let mut asked = among(asked, " AND v.reader", &sight.readers).words(")");
    for label in &sight.labels {
        asked = asked
            .with(
                " AND EXISTS (SELECT 1 FROM passage_labels l WHERE l.org = ",
                org,
            )
            .words(&format!(" AND l.document = {document}"))
            .with(" AND l.label = ", label.as_str())
            .words(")");
    }
    match sight.documents.is_empty() {
        true => asked,
        false => among(asked, &format!(" AND {document}"), &sight.documents),
    }
}

/// A question about the passages that are seen.
fn of_passages(selected: &str, sight: &Sight) -> Question {
    let asked = Question::new(format!("SELECT {selected} FROM passages p"))
        .with(" WHERE p.org = ", sight.org.as_str());
    narrowed(asked, sight, "p.document")
}

/// The same, about those that hold one of these words.
fn holding<D: Database>(selected: &str, sight: &Sight, words: &[String]) -> Question {
    let [before, after] = D::WORDS.finds;
    let [mark, or] = D::WORDS.any;
    let named = words
        .iter()
        .map(|word| format!("{mark}{}{mark}", indexed(&sight.org, word)));
    let named = named.collect::<Vec<_>>().join(or);
    of_passages(selected, sight)
        .with(before, named)
        .words(after)
}

#[async_trait]
impl<D: Database> SearchStore for D {
    async fn seen(&self, sight: &Sight) -> Read<(u64, u64)> {
        let sums = "count(*), CAST(coalesce(sum(p.length), 0) AS bigint)";
        let row = self.one(of_passages(sums, sight)).await?;
        Ok((unsigned(row.number(0)?)?, unsigned(row.number(1)?)?))
    }

    async fn holding(&self, sight: &Sight, words: &[String]) -> Read<u64> {
        let row = self.one(holding::<D>("count(*)", sight, words)).await?;
        unsigned(row.number(0)?)
    }

    async fn matching(&self, sight: &Sight, words: &[String], limit: u32) -> Read<Vec<Passage>> {
        let asked = holding::<D>("p.document, p.place, p.text", sight, words)
            .with(" ORDER BY p.document, p.place LIMIT ", limit);
        self.all(asked).await?.iter().map(passage).collect()
    }

    async fn papers(&self, sight: &Sight, after: &str, limit: u32) -> Read<Vec<Doc>> {
        let [kept, text] = D::WORDS.json;
        let asked = Question::new(format!(
            "SELECT d.kind, d.org, d.id, d.version, d.body{text} FROM docs d \
             WHERE d.body{kept} IS NOT NULL"
        ))
        .with(" AND d.kind = ", Paper::KIND)
        .with(" AND d.org = ", sight.org.as_str())
        .with(" AND d.id > ", after);
        let asked = narrowed(asked, sight, "d.id").with(" ORDER BY d.id LIMIT ", limit);
        self.all(asked).await?.iter().map(doc_of).collect()
    }

    async fn text(&self, sight: &Sight, document: &str) -> Read<Vec<Passage>> {
        let asked = of_passages("p.document, p.place, p.text", sight)
            .with(" AND p.document = ", document)
            .words(" ORDER BY p.place");
        self.all(asked).await?.iter().map(passage).collect()
    }

    async fn count_papers(&self, org: &OrgId) -> Read<u64> {
        let [kept, _] = D::WORDS.json;
        let asked = Question::new(format!(
            "SELECT count(*) FROM docs WHERE body{kept} IS NOT NULL"
        ))
        .with(" AND kind = ", Paper::KIND)
        .with(" AND org = ", org.as_str());
        unsigned(self.one(asked).await?.number(0)?)
    }

    async fn vectors(
        &self,
        sight: &Sight,
        model: &str,
        limit: u32,
    ) -> Read<Vec<(Passage, String)>> {
        let selected = "SELECT p.document, p.place, p.text, v.vector";
        let asked = Question::new(format!("{selected} {VECTORS}"))
            .with(" WHERE p.org = ", sight.org.as_str())
            .with(" AND v.vector <> '' AND v.model = ", model);
        let asked = narrowed(asked, sight, "p.document")
            .with(" ORDER BY p.document, p.place LIMIT ", limit);
        let rows = self.all(asked).await?;
        let read = rows
            .iter()
            .map(|row| Ok((passage(row)?, row.text(3)?.to_owned())));
        read.collect()
    }

    async fn without_vectors(&self, model: &str, limit: u32) -> Read<Vec<(OrgId, Passage)>> {
        let selected = "SELECT p.document, p.place, p.text, p.org";
        // Two ranges of the index, where "another one" would be none.
        let asked = Question::new(format!("{selected} {VECTORS}"))
            .with(" WHERE (v.model < ", model)
            .with(" OR v.model > ", model)
            .with(") LIMIT ", limit);
        let rows = self.all(asked).await?;
        let read = rows
            .iter()
            .map(|row| Ok((name(row.text(3)?)?, passage(row)?)));
        read.collect()
    }

    async fn keep_vector(
        &self,
        org: &OrgId,
        passage: &Passage,
        model: &str,
        vector: &str,
    ) -> Read<()> {
        let (document, place) = (passage.document.as_str(), signed(passage.place));
        let told = Question::new("UPDATE passage_vectors")
            .with(" SET model = ", model)
            .with(", vector = ", vector)
            .with(" WHERE org = ", org.as_str())
            .with(" AND document = ", document)
            .with(" AND place = ", place)
            .with(
                " AND EXISTS (SELECT 1 FROM passages p WHERE p.org = ",
                org.as_str(),
            )
            .with(" AND p.document = ", document)
            .with(" AND p.place = ", place)
            .with(" AND p.text = ", passage.text.as_str())
            .words(")");
        self.execute(told).await.map(drop)
    }
}

/// Joins the vectors of passages to them.
const VECTORS: &str = "FROM passages p JOIN passage_vectors v ON v.org = p.org \
     AND v.document = p.document AND v.place = p.place";

fn passage(row: &impl Columns) -> Read<Passage> {
    Ok(Passage {
        document: row.text(0)?.to_owned(),
        place: unsigned(row.number(1)?)?,
        text: row.text(2)?.to_owned(),
    })
}
