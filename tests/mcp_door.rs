//! What an MCP client sees, and what an attacker gets, at `/mcp` and on stdio.

mod client;
mod house;
mod raw_http;
mod raw_stdio;
mod waits;
