//! Organisations: made by admins of the default one, each with a first admin and their key.
//!
//! A new organisation begins with nothing else: its policies, tools, people and log are its own.
//! Its records say `hundi` made it, not which key of another organisation did; that stands in the
//! record of the default one.

use serde_json::json;

use super::Access;
use super::keys::KeyParts;
use super::people::first_docs;
use crate::broker::core::{Trouble, failed, forbidden};
use crate::connector::registry;
use crate::domain::account::Payers;
use crate::domain::audit::names::RecordKind;
use crate::domain::change::{Change, Conflict, Record};
use crate::domain::document::Document;
use crate::domain::ids::OrgId;
use crate::domain::organisation::Organisation;
use crate::domain::person::PersonId;
use crate::domain::principal::{Principal, Right, Role};
use crate::domain::time::Timestamp;
use crate::store::ApplyError;

/// An organisation as people see it.
#[derive(Clone, PartialEq, Debug)]
pub struct OrgView {
    /// Its id.
    pub org: OrgId,
    /// When it was made; `None` for the default one, which was always there.
    pub created_at: Option<Timestamp>,
}

/// An organisation just made. The text of the key is shown once and stored nowhere.
pub struct MadeOrg {
    /// Its id.
    pub org: OrgId,
    /// The text of its admin's key.
    pub admin_key: String,
    /// The admin.
    pub admin: PersonId,
}

impl Access {
    /// Makes an organisation, its admin and their key.
    pub async fn create_org(&self, who: &Principal, name: &str) -> Result<MadeOrg, Trouble> {
        if !who.may_for_all(Right::Administer) {
            return Err(forbidden(who));
        }
        let org = checked(name)?;
        let now = self.ports().ambient.now();
        let ours = Principal {
            id: "hundi".to_owned(),
            name: "hundi".to_owned(),
            org: org.clone(),
            roles: Role::Admin.into(),
            agent: None,
            person: None,
            server: None,
        };
        let (person, boss) = self.first_person(&ours).await?;
        let mut admin = KeyParts::new(Role::Admin.into(), "first admin");
        admin.person = Some((person.clone(), boss.name.clone()));
        let admin = self.make_key(&ours, admin);
        let made = Organisation {
            org: org.clone(),
            created_at: now,
            created_by: who.id.clone(),
        };
        let held = Organisation::held(&org);
        let mut docs = vec![made.write(&OrgId::default(), &held, Some(0)), admin.write];
        docs.extend(first_docs(&org, &person, &boss));
        let here =
            Record::new(now, &who.org, RecordKind::OrgCreated, &who.id).with(json!({"org": org}));
        let records = vec![here, self.person_made(&ours, &person, &boss), admin.record];
        let change = Change::documents(docs, Vec::new(), records, Vec::new());
        match self.ports().store.apply(change).await {
            Ok(_) => {}
            Err(ApplyError::Conflict(Conflict::DocChanged(_))) => return Err(taken(name)),
            Err(error) => return Err(failed(error)),
        }
        self.key_cache().reload(&*self.ports().store).await;
        Ok(MadeOrg {
            org,
            admin_key: admin.text,
            admin: person,
        })
    }

    /// Refuses to serve while the bank's account is said to be an organisation's that was never
    /// made: every payout of others would be turned down for want of a policy.
    pub async fn bank_is_somebodys(&self) -> Result<(), Trouble> {
        let holders = &self.settings().bank.holders;
        let named = match &holders.payers {
            Payers::Everybody => None,
            Payers::Only(listed) => Some(listed.iter()),
        };
        let home = OrgId::default();
        for org in std::iter::once(&holders.owner).chain(named.into_iter().flatten()) {
            let held = Organisation::held(org);
            let made = self.document::<Organisation>(&home, held.as_str()).await?;
            if *org != home && made.is_none_or(|made| made.value.org != *org) {
                let variable = registry::bank().variables();
                return Err(Trouble::Off(format!(
                    "the bank's account is said to be {org}'s, and there is no such organisation: \
                     start without {variable}_ORG and {variable}_ORGS, make it with `hundi org \
                     create {org}`, and name it then"
                )));
            }
        }
        Ok(())
    }

    /// Every organisation, to the admins of the default one; to everybody else, their own.
    pub async fn orgs(&self, who: &Principal) -> Result<Vec<OrgView>, Trouble> {
        let home = OrgId::default();
        let everyone = who.may_for_all(Right::Administer);
        let made = self.documents::<Organisation>(Some(&home)).await?;
        let made = made.into_iter().flatten().map(|stored| OrgView {
            org: stored.value.org,
            created_at: Some(stored.value.created_at),
        });
        let ours = OrgView {
            org: home.clone(),
            created_at: None,
        };
        let mut orgs: Vec<OrgView> = made.collect();
        orgs.sort_by(|a, b| a.org.cmp(&b.org));
        orgs.insert(0, ours);
        orgs.retain(|view| everyone || view.org == who.org);
        Ok(orgs)
    }
}

fn checked(name: &str) -> Result<OrgId, Trouble> {
    let org: OrgId = name.parse().map_err(|_| {
        let text = "`name` must be 1 to 64 of `[A-Za-z0-9._-]`: it is the organisation's id";
        Trouble::InvalidRequest(text.to_owned())
    })?;
    match Organisation::held(&org) == OrgId::default().as_str() {
        true => Err(taken(name)),
        false => Ok(org),
    }
}

fn taken(name: &str) -> Trouble {
    Trouble::NameTaken("organisation", name.to_owned())
}
