//! Long tests: kills at random times, a broken link, many reconnecting clients, and third-party
//! proxies and load generators. They run one after the other.
//!
//! `TASKSTATS_ENDURANCE_SECONDS` sets the duration of those that have no end by themselves.

mod broken_link;
mod collector;
mod killed_agent;
mod proxy;
mod reconnecting_clients;
mod support;
