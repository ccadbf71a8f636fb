//! People decide in Slack: a press that Slack signed becomes a decision of a principal.
//!
//! The user's id is mapped to a key (`hundi key create --slack-user`); whoever is not mapped, or is
//! of another team, acts on nothing, and is the only one who hears of it. A button works once: it is taken before the
//! decision is made and given back only if nothing was decided. What it meant when it was made,
//! proposal and arguments, must still be what is held.

use std::time::Duration;

use super::Pay;
use super::deliver::{StoredButton, button_id};
use crate::broker::core::{Proposed, Trouble};
use crate::domain::audit::names::{Decision, RecordKind};
use crate::domain::change::Record;
use crate::domain::document::Document;
use crate::domain::ids::OrgId;
use crate::domain::notice::Post;
use crate::domain::principal::{Principal, Right};
use crate::domain::proposal::State;
use crate::notify::slack;
pub use crate::notify::slack::{NotGenuine, Press};

/// A press under way is believed to be dead after this, and the button works again.
const PRESS_LEASE_SECS: i64 = 30;
/// Longest that the answer to one user may take.
const ASIDE_DEADLINE: Duration = Duration::from_secs(5);

impl Pay {
    /// Checks the signature of a callback and reads the press. `Off` if Slack is not configured.
    pub fn slack_press(
        &self,
        timestamp: &str,
        signature: &str,
        body: &[u8],
    ) -> Result<Result<Press, NotGenuine>, Trouble> {
        let slack = self.settings().people.slack.as_ref();
        let secret = slack.and_then(|slack| slack.signing_secret.as_ref());
        let secret = secret.ok_or_else(|| {
            Trouble::Off("set HUNDI_SLACK_SIGNING_SECRET to accept buttons".to_owned())
        })?;
        let now = self.ports().ambient.now();
        let genuine = slack::verify(secret, timestamp, signature, body, now);
        Ok(genuine.and_then(|()| slack::press(body)))
    }

    /// Does what a genuine press asks for. Whatever cannot be done is told to that user alone.
    pub async fn slack_decide(&self, press: &Press) -> Result<Proposed, Trouble> {
        let decided = self.try_press(press).await;
        match &decided {
            Ok(answer) => {
                let id = answer.proposal.fixed.id;
                tracing::info!(proposal = %id, user = %press.user, "decided in Slack");
                // Replaces the message now instead of at the next turn of the clock.
                if let Err(error) = self.deliver().await {
                    tracing::warn!(%error, "the message in Slack was not replaced yet");
                }
            }
            Err(trouble) => {
                self.record_press(press, trouble).await;
                self.tell_aside(press, &words(trouble)).await;
            }
        }
        decided
    }

    /// A refused press is on record as well. Slack's signature bounds who can cause one.
    async fn record_press(&self, press: &Press, trouble: &Trouble) {
        let now = self.ports().ambient.now();
        let actor = format!("slack:{}", press.user.chars().take(40).collect::<String>());
        let org = OrgId::default();
        let record = Record::new(now, &org, RecordKind::PressRefused, &actor)
            .deciding(Decision::Rejected, trouble.code());
        if let Err(error) = self.audit.note(record).await {
            tracing::error!(%error, "a refused press in Slack could not be recorded");
        }
    }

