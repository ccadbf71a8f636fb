//! Providers of models. What models cost is [`prices`](super::prices), what was spent on them
//! [`usage`](super::usage).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::prices::misread;
use super::{Call, Effect, Nothing, Operation, Reply, Rest};
use crate::broker::Trouble;
use crate::broker::requests::{ModelStanding, NewProvider, Pinged, ProviderView};
use crate::domain::principal::Right;
use crate::domain::requests::price::{Nanos, Prices, Rate};
use crate::domain::requests::price_list;
use crate::domain::requests::provider::Provider;
use crate::domain::secret::Secret;

const SPELT: &[(&str, &str)] = &[("name", "provider")];

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("list_providers", list)
            .says(
                "List providers",
                "Every provider that requests may go to: health, breakers and latencies as this server sees them, and what it cost today.",
            )
            .needs(&[Right::ReadSetup])
            .rest(Rest::get("/v1/providers").answers(200, "the providers")),
        Operation::new("create_provider", create)
            .says(
                "Register a provider",
                "Register a provider of models. Naming a known service and giving its key is enough; the key is sealed and never told again.",
            )
            .needs(&[Right::Operate])
            .does(Effect::Acts)
            .rest(
                Rest::post("/v1/providers")
                    .answers(201, "the provider")
                    .problems(&[409]),
            ),
        Operation::new("get_provider", read)
            .says("Read a provider", "One provider: what it was registered with, and how it is doing.")
            .needs(&[Right::ReadSetup])
            .rest(
                Rest::get("/v1/providers/{name}")
                    .spelt(SPELT)
                    .answers(200, "the provider"),
            ),
        Operation::new("replace_provider", replace)
            .says(
                "Replace a provider",
                "Put a provider in the place of the registered one of this name. Its key stays where none is given; another address takes a key.",
            )
            .needs(&[Right::Operate])
            .does(Effect::Sets)
            .rest(Rest::put("/v1/providers/{name}").answers(200, "the provider")),
        Operation::new("delete_provider", delete)
            .says("Delete a provider", "Delete a provider that was registered here.")
            .needs(&[Right::Operate])
            .does(Effect::Acts)
            .rest(
                Rest::delete("/v1/providers/{name}")
                    .spelt(SPELT)
                    .answers(200, "done"),
            ),
        Operation::new("reset_provider", reset)
            .says(
                "Reset a provider",
                "Forget what this server holds against a provider: open breakers, rests, counts of the last minute.",
            )
            .needs(&[Right::Operate])
            .does(Effect::Acts)
            .rest(
                Rest::post("/v1/providers/{name}/reset")
                    .spelt(SPELT)
                    .answers(200, "the provider"),
            ),
        Operation::new("ping_provider", ping)
            .says("Ping a provider", "Ask a provider which models it has, to see whether it answers and lets us in.")
            .needs(&[Right::Operate])
            .does(Effect::Acts)
            .rest(
                Rest::post("/v1/providers/{name}/ping")
                    .spelt(SPELT)
                    .answers(200, "how it is"),
            ),
    ]
}

/// A provider as somebody writes it. What is left out is what the known service of that name has.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RegisterProvider {
    /// 1 to 64 letters, digits, `.`, `_` or `-`; that of a known service, or one of your own.
    name: String,
    /// `openai`, `openai_responses`, `anthropic` or `ollama`.
    kind: Option<String>,
    /// Where it answers.
    base_url: Option<String>,
    /// Its key. Written, never read back.
    key: Option<String>,
    /// The models it has; left out, those of it that have a known price, and any that is named.
    models: Option<Vec<String>>,
    /// It runs here.
    local: Option<bool>,
    /// How much it is wanted; 0 only if it is named.
    #[schemars(range(max = 10_000))]
    weight: Option<u32>,
    /// Requests at once.
    #[schemars(range(min = 1))]
    max_concurrent: Option<u32>,
    /// Requests a minute.
    #[schemars(range(min = 1))]
    rpm: Option<u32>,
    /// Tokens a minute.
    #[schemars(range(min = 1))]
    tpm: Option<u64>,
    /// Longest until an answer begins.
    #[schemars(range(min = 1, max = 600_000))]
    timeout_ms: Option<u64>,
    /// Addresses of this machine and its network may be reached.
    allow_private: Option<bool>,
    /// What its models cost, all of them (`{"input": "2.5", "output": "10"}`) or by model (`*` is any
    /// other), in dollars for a million tokens as exact decimal text:
    /// `{"gpt-4o": {"input": "2.5", "output": "10"}}`.
    prices: Option<Map<String, Value>>,
}

