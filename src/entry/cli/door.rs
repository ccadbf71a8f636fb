//! Where a command's question goes: to a running server over HTTP, with the rights of a key, or
//! straight to the store where no server runs. Either way it is one operation of the table, so a
//! command can do what REST can and nothing else, and prints what REST answers.
//!
//! Which of the two it is, and with which key, is decided where the command is put together
//! (`run/door`).

use std::time::Duration;

use futures_util::StreamExt;
use serde_json::{Map, Value};

use super::{Failure, print};
use crate::broker::Broker;
use crate::domain::principal::Principal;
use crate::domain::secret::Secret;
use crate::entry::operations::{self, Body, Operation, Request};

/// Longest that a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest silence of a server in the middle of an answer; a call to a tool may take its time.
const SILENCE: Duration = Duration::from_secs(120);

/// Where questions go.
pub enum Door {
    /// To a server.
    Server(Server),
    /// To the store.
    Store {
        /// Over it.
        broker: Broker,
        /// As whom.
        who: Principal,
    },
}

/// A server, and the key that it is asked with.
pub struct Server {
    client: reqwest::Client,
    url: String,
    key: Secret,
}

impl Server {
    /// The server at `url`.
    pub fn new(url: &str, key: Secret) -> Result<Self, Failure> {
        // Installing it twice is no error: whoever came first chose the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(SILENCE)
            .build()
            .map_err(Failure::of)?;
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { client, url, key })
    }

    /// Whether a server is there that takes this key. One that cannot say so now (its store is
    /// away) is there all the same.
    pub async fn knows_us(&self) -> bool {
        let asked = self.client.get(format!("{}/v1/freeze", self.url));
        let answer = asked.bearer_auth(self.key.expose()).send().await;
        answer.is_ok_and(|answer| !matches!(answer.status().as_u16(), 401 | 404))
    }

    async fn send(&self, request: Request) -> Result<reqwest::Response, Failure> {
        let method = request.method.to_ascii_uppercase();
        let method = reqwest::Method::from_bytes(method.as_bytes()).map_err(Failure::of)?;
        let address = format!("{}{}", self.url, request.target);
        let mut asked = self.client.request(method, address);
        asked = asked.bearer_auth(self.key.expose());
        if let Some(body) = &request.body {
            asked = asked.json(body);
        }
        asked.send().await.map_err(|error| self.unheard(&error))
    }

    fn unheard(&self, error: &reqwest::Error) -> Failure {
        let why = match error {
            error if error.is_connect() => "nothing answers there",
            error if error.is_timeout() => "it took too long to answer",
            _ => "the connection broke",
        };
        Failure::of(format!(
            "{}: {why}; is `hundi serve` running? Name it with --url",
            print::plain(&self.url)
        ))
    }
}

impl Door {
    /// Asks for an operation and gives its answer.
    pub async fn ask(&self, name: &str, input: Value) -> Result<Value, Failure> {
        match self {
            Door::Store { broker, who } => Ok(operations::ask(broker, who, name, input).await?),
            Door::Server(server) => {
                let answer = server.send(request(name, input)?).await?;
                let status = answer.status();
                let text = answer.text().await;
                let text = text.map_err(|error| server.unheard(&error))?;
                let told = serde_json::from_str(&text);
                // Refusals of propose and commit are answers, too.
                match told {
                    Ok(told)
                        if status.is_success() || status.as_u16() == 409 && is_result(&told) =>
                    {
                        Ok(told)
                    }
                    Ok(problem) => Err(refused(&problem, status.as_u16())),
                    Err(_) => Err(refused(&Value::Null, status.as_u16())),
                }
            }
        }
    }

    /// Asks for an operation that answers with text, and hands each piece of it on.
    pub async fn pour(
        &self,
        name: &str,
        input: Value,
        mut each: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        match self {
            Door::Store { broker, who } => {
                let answer = operations::answer(broker, who, name, input).await?;
                match answer.body {
                    Body::Json(value) => each(value.to_string().as_bytes()),
                    Body::Stream(_, mut pieces) => {
                        while let Some(piece) = pieces.next().await {
                            each(piece?.as_bytes())?;
                        }
                        Ok(())
                    }
                }
            }
            Door::Server(server) => {
                let answer = server.send(request(name, input)?).await?;
                let status = answer.status();
                if !status.is_success() {
                    let text = answer.text().await.unwrap_or_default();
                    let problem = serde_json::from_str(&text).unwrap_or_default();
                    return Err(refused(&problem, status.as_u16()));
                }
                let mut pieces = answer.bytes_stream();
                while let Some(piece) = pieces.next().await {
                    each(&piece.map_err(|error| server.unheard(&error))?)?;
                }
                Ok(())
            }
        }
    }
}

fn request(name: &str, input: Value) -> Result<Request, Failure> {
    let missing = || Failure::of(format!("`{name}` is not on REST"));
    let input = match input {
        Value::Object(input) => input,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Map::new()
        }
    };
    let operation: &Operation = operations::named(name).ok_or_else(missing)?;
    let unnamed = || Failure::of(format!("`{name}` needs a name that was not given"));
    operation.request(input).ok_or_else(unnamed)
}

fn is_result(told: &Value) -> bool {
    told["status"].is_string()
}

/// A problem document as words; of a stranger that answers in hundi's place, only that it does.
fn refused(problem: &Value, status: u16) -> Failure {
    match (problem["detail"].as_str(), problem["code"].as_str()) {
        (Some(detail), Some(code)) => Failure::Failed(format!("{} ({code})", print::plain(detail))),
        _ => Failure::Failed(format!(
            "what answers there is not hundi, or a proxy in front of it (status {status})"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_a_problem_of_ours_is_quoted() {
        let said = |problem: Value| format!("{:?}", refused(&problem, 502));
        let problem = json!({"detail": "there is no such key", "code": "not_found"});
        assert!(said(problem).contains("there is no such key (not_found)"));
        assert!(said(json!({"detail": "<html>"})).contains("status 502"));
        assert!(said(Value::Null).contains("not hundi"));
    }
}