    async fn try_press(&self, press: &Press) -> Result<Proposed, Trouble> {
        if press.action == slack::OPEN {
            return Err(Trouble::PasskeyRequired);
        }
        if !self.is_our_teams(press).await? {
            return Err(Trouble::Unauthenticated);
        }
        let (org, id) = (OrgId::default(), button_id(&press.value));
        let found = self.find::<StoredButton>(&org, &id).await?;
        let found = found.and_then(Result::ok);
        // Whom the user is, the organisation of the button says; without one, ours.
        let of = found.as_ref().map_or(&org, |found| &found.value.org);
        let who = self.access.slack_principal(of, &press.user).await?;
        let who = who.filter(|who| who.may(Right::Decide));
        let who = who.ok_or(Trouble::Unauthenticated)?;
        let found = found.ok_or(Trouble::NotFound("button"))?;
        let (version, button) = (found.version, found.value);
        let named = match press.action.as_str() {
            slack::APPROVE => Some(true),
            slack::REJECT => Some(false),
            _ => None,
        };
        if named != Some(button.approves) || button.org != who.org {
            return Err(Trouble::NotFound("button"));
        }
        let held = self.ports().store.proposal(button.proposal).await?;
        let held = held.ok_or(Trouble::NotFound("proposal"))?;
        if held.fixed.args_hash != button.args_hash {
            return Err(Trouble::NotFound("button"));
        }
        if held.state != State::Held {
            return Err(Trouble::WrongState(held.state));
        }
        let now = self.ports().ambient.now();
        if let Some((_, since)) = &button.pressed
            && now < since.plus_secs(PRESS_LEASE_SECS)
        {
            return Err(Trouble::Changed);
        }
        let taken = StoredButton {
            pressed: Some((press.user.clone(), now)),
            ..button.clone()
        };
        self.write(vec![taken.write(&org, &id, Some(version))])
            .await?;
        let decided = self.press_decides(&who, &button).await;
        // Used up by a decision, free again for others where there was none.
        let version = Some(version + 1);
        let after = match decided {
            Ok(_) => StoredButton::delete(&org, &id, version),
            Err(_) => {
                let pressed = None;
                StoredButton { pressed, ..button }.write(&org, &id, version)
            }
        };
        if let Err(error) = self.write(vec![after]).await {
            tracing::warn!(%error, "a button in Slack was not put back; it frees itself");
        }
        decided
    }

    async fn press_decides(
        &self,
        who: &Principal,
        button: &StoredButton,
    ) -> Result<Proposed, Trouble> {
        if button.approves {
            self.approve(who, button.proposal).await
        } else {
            self.reject(who, button.proposal, "rejected in Slack").await
        }
    }

    /// Tells one user something that nobody else sees. Best effort: the press was answered.
    async fn tell_aside(&self, press: &Press, text: &str) {
        let slack = self.settings().people.slack.as_ref();
        let (Some(slack), Some(outbound)) = (slack, &self.ports().outbound) else {
            return;
        };
        let url = press.response_url.as_deref();
        let Some(url) = url.filter(|url| is_slacks(url, &slack.api_base)) else {
            return;
        };
        let post = Post {
            url: url.to_owned(),
            bearer: None,
            headers: Vec::new(),
            body: slack::aside(text),
        };
        if let Err(why) = outbound.post(&post, ASIDE_DEADLINE).await {
            tracing::warn!(%why, "a Slack user could not be answered");
        }
    }
}

/// Where an answer to one press may go: the one place that Slack documents for it or, where another
/// address was configured for Slack, that very origin below its path. The URL comes in a request
/// and is followed nowhere else.
fn is_slacks(url: &str, api_base: &str) -> bool {
    let (Ok(url), Ok(base)) = (url::Url::parse(url), url::Url::parse(api_base)) else {
        return false;
    };
    if !url.username().is_empty() || url.password().is_some() {
        return false;
    }
    if base.host_str().is_some_and(is_slack_host) {
        let hooks = matches!(
            url.host_str(),
            Some("hooks.slack.com" | "hooks.slack-gov.com")
        );
        let usual_port = url.port().is_none();
        return url.scheme() == "https"
            && hooks
            && usual_port
            && url.path().starts_with("/actions/");
    }
    let below = format!("{}/", base.path().trim_end_matches('/'));
    url.origin() == base.origin() && url.path().starts_with(&below)
}

fn is_slack_host(host: &str) -> bool {
    ["slack.com", "slack-gov.com"]
        .iter()
        .any(|slack| host == *slack || host.strip_suffix(slack).is_some_and(|l| l.ends_with('.')))
}

