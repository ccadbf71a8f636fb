//! Governance as a whole town sees it: a real broker process beside a real bank process, with
//! Slack, ntfy, Safe Browsing and GLEIF played by HTTP servers, MCP clients and signed webhooks at
//! the doors, and an audit log that has to verify afterwards.

mod crash;
mod decisions;
mod flood;
mod story;
mod tools;
mod town;
mod watch;