async fn create(call: Call, new: RegisterProvider) -> Result<Reply<ModelProvider>, Trouble> {
    let made = call
        .broker
        .requests
        .create_provider(&call.who, written(new)?);
    Ok(Reply::created(made.await?.into()))
}

async fn replace(call: Call, new: RegisterProvider) -> Result<ModelProvider, Trouble> {
    let made = call
        .broker
        .requests
        .replace_provider(&call.who, written(new)?);
    Ok(made.await?.into())
}

async fn read(call: Call, named: NamedProvider) -> Result<ModelProvider, Trouble> {
    let requests = &call.broker.requests;
    Ok(requests.provider(&call.who, &named.provider).await?.into())
}

/// A provider as it was written.
fn written(new: RegisterProvider) -> Result<NewProvider, Trouble> {
    let prices = price_list::by_model(&new.prices.unwrap_or_default());
    let prices = prices.map_err(|wrong| misread(wrong.within("prices")))?;
    Ok(NewProvider {
        name: new.name,
        kind: new.kind,
        base_url: new.base_url,
        weight: new.weight,
        local: new.local,
        key: new.key.map(Secret::new),
        more: Provider {
            models: new.models.unwrap_or_default(),
            max_concurrent: new.max_concurrent,
            rpm: new.rpm,
            tpm: new.tpm,
            timeout_ms: new.timeout_ms,
            allow_private: new.allow_private.unwrap_or(false),
            prices,
            ..Provider::default()
        },
    })
}

/// A provider as it was registered, without its key.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct ProviderDocument {
    name: String,
    kind: String,
    base_url: String,
    models: Vec<String>,
    local: bool,
    weight: u32,
    max_concurrent: Option<u32>,
    rpm: Option<u32>,
    tpm: Option<u64>,
    timeout_ms: Option<u64>,
    allow_private: bool,
    /// By model; `*` is any other.
    prices: BTreeMap<String, ProviderPrices>,
}

/// Dollars for a million tokens.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct ProviderPrices {
    input: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cached_input: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_write: Option<String>,
    output: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<String>,
    /// Dollars for each request besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
}

impl From<&Prices> for ProviderPrices {
    fn from(prices: &Prices) -> Self {
        let text = |rate: Option<Rate>| rate.map(|rate| rate.to_string());
        Self {
            input: prices.input.to_string(),
            cached_input: text(prices.cached_input),
            cache_write: text(prices.cache_write),
            output: prices.output.to_string(),
            reasoning: text(prices.reasoning),
            request: text(prices.request),
        }
    }
}

impl From<&Provider> for ProviderDocument {
    fn from(provider: &Provider) -> Self {
        let prices = provider.prices.iter();
        Self {
            name: provider.name.clone(),
            kind: provider.format.name().to_owned(),
            base_url: provider.base_url.clone(),
            models: provider.models.clone(),
            local: provider.local,
            weight: provider.weight,
            max_concurrent: provider.max_concurrent,
            rpm: provider.rpm,
            tpm: provider.tpm,
            timeout_ms: provider.timeout_ms,
            allow_private: provider.allow_private,
            prices: prices
                .map(|(model, prices)| (model.clone(), prices.into()))
                .collect(),
        }
    }
}

/// A provider, and how it is doing as this server sees it.
#[derive(Serialize, JsonSchema)]
struct ModelProvider {
    name: String,
    kind: String,
    base_url: String,
    /// `configuration`, `api` or `sandbox`.
    source: String,
    key_set: bool,
    local: bool,
    weight: u32,
    models: Vec<String>,
    /// What it was registered with, without its key.
    document: ProviderDocument,
    /// `ok`, `resting` (it was asked too often, or its key is wrong) or `failing` (a breaker is open).
    health: String,
    /// When it may be asked again, in milliseconds, where it rests.
    rests_ms: Option<u64>,
    breakers: Vec<Breaker>,
    limits: Limits,
    /// What it cost the organisation today, in exact decimal dollars.
    cost_today_usd: String,
    cost_today_nanos: u64,
}

