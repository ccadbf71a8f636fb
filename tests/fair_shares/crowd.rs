//! Raw connections that say something and then nothing more.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

/// Where the crowd gathers.
pub struct Crowd {
    address: String,
}

impl Crowd {
    pub fn at(url: &str) -> Self {
        let address = url.trim_start_matches("http://").to_owned();
        Self { address }
    }

    /// A new connection on which this was said.
    pub fn says(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        // The door may have closed it already: that is its right.
        let _ = stream.write_all(text.as_bytes());
        stream
    }

    /// The head of a request whose body never comes.
    pub fn begins(&self, key: &str, path: &str, length: usize) -> String {
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\
             Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n\
             Content-Length: {length}\r\n\r\n"
        )
    }

    /// A whole request.
    pub fn asks(&self, key: &str, method: &str, path: &str, body: &str) -> String {
        let head = self.begins(key, path, body.len());
        head.replacen("POST", method, 1) + body
    }

    /// A whole tool call over MCP.
    pub fn calls(&self, key: &str, tool: &str, arguments: &Value) -> String {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "crowd", "version": "0"},
            "io.modelcontextprotocol/clientCapabilities": {},
        });
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": {"name": tool, "arguments": arguments, "_meta": meta}});
        let request = self.asks(key, "POST", "/mcp", &body.to_string());
        let headers = format!(
            "\r\nMCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: {tool}\r\n"
        );
        request.replacen("\r\n", &headers, 1)
    }
}

/// What those that were answered have heard so far.
pub fn answers(streams: &[TcpStream]) -> impl Iterator<Item = String> {
    streams.iter().map(|mut stream| {
        let wait = Some(Duration::from_millis(5));
        stream.set_read_timeout(wait).unwrap();
        let mut heard = vec![0; 4_096];
        let length = stream.read(&mut heard).unwrap_or(0);
        String::from_utf8_lossy(&heard[..length]).into_owned()
    })
}
