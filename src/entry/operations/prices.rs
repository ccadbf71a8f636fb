//! What models cost: the table that was shipped, and the one that an operator puts in its place.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Call, Effect, Nothing, Operation, Rest};
use crate::broker::Trouble;
use crate::broker::requests::{PriceTable, PriceView};
use crate::domain::principal::Right;
use crate::domain::requests::price_list::{self, Misread};
use crate::domain::requests::shipped;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("list_prices", prices)
            .says("List prices", "What models cost, in dollars for a million tokens: imported prices before those that were shipped.")
            .needs(&[Right::ReadOwn])
            .rest(Rest::get("/v1/prices").answers(200, "the prices")),
        Operation::new("import_prices", import)
            .says(
                "Import prices",
                "Put a table of prices in the place of the one that was imported before; one without prices goes back to those that were shipped. For admins of the default organisation.",
            )
            .needs(&[Right::Administer])
            .does(Effect::Sets)
            .rest(Rest::post("/v1/prices").answers(200, "how many")),
        Operation::new("reset_prices", reset_prices)
            .says(
                "Forget imported prices",
                "Take the imported table away: those that were shipped count again. For admins of the default organisation.",
            )
            .needs(&[Right::Administer])
            .does(Effect::Sets)
            .rest(Rest::delete("/v1/prices").answers(200, "done")),
    ]
}

/// What is wrong with prices, told as it is.
pub(super) fn misread(wrong: Misread) -> Trouble {
    Trouble::InvalidRequest(wrong.to_string())
}

/// One price, in dollars for a million tokens.
#[derive(Serialize, JsonSchema)]
struct Price {
    service: String,
    model: String,
    /// `imported` or `shipped`.
    source: String,
    input: String,
    cached_input: Option<String>,
    cache_write: Option<String>,
    output: String,
    reasoning: Option<String>,
    /// Dollars for each request besides.
    request: Option<String>,
}

impl From<PriceView> for Price {
    fn from(view: PriceView) -> Self {
        let prices = view.prices;
        Self {
            service: view.service,
            model: view.model,
            source: view.from.to_owned(),
            input: prices.input.to_string(),
            cached_input: prices.cached_input.map(|rate| rate.to_string()),
            cache_write: prices.cache_write.map(|rate| rate.to_string()),
            output: prices.output.to_string(),
            reasoning: prices.reasoning.map(|rate| rate.to_string()),
            request: prices.request.map(|rate| rate.to_string()),
        }
    }
}

#[derive(Serialize, JsonSchema)]
struct PriceList {
    /// The day that shipped prices tell of.
    shipped_as_of: String,
    /// The day that imported prices tell of.
    imported_as_of: Option<String>,
    prices: Vec<Price>,
}

async fn prices(call: Call, _: Nothing) -> Result<PriceList, Trouble> {
    let (prices, imported_as_of) = call.broker.requests.prices(&call.who).await?;
    Ok(PriceList {
        shipped_as_of: shipped::AS_OF.to_owned(),
        imported_as_of,
        prices: prices.into_iter().map(Price::from).collect(),
    })
}

/// A table of prices.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewPrices {
    /// The day that it tells of.
    as_of: String,
    /// Where it is from.
    source: Option<String>,
    /// By service (`*` is any), then by model: dollars for a million tokens as exact decimal text.
    prices: BTreeMap<String, BTreeMap<String, Map<String, Value>>>,
}

#[derive(Serialize, JsonSchema)]
struct Imported {
    imported: usize,
    as_of: String,
}

async fn import(call: Call, new: NewPrices) -> Result<Imported, Trouble> {
    let mut table = PriceTable {
        as_of: new.as_of,
        source: new.source.unwrap_or_default(),
        prices: BTreeMap::new(),
    };
    for (service, models) in new.prices {
        for (model, told) in models {
            let read = price_list::one(&told)
                .map_err(|wrong| misread(wrong.within(&model).within(&service).within("prices")))?;
            let models = table.prices.entry(service.clone()).or_default();
            models.insert(model, read);
        }
    }
    let as_of = table.as_of.clone();
    let imported = call.broker.requests.import_prices(&call.who, table).await?;
    Ok(Imported { imported, as_of })
}

/// That imported prices are gone.
#[derive(Serialize, JsonSchema)]
struct Shipped {
    /// The day that the prices tell of that count now.
    shipped_as_of: String,
}

async fn reset_prices(call: Call, _: Nothing) -> Result<Shipped, Trouble> {
    let requests = &call.broker.requests;
    requests.reset_prices(&call.who).await?;
    Ok(Shipped {
        shipped_as_of: shipped::AS_OF.to_owned(),
    })
}
