//! The rate of handshakes of each client address.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::security::{AddressKey, Bucket, Rate};

/// The addresses that are remembered. An address whose bucket is full again is forgotten first.
const MAX_ADDRESSES: usize = 4096;

/// Counts the handshakes that each client address begins.
///
/// A handshake costs the agent an asymmetric operation, and the client nothing. Addresses are those of
/// completed TCP connections, so a client cannot invent them.
#[derive(Debug)]
pub(super) struct HandshakeRates {
    rate: Option<Rate>,
    start: Instant,
    buckets: HashMap<AddressKey, Bucket>,
}

impl HandshakeRates {
    /// Allows so many handshakes a second for each address, and as many at once; 0 is no limit.
    pub(super) fn new(per_second: u32) -> Self {
        let rate = Rate::per_second(per_second);
        Self { rate, start: Instant::now(), buckets: HashMap::new() }
    }

    /// Counts a handshake, and returns whether it may begin.
    pub(super) fn allow(&mut self, from: AddressKey) -> bool {
        self.allow_at(from, self.start.elapsed())
    }

    fn allow_at(&mut self, from: AddressKey, now: Duration) -> bool {
        let Some(rate) = self.rate else { return true };
        if self.buckets.len() >= MAX_ADDRESSES && !self.buckets.contains_key(&from) {
            self.forget(now);
        }
        self.buckets.entry(from).or_default().acquire(rate, 1, now).is_ok()
    }

    /// Forgets addresses that were idle, or all if there is none.
    fn forget(&mut self, now: Duration) {
        self.buckets.retain(|_, bucket| !bucket.is_full(now));
        if self.buckets.len() >= MAX_ADDRESSES {
            self.buckets.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const START: Duration = Duration::from_secs(100);

    fn at(host: usize) -> AddressKey {
        IpAddr::from(u32::try_from(host).unwrap().to_be_bytes()).into()
    }

    #[test]
    fn each_address_has_a_rate() {
        let mut rates = HandshakeRates::new(10);
        for _ in 0..10 {
            assert!(rates.allow_at(at(1), START));
        }
        assert!(!rates.allow_at(at(1), START));
        assert!(rates.allow_at(at(2), START));
        assert!(rates.allow_at(at(1), START + Duration::from_millis(100)));
        assert!(!rates.allow_at(at(1), START + Duration::from_millis(100)));
    }

    #[test]
    fn without_a_rate_all_are_allowed() {
        let mut rates = HandshakeRates::new(0);
        assert!((0..1000).all(|_| rates.allow_at(at(1), START)));
        assert!(rates.buckets.is_empty());
    }

    /// An address that exceeds its rate is remembered while others come and go.
    #[test]
    fn idle_addresses_are_forgotten_first() {
        let mut rates = HandshakeRates::new(1);
        for host in 0..MAX_ADDRESSES - 1 {
            assert!(rates.allow_at(at(host), START));
        }
        let later = START + Duration::from_secs(2);
        assert!(rates.allow_at(at(MAX_ADDRESSES), later));
        assert!(rates.allow_at(at(MAX_ADDRESSES + 1), later));
        assert_eq!(rates.buckets.len(), 2);
        assert!(!rates.allow_at(at(MAX_ADDRESSES), later));
        for host in 0..2 * MAX_ADDRESSES {
            rates.allow_at(at(host), later);
        }
        assert!(rates.buckets.len() <= MAX_ADDRESSES);
    }
}
