//! Those who are connected, and what each of them holds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{
    Bucket, CertificateNames, Full, Limit, Limits, Policy, Principal, Rate, Redaction, Refused,
    Resource, Role, Roles, Subscriber,
};

/// Principals that are remembered beside those that are connected, so that connecting again does not
/// make a caller a new one.
const REMEMBERED: usize = 1024;

/// All callers: what they may do and hold, and what was refused to them.
#[derive(Debug)]
pub struct Callers {
    policy: Policy,
    redaction: Redaction,
    limits: Limits,
    rate: Option<Rate>,
    start: Instant,
    held: Held,
    refused: Refused,
    shares: Mutex<HashMap<Key, Arc<Share>>>,
}

/// Who made a connection, as long as the connection or one of its calls lasts.
#[derive(Debug)]
pub struct Caller {
    callers: Arc<Callers>,
    principal: Arc<Principal>,
    roles: Roles,
    redaction: Option<Redaction>,
    share: Arc<Share>,
}

/// One of a resource, given back when it is dropped.
#[derive(Debug)]
pub struct Slot {
    caller: Arc<Caller>,
    resource: Resource,
}

/// How many of each [`Resource`] are held.
#[derive(Debug, Default)]
struct Held([AtomicUsize; Resource::COUNT]);

/// What one principal holds, over all of its connections.
#[derive(Debug, Default)]
struct Share {
    held: Held,
    bucket: Bucket,
}

/// What makes two connections one principal's. A port or a group does not make another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Uid(u32),
    Certificate(CertificateNames),
    Address(Subscriber),
}

impl Callers {
    /// Nobody yet.
    #[must_use]
    pub fn new(policy: Policy, redaction: Redaction, limits: Limits) -> Self {
        Self {
            policy,
            redaction,
            limits,
            rate: Rate::per_second(limits.call_rate),
            start: Instant::now(),
            held: Held::default(),
            refused: Refused::default(),
            shares: Mutex::default(),
        }
    }

    /// Takes in a connection.
    ///
    /// # Errors
    /// When there are enough, which is counted.
    pub fn connect(self: &Arc<Self>, principal: Arc<Principal>) -> Result<Arc<Caller>, Full> {
        let share = self.share(&principal);
        if let Err(full) = self.hold(&share, Resource::Connection) {
            self.refused.add(Limit::Connections, &principal, &full);
            return Err(full);
        }
        let roles = self.policy.roles(&principal);
        let redaction = Some(self.redaction).filter(|redaction| !redaction.is_empty());
        let redaction = redaction.filter(|_| !roles.has(Role::Details));
        Ok(Arc::new(Caller { callers: Arc::clone(self), principal, roles, redaction, share }))
    }

    /// How many of a resource are held by everybody together.
    #[must_use]
    pub fn held(&self, resource: Resource) -> usize {
        self.held.0[resource as usize].load(Ordering::Relaxed)
    }

    /// What was refused.
    #[must_use]
    pub const fn refused(&self) -> &Refused {
        &self.refused
    }

    fn hold(&self, share: &Share, resource: Resource) -> Result<(), Full> {
        let limit = self.limits.of(resource);
        if !self.held.raise(resource, self.limits.of_all(resource)) {
            return Err(Full { resource, limit, share: None });
        }
        let own = self.limits.share_of(resource);
        if !share.held.raise(resource, own) {
            self.held.lower(resource);
            return Err(Full { resource, limit, share: Some(own) });
        }
        Ok(())
    }

    fn release(&self, share: &Share, resource: Resource) {
        share.held.lower(resource);
        self.held.lower(resource);
    }

    fn share(&self, principal: &Principal) -> Arc<Share> {
        let key = Key::from(principal);
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(&key) {
            return Arc::clone(share);
        }
        make_room(&mut shares, self.limits.connections.saturating_add(REMEMBERED), self.now());
        Arc::clone(shares.entry(key).or_default())
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Forgets principals that are not connected, once `most` are known: first those of whom there is
/// nothing to remember. There is always one, because `most` is more than may be connected.
fn make_room(shares: &mut HashMap<Key, Arc<Share>>, most: usize, now: Duration) {
    if shares.len() < most {
        return;
    }
    let is_connected = |share: &Arc<Share>| Arc::strong_count(share) > 1;
    shares.retain(|_, share| is_connected(share) || !share.bucket.is_full(now));
    if shares.len() < most {
        return;
    }
    let any = shares.iter().find(|(_, share)| !is_connected(share));
    if let Some(key) = any.map(|(key, _)| key.clone()) {
        shares.remove(&key);
    }
}

impl Caller {
    /// Who it is.
    #[must_use]
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Whether it may do this.
    #[must_use]
    pub const fn has(&self, role: Role) -> bool {
        self.roles.has(role)
    }

    /// What must be stripped from what it is told.
    #[must_use]
    pub const fn redaction(&self) -> Option<Redaction> {
        self.redaction
    }

    /// Takes one of a resource.
    ///
    /// # Errors
    /// When none is left, which is counted.
    pub fn take(self: &Arc<Self>, resource: Resource) -> Result<Slot, Full> {
        match self.callers.hold(&self.share, resource) {
            Ok(()) => Ok(Slot { caller: Arc::clone(self), resource }),
            Err(full) => {
                let limit = match resource {
                    Resource::Connection => Limit::Connections,
                    Resource::Watcher => Limit::Watchers,
                    Resource::Call
                    | Resource::SlowCall
                    | Resource::Stream
                    | Resource::HealthCheck => Limit::Calls,
                };
                self.refuse(limit, &full);
                Err(full)
            }
        }
    }

    /// How many calls it may make in a second; 0 for any number.
    #[must_use]
    pub fn call_rate(&self) -> u32 {
        self.callers.limits.call_rate
    }

    /// Takes a call of those that it may make in a second.
    ///
    /// # Errors
    /// How long there is to wait for the next one. It is not counted.
    pub fn take_call(&self) -> Result<(), Duration> {
        let Some(rate) = self.callers.rate else { return Ok(()) };
        self.share.bucket.take(rate, self.callers.now())
    }

    /// Counts a call that it may not make.
    pub fn deny(&self, what: &dyn std::fmt::Display) {
        self.callers.refused.deny(&self.principal, what);
    }

    /// Counts something that was refused to it.
    pub fn refuse(&self, limit: Limit, what: &dyn std::fmt::Display) {
        self.callers.refused.add(limit, &self.principal, what);
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.callers.release(&self.share, Resource::Connection);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.caller.callers.release(&self.caller.share, self.resource);
    }
}

impl Held {
    fn raise(&self, resource: Resource, limit: usize) -> bool {
        let held = &self.0[resource as usize];
        let more = |count| (count < limit).then_some(count + 1);
        held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn lower(&self, resource: Resource) {
        self.0[resource as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

impl From<&Principal> for Key {
    fn from(principal: &Principal) -> Self {
        match principal {
            Principal::Local { uid, .. } => Self::Uid(*uid),
            Principal::Certificate(names) => Self::Certificate(names.clone()),
            Principal::Anonymous(address) => Self::Address(address.ip().into()),
        }
    }
}

#[cfg(test)]
mod tests;
