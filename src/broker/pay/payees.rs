//! The registry of payees: who may be paid where, in the operators' words.
//!
//! Each payee is a document, and so is each of its accounts: a change writes all of them whole or
//! not at all, and the database sees to it that an account belongs to one payee. Decisions and
//! commits are written under a guard on the account they pay, registered or not, so a payee that
//! is added, changed or removed at that moment is never judged by what it was.

use serde_json::json;

use super::Pay;
use crate::broker::core::{Trouble, failed, forbidden};
use crate::domain::audit::names::RecordKind;
use crate::domain::change::{Change, Conflict, DocKey, DocWrite, Guard, Record};
use crate::domain::document::{Document, Stored, version};
use crate::domain::facts::Registration;
use crate::domain::ids::OrgId;
use crate::domain::payee::{AccountOf, PayeeId, RegisteredPayee, SiteOf};
use crate::domain::principal::{Principal, Right};
use crate::domain::tool::Payee;
use crate::governance::domains;
use crate::store::ApplyError;

/// Longest name, account and label, in characters, and most accounts and labels of one payee.
const MAX_NAME: usize = 200;
const MAX_ACCOUNT: usize = 128;
const MAX_LABEL: usize = 64;
const MAX_ACCOUNTS: usize = 100;
const MAX_LABELS: usize = 20;
/// Letters and digits of a legal entity identifier.
const LEI_LENGTH: usize = 20;
/// How often a write is tried when others write at the same moment.
const TRIES: u32 = 8;

/// A payee as an operator writes it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NewPayee {
    /// Names it; whoever is registered under this name is replaced.
    pub name: String,
    /// Its site.
    pub vendor_url: Option<String>,
    /// Its legal entity identifier.
    pub lei: Option<String>,
    /// Every account it is paid at.
    pub fund_accounts: Vec<String>,
    /// The operator's own words.
    pub labels: Vec<String>,
}

/// Who is paid, as far as that can be known, and what a decision about it has to be held to.
pub(super) struct Paid {
    /// With the registry's name and site, where the account is registered.
    pub(super) payee: Payee,
    pub(super) registration: Registration,
    pub(super) guards: Vec<Guard>,
}

impl Pay {
    /// Every registered payee of the caller's organisation, by name.
    pub async fn payees(&self, who: &Principal) -> Result<Vec<RegisteredPayee>, Trouble> {
        if !who.may(Right::ReadAll) {
            return Err(forbidden(who));
        }
        let stored = self.documents::<RegisteredPayee>(Some(&who.org)).await?;
        let payees = stored.into_iter().map(|stored| Ok(stored?.value));
        let mut payees = payees.collect::<Result<Vec<_>, Trouble>>()?;
        payees.sort_by_key(|payee| payee.name.to_lowercase());
        Ok(payees)
    }

    /// Registers a payee, or replaces the one of this name. True if there was none. Writing what is
    /// there already changes nothing.
    pub async fn register_payee(
        &self,
        who: &Principal,
        new: NewPayee,
    ) -> Result<(RegisteredPayee, bool), Trouble> {
        if !who.may(Right::Operate) {
            return Err(forbidden(who));
        }
        let payee = checked(new).map_err(Trouble::InvalidRequest)?;
        for _ in 0..TRIES {
            let stored = self
                .document::<RegisteredPayee>(&who.org, &payee.id)
                .await?;
            let version = version(stored.as_ref());
            let before = stored.map(|stored| stored.value);
            if before.as_ref() == Some(&payee) {
                return Ok((payee, false));
            }
            let made = before.is_none();
            let docs = self
                .writes(who, version, before.as_ref(), Some(&payee))
                .await?;
            if self.write_payee(who, docs, before, Some(&payee)).await? {
                return Ok((payee, made));
            }
        }
        Err(Trouble::Changed)
    }

    /// Takes a payee out of the registry, named by its id, its name or one of its accounts.
    pub async fn remove_payee(
        &self,
        who: &Principal,
        named: &str,
    ) -> Result<RegisteredPayee, Trouble> {
        if !who.may(Right::Operate) {
            return Err(forbidden(who));
        }
        for _ in 0..TRIES {
            let stored = self.payee_named(&who.org, named).await?;
            let stored = stored.ok_or(Trouble::NotFound("payee"))?;
            let (version, payee) = (stored.version, stored.value);
            let docs = self.writes(who, version, Some(&payee), None).await?;
            if self
                .write_payee(who, docs, Some(payee.clone()), None)
                .await?
            {
                return Ok(payee);
            }
        }
        Err(Trouble::Changed)
    }

    /// The registered payee of an account, and the guard that holds a decision to that.
    pub(super) async fn payee_of(
        &self,
        org: &OrgId,
        account: &str,
    ) -> Result<(Option<RegisteredPayee>, Guard), Trouble> {
        let (found, guard) = self.remembered::<AccountOf>(org, account).await?;
        Ok((found.transpose()?.map(|stored| stored.value.0), guard))
    }

