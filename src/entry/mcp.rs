//! The MCP door: the broker as an MCP server, over streamable HTTP and over stdio.
//!
//! For each high-risk tool of the catalogue the pair `T_propose` and `T_commit`; low-risk tools
//! under their own name; and a few tools of its own to read, await, list and withdraw proposals.
//! Clients of the newest revision that can wait for people are answered with a task, a page to open or
//! a form, as they declare; nothing that they say approves anything.
//! At `/mcp/{name}` the tools of one virtual server, and nothing else.
//! Whoever speaks is authenticated before anything is read, and everything is read strictly before
//! the MCP library sees it. What a call decides or does is the broker's business.

mod answers;
mod door;
mod finder;
mod http;
mod lists;
mod message;
mod plain;
mod schemas;
mod server;
mod sessions;
mod stdio;
mod surface;
mod tasks;
mod waits;

pub use http::{McpHttp, McpHttpOptions, router};
pub use stdio::{serve, stdio};
