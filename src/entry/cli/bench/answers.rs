//! Answers of the doors by which tools are called, as far as they are read.

use std::borrow::Cow;

use serde::Deserialize;

use super::Door;

/// What is needed of an answer, whatever else it says.
#[derive(Deserialize, Default)]
pub struct Answer<'a> {
    #[serde(borrow, default)]
    pub status: Option<Status<'a>>,
    #[serde(borrow, default)]
    pub proposal_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub commit_token: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub reason: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub code: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub detail: Option<Cow<'a, str>>,
}

/// A word in answers, a number in problem documents.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Status<'a> {
    Word(#[serde(borrow)] Cow<'a, str>),
    Number(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
pub struct Rpc<'a, R> {
    #[serde(default = "Option::default")]
    pub result: Option<R>,
    #[serde(borrow, default)]
    pub error: Option<RpcError<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RpcResult<'a> {
    #[serde(borrow, default)]
    pub structured_content: Option<Answer<'a>>,
}

/// What a plain call answers, whatever it answers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plain {
    #[serde(default)]
    pub is_error: bool,
}

/// What is needed of an invocation's answer.
#[derive(Deserialize)]
pub struct Invoked<'a> {
    #[serde(default)]
    pub ok: Option<bool>,
    #[serde(borrow, default)]
    pub code: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub detail: Option<Cow<'a, str>>,
}

impl Invoked<'_> {
    pub fn complaint(&self, status: u16) -> String {
        let code = self
            .code
            .as_deref()
            .unwrap_or("proposed: it is no low-risk tool");
        let detail = self.detail.as_deref().unwrap_or_default();
        format!("HTTP {status}, {code} {detail}")
            .trim_end()
            .to_owned()
    }
}

#[derive(Deserialize)]
pub struct RpcError<'a> {
    #[serde(borrow)]
    pub message: Cow<'a, str>,
}

impl<'a> Answer<'a> {
    pub fn read(door: Door, body: &'a [u8]) -> Result<Self, String> {
        let unreadable = |_| "the answer is not what hundi answers".to_owned();
        if door != Door::Mcp {
            return serde_json::from_slice(body).map_err(unreadable);
        }
        let rpc: Rpc<'a, RpcResult<'a>> =
            serde_json::from_slice(message(body)).map_err(unreadable)?;
        match (rpc.result, rpc.error) {
            (_, Some(error)) => Err(error.message.into_owned()),
            (Some(result), None) => Ok(result.structured_content.unwrap_or_default()),
            (None, None) => Ok(Answer::default()),
        }
    }

    pub fn is(&self, word: &str) -> bool {
        matches!(&self.status, Some(Status::Word(status)) if status == word)
    }

    pub fn complaint(&self, http: u16) -> String {
        let status = match &self.status {
            Some(Status::Word(word)) => word.as_ref(),
            Some(Status::Number(_)) | None => "refused",
        };
        let mut text = format!("HTTP {http}, {status}");
        for part in [&self.reason, &self.code, &self.detail]
            .into_iter()
            .flatten()
        {
            text.push_str(", ");
            text.push_str(part);
        }
        text
    }
}

/// The JSON-RPC message of a body, which may be a stream of events with the message in the last.
pub fn message(body: &[u8]) -> &[u8] {
    if body.first() == Some(&b'{') {
        return body;
    }
    let lines = body.split(|byte| *byte == b'\n');
    let mut data = lines.filter_map(|line| line.strip_prefix(b"data:"));
    data.rfind(|data| !data.trim_ascii().is_empty())
        .unwrap_or(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_both_doors_are_understood() {
        let allowed = r#"{"status":"allowed","proposal_id":"p","commit_token":"t","findings":[]}"#;
        let rest = Answer::read(Door::Rest, allowed.as_bytes()).unwrap();
        assert!(rest.is("allowed") && rest.commit_token.as_deref() == Some("t"));
        let plain =
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"structuredContent":{allowed}}}}}"#);
        let stream = format!("id: 0\ndata:\n\nevent: message\ndata: {plain}\n\n");
        for body in [plain, stream] {
            let mcp = Answer::read(Door::Mcp, body.as_bytes()).unwrap();
            assert!(
                mcp.is("allowed") && mcp.proposal_id.as_deref() == Some("p"),
                "{body}"
            );
        }
        let problem = br#"{"status":429,"code":"overloaded","detail":"too many"}"#;
        let refused = Answer::read(Door::Rest, problem).unwrap();
        assert_eq!(
            refused.complaint(429),
            "HTTP 429, refused, overloaded, too many"
        );
        let error = br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no"}}"#;
        assert_eq!(Answer::read(Door::Mcp, error).err(), Some("no".to_owned()));
    }
}
