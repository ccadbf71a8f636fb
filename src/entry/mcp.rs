//! The MCP door.

mod message;
