//! The REST door as a client, an attacker and a prober see it.

pub mod door;
mod events;
mod hardening;
mod keys;
mod openapi;
mod orgs;
mod outage;
mod people;
mod proposals;
mod roles;
mod table;
mod tools;