/// One model that was asked for.
#[derive(Serialize, JsonSchema)]
struct Breaker {
    model: String,
    /// `closed`, `open`, `half_open` or `cooling`.
    state: String,
    latency_p50_ms: Option<u64>,
    latency_p95_ms: Option<u64>,
    /// Of its latest answers, the share that failed.
    error_rate: f64,
}

/// What a provider may be asked, and how much of that is left.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Limits {
    max_concurrent: Option<u32>,
    concurrent_left: Option<u32>,
    rpm: Option<u32>,
    rpm_left: Option<u64>,
    tpm: Option<u64>,
    tpm_left: Option<u64>,
}

impl From<ModelStanding> for Breaker {
    fn from(standing: ModelStanding) -> Self {
        Self {
            model: standing.model,
            state: standing.breaker.to_owned(),
            latency_p50_ms: standing.p50_ms,
            latency_p95_ms: standing.p95_ms,
            error_rate: share(standing.failed),
        }
    }
}

#[allow(clippy::float_arithmetic, reason = "a share, not money")]
fn share(thousandths: u32) -> f64 {
    f64::from(thousandths) / 1_000.0
}

impl From<ProviderView> for ModelProvider {
    fn from(view: ProviderView) -> Self {
        let (provider, standing) = (view.provider, view.standing);
        let open = standing.models.iter().any(|model| model.breaker == "open");
        let health = match (standing.rests_ms, open) {
            (Some(_), _) => "resting",
            (None, true) => "failing",
            (None, false) => "ok",
        };
        Self {
            document: ProviderDocument::from(&provider),
            kind: provider.format.name().to_owned(),
            source: view.from.to_owned(),
            key_set: view.has_key,
            local: provider.local,
            weight: provider.weight,
            models: view.models,
            health: health.to_owned(),
            rests_ms: standing.rests_ms,
            limits: Limits {
                max_concurrent: provider.max_concurrent,
                concurrent_left: provider
                    .max_concurrent
                    .map(|most| most.saturating_sub(standing.running)),
                rpm: provider.rpm,
                rpm_left: provider
                    .rpm
                    .map(|most| u64::from(most).saturating_sub(standing.requests)),
                tpm: provider.tpm,
                tpm_left: provider
                    .tpm
                    .map(|most| most.saturating_sub(standing.tokens)),
            },
            breakers: standing.models.into_iter().map(Breaker::from).collect(),
            cost_today_usd: Nanos(view.cost_today).to_string(),
            cost_today_nanos: view.cost_today,
            name: provider.name,
            base_url: provider.base_url,
        }
    }
}

#[derive(Serialize, JsonSchema)]
struct ProviderList {
    providers: Vec<ModelProvider>,
}

async fn list(call: Call, _: Nothing) -> Result<ProviderList, Trouble> {
    let views = call.broker.requests.providers(&call.who).await?;
    Ok(ProviderList {
        providers: views.into_iter().map(ModelProvider::from).collect(),
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NamedProvider {
    /// The provider's name.
    provider: String,
}

#[derive(Serialize, JsonSchema)]
struct DeletedProvider {
    name: String,
    deleted: bool,
}

async fn delete(call: Call, named: NamedProvider) -> Result<DeletedProvider, Trouble> {
    let name = named.provider;
    let requests = &call.broker.requests;
    requests.delete_provider(&call.who, &name).await?;
    Ok(DeletedProvider {
        name,
        deleted: true,
    })
}

async fn reset(call: Call, named: NamedProvider) -> Result<ModelProvider, Trouble> {
    let requests = &call.broker.requests;
    let view = requests.reset_provider(&call.who, &named.provider).await?;
    Ok(view.into())
}

/// How a provider answered.
#[derive(Serialize, JsonSchema)]
struct ProviderPing {
    ok: bool,
    latency_ms: u64,
    detail: String,
}

async fn ping(call: Call, named: NamedProvider) -> Result<ProviderPing, Trouble> {
    let requests = &call.broker.requests;
    let Pinged {
        ok,
        latency_ms,
        detail,
    } = requests.ping_provider(&call.who, &named.provider).await?;
    Ok(ProviderPing {
        ok,
        latency_ms,
        detail,
    })
}
