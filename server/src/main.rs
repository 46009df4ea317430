//! The taskstatsd agent.

fn main() {}
