//! Refusals that the store could not take: kept on disk, and imported when it answers again.
//!
//! Without the store nothing is decided, so what is spooled are refusals only. Imported records
//! keep their time and are marked `spooled`, because nobody can say any more that they were
//! written with what they tell.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Audit;
use crate::broker::core::Trouble;
use crate::domain::change::{Change, Record};
use crate::domain::document::Document;
use crate::domain::ids::OrgId;
use crate::domain::principal::Principal;
use crate::store::{ApplyError, Spooled, StoreError};

/// Records per write of an import.
const CHUNK: usize = 200;

/// The mark of an imported chunk, so that importing it twice is noticed.
#[derive(Serialize, Deserialize)]
struct Imported {
    records: usize,
}

impl Document for Imported {
    const KIND: &'static str = "spool";
    const CACHED: bool = false;
    type Id = ChunkOf;
}

/// Names one chunk of a batch.
struct ChunkOf {
    batch: String,
    number: usize,
}

impl fmt::Display for ChunkOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.batch, self.number)
    }
}

impl Audit {
    /// Records a refusal; on disk, if the store cannot take it. An error if neither can.
    pub(in crate::broker) async fn note(&self, record: Record) -> Result<(), StoreError> {
        let change = Change::record(record.clone(), None);
        let error = match self.ports().store.apply(change).await {
            Ok(_) => return Ok(()),
            Err(ApplyError::Store(error)) => error,
            // A record has no conditions.
            Err(ApplyError::Conflict(conflict)) => StoreError::Unknown(conflict.to_string()),
        };
        match self.spool_record(&record) {
            true => Ok(()),
            false => Err(error),
        }
    }

    /// A request that nothing was decided about, because the store did not answer.
    pub(in crate::broker) fn spool_unavailable(
        &self,
        who: &Principal,
        kind: &str,
        trouble: &Trouble,
    ) {
        if *trouble != Trouble::StoreUnavailable {
            return;
        }
        let now = self.ports().ambient.now();
        let mut record = Record::new(now, &who.org, kind, &who.id);
        record.agent.clone_from(&who.agent);
        self.spool_record(&record.deciding("REJECTED", trouble.code()));
    }

    fn spool_record(&self, record: &Record) -> bool {
        let Some(spool) = &self.ports().spool else {
            tracing::error!(kind = record.kind, "a refusal is lost to the log");
            return false;
        };
        match spool.keep(record) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, kind = record.kind, "a refusal is lost to the log");
                false
            }
        }
    }

    /// Imports what was spooled. Returns how many records.
    pub async fn import_spool(&self) -> Result<usize, Trouble> {
        let Some(spool) = &self.ports().spool else {
            return Ok(0);
        };
        if spool.is_empty() {
            return Ok(0);
        }
        // Reading ends the file that is written, so not before the store can take it.
        self.ports().store.ping().await?;
        let waiting = spool.waiting().map_err(|error| {
            tracing::error!(%error, "the spool cannot be read");
            Trouble::Off("the spool cannot be read".to_owned())
        })?;
        let mut imported = 0;
        for batch in waiting {
            imported += self.import(&batch).await?;
            if let Err(error) = spool.done(&batch.name) {
                // The next turn finds it imported already, and tries to remove it again.
                tracing::warn!(%error, "an imported batch of the spool stays on disk");
            }
        }
        Ok(imported)
    }

    async fn import(&self, batch: &Spooled) -> Result<usize, Trouble> {
        let mut imported = 0;
        for (number, chunk) in batch.records.chunks(CHUNK).enumerate() {
            let id = ChunkOf {
                batch: batch.name.clone(),
                number,
            };
            let marker = Imported {
                records: chunk.len(),
            };
            let marker = marker.write(&OrgId::default(), &id, Some(0));
            let records: Vec<Record> = chunk.iter().map(marked).collect();
            let change = Change::documents(vec![marker], Vec::new(), records, Vec::new());
            match self.ports().store.apply(change).await {
                Ok(_) => imported += chunk.len(),
                Err(ApplyError::Conflict(_)) => {}
                Err(ApplyError::Store(error)) => return Err(error.into()),
            }
        }
        Ok(imported)
    }
}

fn marked(record: &Record) -> Record {
    let mut record = record.clone();
    record.detail = match record.detail {
        Value::Object(mut map) => {
            map.insert("spooled".to_owned(), json!(true));
            Value::Object(map)
        }
        Value::Null => json!({"spooled": true}),
        other @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => {
            json!({"spooled": true, "detail": other})
        }
    };
    record
}
