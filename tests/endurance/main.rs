//! What takes its time: kills at random moments, a link that is cut, a herd, and foreign proxies and
//! load makers. The tests take the machine one after another.
//!
//! `TASKSTATS_ENDURANCE_SECONDS` says how long those last that have no end of their own.

mod broken_link;
mod collector;
mod killed_agent;
mod proxy;
mod reconnecting_clients;
mod support;
