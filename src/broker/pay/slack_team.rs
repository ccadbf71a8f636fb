//! Whose Slack a press comes from.
//!
//! A user's id is unique within its team only, and a channel may be shared with another: so a press
//! counts if every team it names is ours. Ours are those that were configured, else the one whose
//! bot we are, which Slack is asked for once. As long as nobody knows, nobody decides.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Pay;
use crate::broker::core::Trouble;
use crate::notify::slack::{self, Press};

/// Longest that Slack may take to say whose bot we are: the one who pressed waits.
const DEADLINE: Duration = Duration::from_secs(3);

/// The team that Slack named, once it has.
#[derive(Default)]
pub(super) struct OurTeam(Mutex<Option<String>>);

impl Pay {
    /// Whether a press is of our own team. One that names no team at all, nor an enterprise, is judged
    /// by its user alone, unless it is written down which teams are ours.
    pub(super) async fn is_our_teams(&self, press: &Press) -> Result<bool, Trouble> {
        if press.teams.is_empty() {
            let slack = self.settings().people.slack.as_ref();
            return Ok(slack.is_none_or(|slack| slack.teams.is_empty()));
        }
        let ours = self.our_teams().await?;
        let foreign = press.teams.iter().find(|team| !ours.contains(team));
        if let Some(team) = foreign {
            let team: String = team
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .take(20)
                .collect();
            tracing::warn!(%team, "a press of another Slack team was refused; slack.team_ids lists ours");
        }
        Ok(foreign.is_none())
    }

    async fn our_teams(&self) -> Result<Vec<String>, Trouble> {
        let Some(slack) = &self.settings().people.slack else {
            return Ok(Vec::new());
        };
        if !slack.teams.is_empty() {
            return Ok(slack.teams.clone());
        }
        let known = &self.slack_team.0;
        if let Some(team) = known.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            return Ok(vec![team]);
        }
        let unknown = |why: String| {
            Trouble::Upstream(format!(
                "Slack did not say which team is ours ({why}); set HUNDI_SLACK_TEAM_IDS"
            ))
        };
        let Some(outbound) = &self.ports().outbound else {
            return Err(unknown("nothing is sent from here".to_owned()));
        };
        let asked = slack::ask_team(&slack.api_base, &slack.bot_token);
        let answer = outbound.post(&asked, DEADLINE).await.map_err(unknown)?;
        let team = slack::told_team(&answer).map_err(unknown)?;
        *known.lock().unwrap_or_else(PoisonError::into_inner) = Some(team.clone());
        Ok(vec![team])
    }
}
