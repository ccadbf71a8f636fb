//! Organisations. Nothing is shared between two but the machine.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Call, Effect, Nothing, Operation, Reply, Rest};
use crate::broker::Trouble;
use crate::broker::access::orgs::OrgView;
use crate::domain::principal::Right;
use crate::entry::words;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        Operation::new("create_org", create)
            .says(
                "Make an organisation",
                "Make an organisation and its first admin, whose key is shown this once. For admins \
                 of the default organisation.",
            )
            .needs(&[Right::Administer])
            .does(Effect::Acts)
            .rest(
                Rest::post("/v1/orgs")
                    .answers(201, "the organisation and its admin's key")
                    .problems(&[409]),
            ),
        Operation::new("list_orgs", list)
            .says(
                "List organisations",
                "Every organisation, to admins of the default one; to everybody else, their own.",
            )
            .needs(&[Right::ReadSetup])
            .rest(Rest::get("/v1/orgs").answers(200, "the organisations")),
    ]
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewOrg {
    /// Its id as well; case makes no second one.
    #[schemars(
        regex(pattern = "^[A-Za-z0-9._-]{1,64}$"),
        title = "1 to 64 letters, digits, `.`, `_` and `-`"
    )]
    name: String,
}

/// An organisation just made.
#[derive(Serialize, JsonSchema)]
struct MadeOrg {
    org: String,
    /// The bearer text of its admin; shown this once.
    admin_key: String,
    /// The admin, as a person.
    admin_id: String,
}

async fn create(call: Call, new: NewOrg) -> Result<Reply<MadeOrg>, Trouble> {
    let made = call.broker.access.create_org(&call.who, &new.name).await?;
    Ok(Reply::created(MadeOrg {
        org: made.org.to_string(),
        admin_key: made.admin_key,
        admin_id: made.admin.to_string(),
    }))
}

#[derive(Serialize, JsonSchema)]
struct OrgList {
    orgs: Vec<Org>,
}

/// An organisation.
#[derive(Serialize, JsonSchema)]
struct Org {
    org: String,
    name: String,
    #[schemars(schema_with = "words::maybe_time")]
    created_at: Option<String>,
}

impl From<OrgView> for Org {
    fn from(view: OrgView) -> Self {
        Self {
            name: view.org.to_string(),
            org: view.org.to_string(),
            created_at: view.created_at.map(|at| at.to_string()),
        }
    }
}

async fn list(call: Call, _: Nothing) -> Result<OrgList, Trouble> {
    let orgs = call.broker.access.orgs(&call.who).await?;
    let orgs = orgs.into_iter().map(Org::from).collect();
    Ok(OrgList { orgs })
}
