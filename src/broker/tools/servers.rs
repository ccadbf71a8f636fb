//! What servers may name: a tool that is there, one of the broker's own, or a beginning of names.

use serde_json::Value;

use super::Tools;
use super::addressed::whole;
use super::catalogue::OUR_OWN;
use super::check::Beside;
use crate::broker::access::servers::ServerView;
use crate::broker::core::Trouble;
use crate::domain::access::Server;
use crate::domain::ids::OrgId;
use crate::domain::nearest::nearest;
use crate::domain::principal::Principal;
use crate::domain::tools::Invalid;

impl Tools {
    /// Makes a virtual server.
    pub async fn create_server(
        &self,
        who: &Principal,
        document: &Value,
    ) -> Result<ServerView, Trouble> {
        let server = self.known_server(&who.org, document, &Beside::default())?;
        self.access.create_server(who, &server).await
    }

    /// Replaces a virtual server.
    pub async fn replace_server(
        &self,
        who: &Principal,
        name: &str,
        document: &Value,
        version: Option<u64>,
    ) -> Result<ServerView, Trouble> {
        let server = self.known_server(&who.org, document, &Beside::default())?;
        self.access
            .replace_server(who, name, &server, version)
            .await
    }

    /// A server whose document is whole and names nothing that is not there.
    pub(super) fn known_server(
        &self,
        org: &OrgId,
        document: &Value,
        beside: &Beside,
    ) -> Result<Server, Trouble> {
        let server = Server::read(document).map_err(Trouble::invalid)?;
        let tools = self.catalogue().tools(org);
        let known = |name: &str| {
            tools.contains_key(name) || OUR_OWN.contains(&name) || beside.tools.contains(name)
        };
        for (index, pattern) in server.tools.iter().enumerate() {
            let name = pattern.to_string();
            if pattern.is_open() || known(&name) {
                continue;
            }
            let all = tools.keys().map(String::as_str).chain(OUR_OWN);
            let meant = meant(&name, all).map(|meant| format!("; did you mean `{meant}`?"));
            let detail = format!("there is no tool `{name}`{}", meant.unwrap_or_default());
            let at = format!("/tools/{index}");
            return Err(Trouble::invalid(Invalid::server(at, detail)));
        }
        Ok(server)
    }
}

/// The tool that was probably meant: one step of a pair means its tool.
fn meant<'a>(name: &str, mut all: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    match whole(name) {
        Some(whole) => all.find(|known| *known == whole),
        None => nearest(name, all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::access::ToolPattern;

    #[test]
    fn a_step_of_a_pair_means_its_tool_and_a_slip_the_nearest() {
        let all = || ["create_payout", "get_invoice"].into_iter();
        assert_eq!(meant("create_payout_propose", all()), Some("create_payout"));
        assert_eq!(meant("get_invoce", all()), Some("get_invoice"));
        assert_eq!(meant("unrelated", all()), None);
        assert!(ToolPattern::parse("get_*").is_some_and(|pattern| pattern.is_open()));
    }
}
