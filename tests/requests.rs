//! Requests to models, from outside: a real server, a real model of the sandbox over HTTP, and the
//! formats that official packages speak.

mod beside;
mod budget;
mod crash;
mod documents;
mod doors;
mod edges;
mod fidelity;
mod liars;
mod meaning;
mod mirror;
mod providers;
mod queue;
mod secrets;
mod sockets;
mod store;
mod streams;
mod town;
mod wakes;
