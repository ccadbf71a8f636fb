//! The registry of payees: who may be paid where, in the operators' words.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Call, Effect, Nothing, Operation, Reply, Rest};
use crate::broker::Trouble;
use crate::broker::pay::payees;
use crate::domain::payee::RegisteredPayee;
use crate::domain::principal::Right;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("list_payees", list)
            .says("List payees", "Every registered payee of the organisation.")
            .needs(&[Right::ReadAll])
            .rest(Rest::get("/v1/payees").answers(200, "the payees")),
        Operation::new("register_payee", register)
            .says(
                "Register a payee",
                "Register a payee with its accounts; the one of the same name is replaced.",
            )
            .needs(&[Right::Operate])
            .does(Effect::Sets)
            .rest(
                Rest::post("/v1/payees")
                    .answers(201, "the payee")
                    .answers(200, "the payee that replaced one"),
            ),
        Operation::new("remove_payee", remove)
            .says("Remove a payee", "Take a payee out of the registry.")
            .needs(&[Right::Operate])
            .does(Effect::Sets)
            .rest(Rest::delete("/v1/payees/{payee}").answers(200, "the payee as it was")),
    ]
}

/// A payee as the registry has it.
#[derive(Serialize, JsonSchema)]
struct Payee {
    #[schemars(regex(pattern = "^py_[0-9a-f]{16}$"))]
    id: String,
    name: String,
    vendor_url: Option<String>,
    lei: Option<String>,
    fund_accounts: Vec<String>,
    labels: Vec<String>,
}

impl From<RegisteredPayee> for Payee {
    fn from(payee: RegisteredPayee) -> Self {
        Self {
            id: payee.id.to_string(),
            name: payee.name,
            vendor_url: payee.vendor_url,
            lei: payee.lei,
            fund_accounts: payee.fund_accounts,
            labels: payee.labels,
        }
    }
}

#[derive(Serialize, JsonSchema)]
struct PayeeList {
    payees: Vec<Payee>,
}

async fn list(call: Call, _: Nothing) -> Result<PayeeList, Trouble> {
    let payees = call.broker.pay.payees(&call.who).await?;
    let payees = payees.into_iter().map(Payee::from).collect();
    Ok(PayeeList { payees })
}

/// A payee as an operator writes it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewPayee {
    #[schemars(length(min = 1, max = 200))]
    name: String,
    /// Its site.
    #[schemars(length(max = 4096))]
    vendor_url: Option<String>,
    /// Its legal entity identifier.
    lei: Option<String>,
    /// Every account it is paid at.
    #[schemars(length(min = 1, max = 100))]
    fund_accounts: Vec<String>,
    /// The operator's own words.
    #[schemars(length(max = 20))]
    labels: Option<Vec<String>>,
}

async fn register(call: Call, new: NewPayee) -> Result<Reply<Payee>, Trouble> {
    let new = payees::NewPayee {
        name: new.name,
        vendor_url: new.vendor_url,
        lei: new.lei,
        fund_accounts: new.fund_accounts,
        labels: new.labels.unwrap_or_default(),
    };
    let (payee, made) = call.broker.pay.register_payee(&call.who, new).await?;
    let payee = Payee::from(payee);
    Ok(if made {
        Reply::created(payee)
    } else {
        Reply::ok(payee)
    })
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NamedPayee {
    /// Its id, its name, or one of its accounts.
    payee: String,
}

async fn remove(call: Call, named: NamedPayee) -> Result<Payee, Trouble> {
    let removed = call
        .broker
        .pay
        .remove_payee(&call.who, &named.payee)
        .await?;
    Ok(removed.into())
}
