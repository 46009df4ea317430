//! A bounded number of slots, which no client address can occupy all.

use std::collections::{HashMap, VecDeque};

use crate::security::AddressKey;

/// A bounded number of slots, each held by a client address.
///
/// When all are occupied, a newcomer evicts the oldest holder of the address that holds the most. So a client
/// that opens many connections evicts its own ones, and an honest client, which needs milliseconds, keeps
/// its slot.
///
/// Each operation scans all slots. There are some hundreds at most, and the handshake that a slot is for
/// costs a thousand times as much.
#[derive(Debug)]
pub(super) struct FairSlots<T> {
    capacity: usize,
    /// From the oldest to the newest.
    held: VecDeque<(AddressKey, T)>,
}

impl<T> FairSlots<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, held: VecDeque::new() }
    }

    /// Returns the number of slots.
    pub(super) const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Inserts a newcomer. Returns the holder that was evicted for it, if all slots were occupied.
    pub(super) fn insert(&mut self, from: AddressKey, newcomer: T) -> Option<T> {
        self.held.push_back((from, newcomer));
        if self.held.len() <= self.capacity() {
            return None;
        }
        let largest_holder = self.largest_holder()?;
        self.remove(|from, _| *from == largest_holder)
    }

    /// Removes the first holder that matches, and returns it.
    pub(super) fn remove_where(&mut self, is_it: impl Fn(&T) -> bool) -> Option<T> {
        self.remove(|_, holder| is_it(holder))
    }

    /// Returns the address that holds the most slots; of several, the one with the oldest holder.
    fn largest_holder(&self) -> Option<AddressKey> {
        let mut counts: HashMap<AddressKey, usize> = HashMap::new();
        for (from, _) in &self.held {
            *counts.entry(*from).or_default() += 1;
        }
        let most = counts.values().max().copied();
        let has_most = |from: &&AddressKey| counts.get(*from).copied() == most;
        self.held.iter().map(|(from, _)| from).find(has_most).copied()
    }

    fn remove(&mut self, is_it: impl Fn(&AddressKey, &T) -> bool) -> Option<T> {
        let index = self.held.iter().position(|(from, holder)| is_it(from, holder))?;
        self.held.remove(index).map(|(_, holder)| holder)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn at(host: u8) -> AddressKey {
        IpAddr::from([192, 0, 2, host]).into()
    }

    #[test]
    fn all_slots_are_used_before_an_eviction() {
        let mut slots = FairSlots::new(3);
        for newcomer in 0..3 {
            assert_eq!(slots.insert(at(1), newcomer), None);
        }
        assert_eq!(slots.insert(at(1), 3), Some(0));
        assert_eq!(slots.insert(at(1), 4), Some(1));
    }

    #[test]
    fn the_oldest_holder_of_the_largest_address_is_evicted() {
        let mut slots = FairSlots::new(4);
        for (newcomer, host) in [1, 2, 2, 3].into_iter().enumerate() {
            assert_eq!(slots.insert(at(host), newcomer), None);
        }
        assert_eq!(slots.insert(at(4), 4), Some(1));
        // Each address holds one now, and a second one evicts the first.
        assert_eq!(slots.insert(at(3), 5), Some(3));
        // A newcomer evicts the oldest of all.
        assert_eq!(slots.insert(at(5), 6), Some(0));
    }

    #[test]
    fn a_removed_holder_frees_its_slot() {
        let mut slots = FairSlots::new(2);
        slots.insert(at(1), 0);
        slots.insert(at(1), 1);
        assert_eq!(slots.remove_where(|holder| *holder == 0), Some(0));
        assert_eq!(slots.remove_where(|holder| *holder == 0), None);
        assert_eq!(slots.insert(at(2), 2), None);
        assert_eq!(slots.insert(at(2), 3), Some(2));
    }

    /// All addresses of one IPv6 prefix count as one.
    #[test]
    fn addresses_of_one_prefix_count_together() {
        let mut slots = FairSlots::new(3);
        let network = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0).to_bits();
        let host = |host: u128| IpAddr::V6((network | host).into()).into();
        let mapped = IpAddr::V6(Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped()).into();
        slots.insert(at(1), 0);
        slots.insert(host(1), 1);
        slots.insert(host(2), 2);
        assert_eq!(slots.insert(host(3), 3), Some(1));
        // The IPv4 address holds two of three then, the oldest among them.
        assert_eq!(slots.insert(mapped, 4), Some(0));
    }

    proptest! {
        /// An address is evicted only while none holds more.
        #[test]
        fn only_the_largest_address_loses_slots(
            capacity in 1_usize..20,
            hosts in prop::collection::vec(0_u8..5, 1..200),
        ) {
            let mut slots = FairSlots::new(capacity);
            let mut of = Vec::new();
            for (newcomer, host) in hosts.into_iter().enumerate() {
                of.push(host);
                let Some(evicted) = slots.insert(at(host), newcomer) else { continue };
                let held_by = |host: u8| {
                    let left = slots.held.iter().filter(|(from, _)| *from == at(host)).count();
                    left + usize::from(of[evicted] == host)
                };
                prop_assert_eq!(slots.held.len(), capacity);
                let others = (0..5).map(held_by).max();
                prop_assert_eq!(Some(held_by(of[evicted])), others);
                let older = slots.held.iter().any(|(from, it)| *from == at(of[evicted]) && *it < evicted);
                prop_assert!(!older, "an older one stayed");
            }
        }
    }
}