    /// Who is paid by what a caller says: the registered payee of the account, under its own name
    /// and site whatever the caller calls it, or else the caller's words.
    pub(super) async fn paid(&self, org: &OrgId, claimed: &Payee) -> Result<Paid, Trouble> {
        let mut paid = Paid {
            payee: Payee {
                id: None,
                ..claimed.clone()
            },
            registration: Registration::default(),
            guards: Vec::new(),
        };
        let Some(account) = &claimed.account else {
            return Ok(paid);
        };
        let (payee, guard) = self.payee_of(org, account).await?;
        paid.guards.push(guard);
        if let Some(payee) = payee {
            paid.payee = Payee {
                id: Some(payee.id.clone()),
                account: Some(account.clone()),
                name: Some(payee.name.clone()),
                url: payee.vendor_url.clone(),
            };
            paid.registration.payee = Some(payee);
        } else {
            paid.registration.namesake = self.namesake(org, claimed, &mut paid.guards).await?;
        }
        Ok(paid)
    }

    /// The registered payee whose name or site is claimed for an account that is not registered.
    async fn namesake(
        &self,
        org: &OrgId,
        claimed: &Payee,
        guards: &mut Vec<Guard>,
    ) -> Result<Option<RegisteredPayee>, Trouble> {
        let mut ids: Vec<PayeeId> = claimed
            .name
            .as_deref()
            .map(PayeeId::of_name)
            .into_iter()
            .collect();
        if let Some(site) = claimed.url.as_deref().and_then(site) {
            let (of_site, guard) = self.remembered::<SiteOf>(org, &site).await?;
            guards.push(guard);
            let of_site = of_site.transpose()?.map(|stored| stored.value.0);
            ids.extend(of_site.into_iter().flatten().take(1));
        }
        for id in ids {
            let (payee, guard) = self.remembered::<RegisteredPayee>(org, &id).await?;
            guards.push(guard);
            if let Some(payee) = payee.transpose()? {
                return Ok(Some(payee.value));
            }
        }
        Ok(None)
    }

    /// The documents that take a payee from the site of `before` to that of `after`.
    async fn site_writes(
        &self,
        org: &OrgId,
        id: &PayeeId,
        before: Option<&RegisteredPayee>,
        after: Option<&RegisteredPayee>,
    ) -> Result<Vec<DocWrite>, Trouble> {
        let of = |payee: Option<&RegisteredPayee>| payee?.vendor_url.as_deref().and_then(site);
        let (left, taken) = (of(before), of(after));
        let left = left.filter(|left| Some(left) != taken.as_ref());
        let mut docs = Vec::new();
        for site in left.iter().chain(&taken) {
            let held = self.document::<SiteOf>(org, site).await?;
            let expect = Some(held.as_ref().map_or(0, |held| held.version));
            let mut ids = held.map(|held| held.value.0).unwrap_or_default();
            let listed = ids.contains(id);
            if listed == (Some(site) == taken.as_ref()) {
                continue;
            }
            ids.retain(|one| one != id);
            ids.extend((!listed).then(|| id.clone()));
            docs.push(match ids.is_empty() {
                true => SiteOf::delete(org, site, expect),
                false => SiteOf(ids).write(org, site, expect),
            });
        }
        Ok(docs)
    }

    async fn payee_named(
        &self,
        org: &OrgId,
        named: &str,
    ) -> Result<Option<Stored<RegisteredPayee>>, Trouble> {
        let id = match named.parse() {
            Ok(id) => id,
            Err(_) => PayeeId::of_name(named),
        };
        if let Some(stored) = self.document(org, &id).await? {
            return Ok(Some(stored));
        }
        match self.document::<AccountOf>(org, named).await? {
            Some(account) => self.document(org, &account.value.0.id).await,
            None => Ok(None),
        }
    }

    /// The documents that turn `before` into `after`; refused where an account is another's.
    async fn writes(
        &self,
        who: &Principal,
        version: u64,
        before: Option<&RegisteredPayee>,
        after: Option<&RegisteredPayee>,
    ) -> Result<Vec<DocWrite>, Trouble> {
        let Some(id) = after.or(before).map(|payee| &payee.id) else {
            return Ok(Vec::new());
        };
        let org = &who.org;
        let mut docs = vec![match after {
            Some(payee) => payee.write(org, id, Some(version)),
            None => RegisteredPayee::delete(org, id, Some(version)),
        }];
        let of = after.map(|payee| AccountOf(payee.clone()));
        let accounts = |payee: Option<&RegisteredPayee>| {
            payee.map_or_else(Vec::new, |payee| payee.fund_accounts.clone())
        };
        let wanted = accounts(after);
        let gone = accounts(before).into_iter();
        let gone = gone.filter(|account| !wanted.contains(account));
        for account in gone.chain(wanted.clone()) {
            let held = self.document::<AccountOf>(org, &account).await?;
            let expect = Some(held.as_ref().map_or(0, |held| held.version));
            let holder = held.map(|held| held.value.0);
            if let Some(holder) = holder.filter(|holder| holder.id != *id) {
                return Err(Trouble::AccountTaken {
                    account,
                    name: holder.name,
                    holder: holder.id,
                });
            }
            docs.push(match of.as_ref().filter(|_| wanted.contains(&account)) {
                Some(of) => of.write(org, &account, expect),
                None => AccountOf::delete(org, &account, expect),
            });
        }
        docs.extend(self.site_writes(&who.org, id, before, after).await?);
        Ok(docs)
    }

