//! Opening a store, wherever it is: the one way in for everybody who has an address.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Store;
use super::group::MAX_BATCH;
use super::postgres::{self, Postgres};
use super::requests::RequestStore;
use super::search::SearchStore;
use super::sqlite::{self, Sqlite};
use crate::ambient::Ambient;
use crate::domain::ids::hex;
use crate::domain::secret::Secret;

/// Pause between two attempts to reach a store that is away.
const PAUSE: Duration = Duration::from_millis(250);

/// Where a store is.
#[derive(Clone, Debug)]
pub enum Address {
    /// In this SQLite file.
    File(PathBuf),
    /// On the Postgres of this URL.
    Server(Secret),
}

/// How to open it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opening {
    /// Whether changes that wait together share a transaction.
    pub grouped: bool,
    /// How long to wait for a server where nobody answers yet, so that nodes and their database
    /// may start in any order.
    pub patience: Duration,
}

/// A store that is open.
pub struct Opened {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The same, for whoever reads requests to models.
    pub requests: Arc<dyn RequestStore>,
    /// The same, for whoever looks for passages of documents.
    pub search: Arc<dyn SearchStore>,
    /// The random name that it got when it was made: the audience of its tokens, the same for
    /// everybody who shares it.
    pub instance: String,
}

/// Why there is no store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The file.
    #[error("the store in {}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why not.
        #[source]
        why: sqlite::OpenError,
    },
    /// The server.
    #[error("the Postgres store")]
    Server(#[from] postgres::OpenError),
}

impl Default for Opening {
    fn default() -> Self {
        Self {
            grouped: true,
            patience: Duration::ZERO,
        }
    }
}

/// Opens a store, or makes it, and brings its schema up to date.
pub async fn open(address: &Address, how: Opening, ambient: &Ambient) -> Result<Opened, OpenError> {
    let limit = if how.grouped { MAX_BATCH } else { 1 };
    match address {
        Address::File(path) => {
            let opened = Sqlite::open_limited(path, ambient, limit).await;
            let store = opened.map_err(|why| failed(path.clone(), why))?;
            let instance = store.instance().to_owned();
            let store = Arc::new(store);
            Ok(Opened {
                requests: store.clone(),
                search: store.clone(),
                store,
                instance,
            })
        }
        Address::Server(url) => {
            let store = patiently(url.expose(), limit, how.patience, ambient).await?;
            let instance = store.instance().to_owned();
            let store = Arc::new(store);
            Ok(Opened {
                requests: store.clone(),
                search: store.clone(),
                store,
                instance,
            })
        }
    }
}

fn failed(path: PathBuf, why: sqlite::OpenError) -> OpenError {
    OpenError::File { path, why }
}

/// While nobody answers there, tries again for so long.
async fn patiently(
    url: &str,
    limit: usize,
    patience: Duration,
    ambient: &Ambient,
) -> Result<Postgres, postgres::OpenError> {
    let until = Instant::now() + patience;
    let mut told = false;
    loop {
        match Postgres::open_limited(url, ambient, limit).await {
            Err(error @ postgres::OpenError::Away { .. }) if Instant::now() < until => {
                if !told {
                    let secs = patience.as_secs();
                    tracing::warn!("waiting up to {secs} s for the store: {error}");
                    told = true;
                }
                tokio::time::sleep(PAUSE).await;
            }
            opened => {
                if told && opened.is_ok() {
                    tracing::info!("the store answers");
                }
                return opened;
            }
        }
    }
}

/// A place beside a store, on the same disk or server, for rows that nobody keeps: to measure with.
/// Ends with [`Scratch::remove`].
pub struct Scratch {
    /// Where it is.
    pub address: Address,
    schema: Option<(Secret, String)>,
}

impl Scratch {
    /// A file in the folder of the store, or a schema in its database.
    pub async fn beside(store: &Address, ambient: &Ambient) -> Result<Self, OpenError> {
        let name = hex(&ambient.bytes::<8>());
        match store {
            Address::File(path) => Ok(Self {
                address: Address::File(path.with_file_name(format!("scratch-{name}.db"))),
                schema: None,
            }),
            Address::Server(url) => {
                let schema = format!("hundi_scratch_{name}");
                let there = postgres::make_schema(url.expose(), &schema).await?;
                Ok(Self {
                    address: Address::Server(Secret::new(there)),
                    schema: Some((url.clone(), schema)),
                })
            }
        }
    }

    /// Removes it, rows and all.
    pub async fn remove(self) -> Result<(), OpenError> {
        if let Some((url, schema)) = self.schema {
            postgres::drop_schema(url.expose(), &schema).await?;
        }
        if let Address::File(path) = self.address {
            for suffix in ["", "-wal", "-shm"] {
                let mut file = path.clone().into_os_string();
                file.push(suffix);
                // What is left over is a file in a folder for such files.
                let _ = std::fs::remove_file(file);
            }
        }
        Ok(())
    }
}
