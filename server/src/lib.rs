//! The taskstatsd node agent.

pub mod taskstats;