    /// False if something moved meanwhile.
    async fn write_payee(
        &self,
        who: &Principal,
        docs: Vec<DocWrite>,
        before: Option<RegisteredPayee>,
        after: Option<&RegisteredPayee>,
    ) -> Result<bool, Trouble> {
        let kind = match (&before, after) {
            (_, None) => RecordKind::PayeeRemoved,
            (None, Some(_)) => RecordKind::PayeeAdded,
            (Some(_), Some(_)) => RecordKind::PayeeChanged,
        };
        let record = Record::new(self.ports().ambient.now(), &who.org, kind, &who.id)
            .with(json!({"before": before, "after": after}));
        let keys: Vec<DocKey> = docs.iter().map(|doc| doc.key.clone()).collect();
        let change = Change::documents(docs, Vec::new(), vec![record], Vec::new());
        match self.ports().store.apply(change).await {
            Ok(_) => {
                keys.iter().for_each(|key| self.memory().forget_doc(key));
                Ok(true)
            }
            Err(ApplyError::Conflict(Conflict::DocChanged(_))) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }
}

/// Why a URL is none that a vendor could have; `None` if it may be one.
pub fn no_vendors(url: &str) -> Option<String> {
    domains::implausible(url).map(|why| format!("no vendor has such a URL: {why}"))
}

/// The site of a URL, as far as somebody registered it.
fn site(url: &str) -> Option<String> {
    domains::host(url).map(|host| domains::registrable(&host).to_owned())
}

/// The payee in its one spelling, or what is wrong with it.
fn checked(new: NewPayee) -> Result<RegisteredPayee, String> {
    let name = new.name.split_whitespace().collect::<Vec<_>>().join(" ");
    let printable = |text: &str| !text.chars().any(char::is_control);
    if name.is_empty() || name.chars().count() > MAX_NAME || !printable(&name) {
        return Err(format!("`name` is 1 to {MAX_NAME} characters"));
    }
    let url = given(new.vendor_url);
    if let Some(why) = url.as_deref().and_then(domains::implausible) {
        return Err(format!("`vendor_url` is no vendor's: {why}"));
    }
    let lei = given(new.lei).map(|lei| lei.to_uppercase());
    let is_lei =
        |lei: &String| lei.len() == LEI_LENGTH && lei.bytes().all(|b| b.is_ascii_alphanumeric());
    if lei.as_ref().is_some_and(|lei| !is_lei(lei)) {
        return Err(format!("`lei` is {LEI_LENGTH} letters and digits"));
    }
    if !(1..=MAX_ACCOUNTS).contains(&new.fund_accounts.len()) {
        return Err(format!(
            "`fund_accounts` lists 1 to {MAX_ACCOUNTS} accounts: it is by them that a payee is known"
        ));
    }
    let is_account = |text: &String| {
        (1..=MAX_ACCOUNT).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
    };
    let fund_accounts = each(new.fund_accounts);
    if let Some(at) = fund_accounts.iter().position(|text| !is_account(text)) {
        return Err(format!(
            "`fund_accounts[{at}]` has to be 1 to {MAX_ACCOUNT} printable ASCII characters, no \
             spaces"
        ));
    }
    let is_label =
        |text: &String| (1..=MAX_LABEL).contains(&text.chars().count()) && printable(text);
    let labels = each(new.labels);
    if labels.len() > MAX_LABELS || !labels.iter().all(is_label) {
        return Err(format!(
            "`labels` has at most {MAX_LABELS} texts of 1 to {MAX_LABEL} characters"
        ));
    }
    Ok(RegisteredPayee {
        id: PayeeId::of_name(&name),
        name,
        vendor_url: url,
        lei,
        fund_accounts,
        labels,
    })
}

/// What was given and is not blank.
fn given(text: Option<String>) -> Option<String> {
    let text = text?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// Every text once, in the order they were given.
fn each(texts: Vec<String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::with_capacity(texts.len());
    for text in texts {
        let text = text.trim().to_owned();
        if !kept.contains(&text) {
            kept.push(text);
        }
    }
    kept
}
