//! A bank and a model to try hundi with: the real protocol, no money.
//!
//! The bank speaks RazorpayX as documented, strictly, and fails on demand. Written apart from the
//! connector that reads it, so that the two do not share a mistake. It promises what the real bank
//! promises and no more; only its controls under `/sandbox` are its own:
//!
//! | call | does |
//! | --- | --- |
//! | `GET /sandbox/health` | says that this is a sandbox bank |
//! | `GET /sandbox/ledger` | every accepted request since the last reset, oldest first |
//! | `GET`, `POST`, `DELETE /sandbox/faults` | lists, arms, disarms faults (see `faults`) |
//! | `POST /sandbox/reset` | an empty bank and no faults; the file keeps its history |
//! | `POST /sandbox/payouts` | a payout made by a person at the bank, waiting |
//! | `POST /sandbox/payouts/{id}/state` `{"status"}` | moves a payout on, say to `reversed` |
//! | `POST /sandbox/balance` `{"account_number"?, "balance"}` | sets a balance, lets go what waited for it |
//! | `POST`, `DELETE /sandbox/webhook` `{"url", "secret", "events"?}` | where webhooks go, or nowhere |
//! | `/sandbox/models/v1/chat/completions`, `/v1/messages`, `/api/chat` | the model, in three formats (see `models`) |
//! | `GET`, `DELETE /sandbox/models/calls` | what reached the model |
//! | `POST /sandbox/transfers`, `GET /sandbox/transfers?reference_id=` | `transfer_funds`; credentials and idempotency header as for payouts |

mod bank;
mod connection;
mod controls;
mod faults;
mod http;
mod index;
mod ledger;
pub mod model;
pub mod models;
mod payout;
mod refusal;
mod request;
mod saying;
mod show;
mod spelling;
mod spoil;
mod webhooks;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use zeroize::Zeroizing;

use crate::ambient::Ambient;
use crate::domain::hostname::Hostnames;
use crate::domain::ids::hex;
use bank::{Bank, Rules};
use http::Desk;
pub use webhooks::Webhook;

/// The account of the sandbox, where none is named.
pub const ACCOUNT_NUMBER: &str = "2323230041626905";

/// How long a payout is under way unless said otherwise; at a real bank it is minutes.
const DEFAULT_STEP: Duration = Duration::from_secs(1);
/// Ten million million rupees: enough that nobody runs dry by accident.
const DEFAULT_BALANCE: i64 = 1_000_000_000_000_000;
/// How often payouts under way are looked at, as a part of a step, and its bounds.
const LOOKS_PER_STEP: u32 = 4;
const SHORTEST_LOOK: Duration = Duration::from_millis(10);
const LONGEST_LOOK: Duration = Duration::from_secs(1);

/// How the sandbox bank behaves.
#[derive(Clone)]
pub struct SandboxOptions {
    /// Where the ledger is kept, as `sandbox-ledger.jsonl`.
    pub data_dir: PathBuf,
    /// Clock and randomness.
    pub ambient: Ambient,
    /// The only API key and secret that are accepted; `None` takes any.
    pub credentials: Option<(String, Zeroizing<String>)>,
    /// The only account that can pay; `None` takes any.
    pub account_number: Option<String>,
    /// Minor units that an account begins with.
    pub opening_balance: i64,
    /// How long a payout stays in `processing`.
    pub step: Duration,
    /// Names that its controls answer to besides localhost and plain addresses.
    pub public_hosts: Vec<String>,
    /// Where webhooks go; can be changed at any time by `POST /sandbox/webhook`.
    pub webhook: Option<Webhook>,
}

impl SandboxOptions {
    /// A bank with its ledger in `data_dir`, that takes any key and any account.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            ambient: Ambient::real(),
            credentials: None,
            account_number: None,
            opening_balance: DEFAULT_BALANCE,
            step: DEFAULT_STEP,
            public_hosts: Vec::new(),
            webhook: None,
        }
    }
}

/// Hides the credentials.
impl fmt::Debug for SandboxOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SandboxOptions")
            .field("data_dir", &self.data_dir)
            .field("step", &self.step)
            .field("webhook", &self.webhook)
            .finish_non_exhaustive()
    }
}

/// Why the sandbox could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The ledger cannot be opened.
    #[error("the sandbox's ledger cannot be opened: {0}")]
    Ledger(#[source] io::Error),
    /// The sender of webhooks could not be made, or is not to go there.
    #[error("webhooks cannot be sent: {0}")]
    Webhooks(String),
    /// The listener failed.
    #[error("the sandbox cannot be reached: {0}")]
    Listener(#[source] io::Error),
}

/// Serves the bank on `listener` until `shutdown` resolves.
pub async fn serve(
    listener: TcpListener,
    options: SandboxOptions,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), SandboxError> {
    // Fails only if a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let desk = open(&options).await?;
    let moving = tokio::spawn(move_payouts(desk.clone(), options.step));
    let served = connection::serve(listener, http::router(desk), shutdown).await;
    moving.abort();
    served.map_err(SandboxError::Listener)
}

async fn open(options: &SandboxOptions) -> Result<Arc<Desk>, SandboxError> {
    let ambient = options.ambient.clone();
    let rules = Rules {
        account_number: options.account_number.clone(),
        opening_balance: options.opening_balance,
        step_ms: i64::try_from(options.step.as_millis()).unwrap_or(i64::MAX),
    };
    let (folder, now, salt) = (
        options.data_dir.clone(),
        ambient.now(),
        hex(&ambient.bytes::<8>()),
    );
    // A long ledger takes a moment to read.
    let opening = tokio::task::spawn_blocking(move || Bank::open(&folder, rules, now, &salt));
    let opened = opening.await.map_err(io::Error::other);
    let mut bank = opened
        .and_then(|opened| opened)
        .map_err(SandboxError::Ledger)?;
    let faults = Arc::new(faults::Faults::default());
    let webhooks = webhooks::Webhooks::start(faults.clone(), ambient.clone())
        .map_err(|error| SandboxError::Webhooks(error.to_string()))?;
    webhooks
        .aim(options.webhook.clone())
        .map_err(|_| SandboxError::Webhooks("a plain http address and a secret".to_owned()))?;
    bank.listening = webhooks.are_wanted();
    let credentials = options.credentials.as_ref();
    Ok(Arc::new(Desk {
        bank: Mutex::new(bank),
        faults,
        webhooks,
        ambient,
        calls: models::Calls::default(),
        hosts: Hostnames::new(options.public_hosts.clone()),
        credentials: credentials.map(|(key, secret)| format!("{key}:{}", secret.as_str())),
    }))
}

/// Lets payouts arrive in their time.
async fn move_payouts(desk: Arc<Desk>, step: Duration) {
    let pause = (step / LOOKS_PER_STEP).clamp(SHORTEST_LOOK, LONGEST_LOOK);
    loop {
        let moved = desk.bank().advance(desk.ambient.now());
        desk.tell();
        match moved {
            // More are due: give others the lock first.
            Ok(true) => tokio::task::yield_now().await,
            Ok(false) => tokio::time::sleep(pause).await,
            Err(error) => {
                tracing::error!(%error, "the sandbox's ledger cannot be written");
                tokio::time::sleep(pause).await;
            }
        }
    }
}