fn words(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Unauthenticated => {
            "You may not decide here: an admin has to name your Slack user with you \
             (`hundi person update`) or with an approver's key (`hundi key create --role \
             approver --slack-user ...`). Nothing was decided."
                .to_owned()
        }
        Trouble::NotFound(_) => {
            "This button is not in use any more. Nothing was decided by it.".to_owned()
        }
        Trouble::WrongState(state) => {
            format!("Nothing to decide any more: it is {}.", state.name())
        }
        Trouble::Changed => {
            "Somebody else is deciding at this very moment. Nothing was decided by you.".to_owned()
        }
        Trouble::InvalidArguments(_)
        | Trouble::InvalidRequest(_)
        | Trouble::NameReserved(_)
        | Trouble::UnknownTool(_)
        | Trouble::NotCalledSo(_)
        | Trouble::ToolQuarantined(_)
        | Trouble::ToolUnusable(_)
        | Trouble::UpstreamUnavailable(_)
        | Trouble::Forbidden { .. }
        | Trouble::WordNeeded(_)
        | Trouble::AccessDenied { .. }
        | Trouble::SelfApproval
        | Trouble::PersonNeeded
        | Trouble::PasskeyRequired
        | Trouble::NotAmongApprovers(_)
        | Trouble::ApprovedAlready(_)
        | Trouble::AccountTaken { .. }
        | Trouble::IdempotencyKeyReused(_)
        | Trouble::StoreUnavailable
        | Trouble::Overloaded { .. }
        | Trouble::RateLimited { .. }
        | Trouble::Upstream(_)
        | Trouble::SourceFailed(..)
        | Trouble::UpstreamRefused { .. }
        | Trouble::ResultTooLarge { .. }
        | Trouble::Frozen(_)
        | Trouble::Invalid(_)
        | Trouble::NameTaken(..)
        | Trouble::InUse(..)
        | Trouble::ToolDisabled(_)
        | Trouble::SourceUnavailable(_)
        | Trouble::Timeout(_)
        | Trouble::OutputInvalid(..)
        | Trouble::BudgetExceeded(_)
        | Trouble::SecretFound(_)
        | Trouble::UnknownModel(_)
        | Trouble::PriceUnknown(_)
        | Trouble::Erased
        | Trouble::Provider(_)
        | Trouble::NotReady(_)
        | Trouble::RequestEnded(_)
        | Trouble::RequestLive(_)
        | Trouble::QueueFull(_)
        | Trouble::Traced { .. }
        | Trouble::BadRequestState
        | Trouble::Off(_) => format!("Nothing was decided: {trouble}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[rustfmt::skip]
    fn only_slack_is_answered() {
        let cases = [
            ("https://hooks.slack.com/actions/T1/2/3",      "https://slack.com",     true),
            ("https://hooks.slack-gov.com/actions/T1/2",    "https://slack-gov.com", true),
            ("http://hooks.slack.com/actions/1",            "https://slack.com",     false),
            ("https://hooks.slack.com:8443/actions/1",      "https://slack.com",     false),
            ("https://u:p@hooks.slack.com/actions/1",       "https://slack.com",     false),
            ("https://hooks.slack.com/services/T1/B1/x",    "https://slack.com",     false),
            ("https://hooks.slack.com/actions/../services", "https://slack.com",     false),
            ("https://files.slack.com/actions/1",           "https://slack.com",     false),
            ("https://slack.com/api/chat.postMessage",      "https://slack.com",     false),
            ("https://hooks.slack.com.evil.example/actions/1", "https://slack.com",  false),
            ("https://evilslack.com/actions/1",             "https://slack.com",     false),
            ("http://169.254.169.254/latest",               "https://slack.com",     false),
            ("http://127.0.0.1:8080/x",                     "http://127.0.0.1:8080", true),
            ("http://127.0.0.1:9/x",                        "http://127.0.0.1:8080", false),
            ("https://127.0.0.1:8080/x",                    "http://127.0.0.1:8080", false),
            ("http://127.0.0.1:8080/slack/x",               "http://127.0.0.1:8080/slack", true),
            ("http://127.0.0.1:8080/admin",                 "http://127.0.0.1:8080/slack", false),
            ("https://hooks.slack.com/actions/1",           "http://127.0.0.1:8080", false),
            ("nonsense",                                    "https://slack.com",     false),
        ];
        for (url, base, expected) in cases {
            assert_eq!(is_slacks(url, base), expected, "{url}");
        }
    }
}
