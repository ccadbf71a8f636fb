//! A client that spells each MCP message by hand, so that it is known which way it takes through the
//! door: answered at once, or by the library.

use serde_json::{Value, json};

use crate::support::server::Server;

/// Which way a message takes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Way {
    /// Nothing in it but what a plain call has.
    Plain,
    /// With a field that only the library reads.
    Library,
}

/// One message of the stateless protocol; the answer as it came.
pub async fn send(
    server: &Server,
    key: &str,
    path: &str,
    way: Way,
    method: &str,
    mut params: Value,
) -> (u16, Value) {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "by-hand", "version": "1"},
    });
    if way == Way::Library {
        params["_meta"]["example/more"] = json!(1);
    }
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let mut request = server
        .http
        .post(format!("{}{path}", server.url))
        .bearer_auth(key)
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", method);
    if let Some(name) = params["name"].as_str() {
        request = request.header("mcp-name", name);
    }
    let answer = request.json(&body).send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    let told = serde_json::from_str(&text).unwrap_or_else(|_| json!({"text": text}));
    (status, told)
}

/// Calls a tool; what the answer's `result` says.
pub async fn call(server: &Server, key: &str, way: Way, tool: &str, arguments: Value) -> Value {
    let params = json!({"name": tool, "arguments": arguments});
    let (_, told) = send(server, key, "/mcp", way, "tools/call", params).await;
    told["result"].clone()
}

/// The names of the tools that are listed.
pub async fn listed(server: &Server, key: &str) -> Vec<String> {
    let (_, told) = send(server, key, "/mcp", Way::Library, "tools/list", json!({})).await;
    let tools = told["result"]["tools"].as_array();
    let tools = tools.unwrap_or_else(|| panic!("{told}")).clone();
    let names = tools.iter().map(|tool| tool["name"].as_str().unwrap());
    names.map(str::to_owned).collect()
}
