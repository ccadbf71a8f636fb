//! What a store promises, one promise per test, run on every backend.
//!
//! A failure reads `store_conformance::sqlite::a_nonce_burns_once`. A new backend adds a line to
//! `backends!` and inherits the whole list.

mod given;
mod promises;
mod sqlite_only;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use hundi::ambient::Ambient;
use hundi::store::Store;
use hundi::store::sqlite::Sqlite;

/// Somewhere that holds data, and can be opened more than once, as several processes would.
#[async_trait]
trait Place: Send + Sync {
    /// One more handle on the same data.
    async fn open(&self) -> Arc<dyn Store>;
    /// Every row of every table, so that "no trace" means no trace.
    async fn dump(&self) -> String;
}

struct SqliteFile {
    dir: tempfile::TempDir,
}

impl SqliteFile {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("hundi.db")
    }
}

#[async_trait]
impl Place for SqliteFile {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(Sqlite::open(&self.path(), &Ambient::real()).await.unwrap())
    }

    async fn dump(&self) -> String {
        sqlite_only::dump(&self.path()).await
    }
}

macro_rules! backends {
    ($($promise:ident,)*) => {
        mod sqlite {
            $(
                #[tokio::test]
                async fn $promise() {
                    let place = super::SqliteFile::new();
                    super::promises::$promise(&place).await;
                }
            )*
        }
    };
}

backends! {
    what_was_written_reads_back,
}
