//! What models cost: a table that an operator imports comes before the one that was shipped, and what
//! a provider's own settings say before both.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Requests;
use crate::broker::core::{Trouble, failed, forbidden};
use crate::domain::audit::names::RecordKind;
use crate::domain::change::{Change, Record};
use crate::domain::document::{Document, Single};
use crate::domain::ids::OrgId;
use crate::domain::principal::{Principal, Right};
use crate::domain::requests::price::Prices;
use crate::domain::requests::shipped;
use crate::domain::time::is_day;

/// Models of one table at most.
const MOST: usize = 20_000;

/// A table that was imported, for every organisation.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct PriceTable {
    /// The day that it tells of.
    pub as_of: String,
    /// Where it is from, in the words of whoever imported it.
    pub source: String,
    /// By service, then by model; the service `*` is any.
    pub prices: BTreeMap<String, BTreeMap<String, Prices>>,
}

impl Document for PriceTable {
    const KIND: &'static str = "model_prices";
    const CACHED: bool = true;
    type Id = str;
}

impl Single for PriceTable {
    const ID: &'static str = "imported";
}

impl PriceTable {
    fn find(&self, service: &str, model: &str) -> Option<Prices> {
        let at = |service: &str, model: &str| {
            let models = self.prices.get(service)?;
            models.get(model).copied()
        };
        let named = |model: &str| {
            let anywhere = || self.prices.values().find_map(|models| models.get(model));
            at(service, model)
                .or_else(|| at("*", model))
                .or_else(|| anywhere().copied())
        };
        named(model).or_else(|| named(shipped::undated(model)))
    }
}

/// What was read of the imported table, and of which version.
pub(super) type Known = Option<(u64, Arc<PriceTable>)>;

/// One price as it is listed.
#[derive(Clone, PartialEq, Debug)]
pub struct PriceView {
    /// The service.
    pub service: String,
    /// The model.
    pub model: String,
    /// What it costs.
    pub prices: Prices,
    /// `imported` or `shipped`.
    pub from: &'static str,
}

impl Requests {
    /// The imported table as it is now.
    pub(super) async fn imported(&self) -> Result<Arc<PriceTable>, Trouble> {
        let org = OrgId::default();
        let store = self.ports().store.as_ref();
        let (doc, guard) = self.memory().doc(store, PriceTable::only(&org)).await?;
        {
            let known = self.prices.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((version, table)) = known.as_ref()
                && *version == guard.version
            {
                return Ok(table.clone());
            }
        }
        let table = match doc {
            Some(doc) => PriceTable::read(&doc)?.value,
            None => PriceTable::default(),
        };
        let table = Arc::new(table);
        let mut known = self.prices.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some((guard.version, table.clone()));
        Ok(table)
    }

    /// The price of a model at a service, from the imported table or the shipped one.
    pub(super) fn listed(table: &PriceTable, service: &str, model: &str) -> Option<Prices> {
        let imported = table.find(service, model);
        imported.or_else(|| shipped::find(service, model))
    }

    /// Puts a table in the place of the imported one. One that is empty goes back to the shipped one.
    pub async fn import_prices(
        &self,
        who: &Principal,
        table: PriceTable,
    ) -> Result<usize, Trouble> {
        // What models cost is told to everybody.
        if !who.may_for_all(Right::Administer) {
            return Err(forbidden(who));
        }
        let count: usize = table.prices.values().map(BTreeMap::len).sum();
        if count > MOST {
            let text = format!("a table has {MOST} prices at most, and this one {count}");
            return Err(Trouble::InvalidRequest(text));
        }
        if !is_day(&table.as_of) {
            let text = "`as_of` has to be a day, such as \"2026-12-01\"";
            return Err(Trouble::InvalidRequest(text.to_owned()));
        }
        // Without a price it hides nothing that was shipped, and tells of no day.
        let table = match count {
            0 => PriceTable::default(),
            _ => table,
        };
        let org = OrgId::default();
        let now = self.ports().ambient.now();
        let record = Record::new(now, &org, RecordKind::PricesImported, &who.id)
            .with(json!({"as_of": table.as_of, "source": table.source, "prices": count}));
        let docs = vec![table.write_only(&org, None)];
        let change = Change::documents(docs, Vec::new(), vec![record], Vec::new());
        self.ports().store.apply(change).await.map_err(failed)?;
        self.memory().forget_doc(&PriceTable::only(&org));
        Ok(count)
    }

    /// Takes the imported table away.
    pub async fn reset_prices(&self, who: &Principal) -> Result<(), Trouble> {
        let none = PriceTable {
            as_of: shipped::AS_OF.to_owned(),
            source: "shipped".to_owned(),
            prices: BTreeMap::new(),
        };
        self.import_prices(who, none).await.map(drop)
    }

    /// Every price that is known, and the days they tell of: imported, shipped.
    pub async fn prices(
        &self,
        who: &Principal,
    ) -> Result<(Vec<PriceView>, Option<String>), Trouble> {
        if !who.may(Right::ReadOwn) {
            return Err(forbidden(who));
        }
        let table = self.imported().await?;
        let imported = table.prices.iter().flat_map(|(service, models)| {
            models.iter().map(|(model, prices)| PriceView {
                service: service.clone(),
                model: model.clone(),
                prices: *prices,
                from: "imported",
            })
        });
        let covered = |service: &str, model: &str| {
            let models = table.prices.get(service);
            models.is_some_and(|models| models.contains_key(model))
        };
        let shipped = shipped::ROWS.iter().filter_map(|row| {
            let prices = shipped::prices(row)?;
            (!covered(row.0, row.1)).then(|| PriceView {
                service: row.0.to_owned(),
                model: row.1.to_owned(),
                prices,
                from: "shipped",
            })
        });
        let mut all: Vec<PriceView> = imported.chain(shipped).collect();
        all.sort_by(|a, b| (&a.service, &a.model).cmp(&(&b.service, &b.model)));
        let as_of = (!table.as_of.is_empty()).then(|| table.as_of.clone());
        Ok((all, as_of))
    }
}
