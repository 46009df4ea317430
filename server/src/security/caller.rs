//! Those who are connected, and what each of them holds.

mod held;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use self::held::{Account, Held};
use super::{
    Bucket, CertificateNames, Full, Limit, Limits, MAX_OVERFLOW, Policy, Principal, Rate,
    Redaction, Refused, Resource, Role, Roles, Subscriber,
};

/// Principals that are remembered beside those that are connected, so that connecting again does not
/// make a caller a new one.
const REMEMBERED: usize = 1024;
/// So that there is room to remember those who are turned away while they are connected.
const _: () = assert!(REMEMBERED > MAX_OVERFLOW);

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
    /// What its connection is counted among.
    place: Resource,
}

/// One of a resource, given back when it is dropped.
#[derive(Debug)]
pub struct Slot {
    caller: Arc<Caller>,
    resource: Resource,
}

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
    pub fn connect(self: &Arc<Self>, principal: &Arc<Principal>) -> Result<Arc<Caller>, Full> {
        let seated = self.seat(principal, Resource::Connection);
        seated.inspect_err(|full| self.refused.add(Limit::Connections, principal, full))
    }

    /// Takes in a connection to tell that there are enough; `None` where too many are told so already,
    /// which is not counted once more.
    #[must_use]
    pub fn connect_overflow(self: &Arc<Self>, principal: &Arc<Principal>) -> Option<Arc<Caller>> {
        self.seat(principal, Resource::Overflow).ok()
    }

    fn seat(
        self: &Arc<Self>,
        principal: &Arc<Principal>,
        place: Resource,
    ) -> Result<Arc<Caller>, Full> {
        let share = self.share(principal);
        self.account(&share).take(place, &self.limits)?;
        let roles = self.policy.roles(principal);
        let redaction = Some(self.redaction).filter(|redaction| !redaction.is_empty());
        let redaction = redaction.filter(|_| !roles.has(Role::Details));
        Ok(Arc::new(Caller {
            callers: Arc::clone(self),
            principal: Arc::clone(principal),
            roles,
            redaction,
            share,
            place,
        }))
    }

    /// How many of a resource are held by everybody together.
    #[must_use]
    pub fn held(&self, resource: Resource) -> usize {
        self.held.count(resource)
    }

    /// What was refused.
    #[must_use]
    pub const fn refused(&self) -> &Refused {
        &self.refused
    }

    const fn account<'a>(&'a self, share: &'a Share) -> Account<'a> {
        Account { all: &self.held, own: &share.held }
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
/// nothing to remember. There is always one, because `most` is more than may be connected, those who
/// are turned away included.
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
        match self.callers.account(&self.share).take(resource, &self.callers.limits) {
            Ok(()) => Ok(Slot { caller: Arc::clone(self), resource }),
            Err(full) => {
                let limit = match resource {
                    Resource::Connection | Resource::Overflow => Limit::Connections,
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

    /// Whether it could hold so many of a resource if nobody else held any.
    pub fn may_hold(&self, resource: Resource, count: usize) -> bool {
        let others = count.saturating_sub(1);
        self.callers.limits.allow(resource, others, others).is_ok()
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
        self.callers.account(&self.share).give_back(self.place);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Caller { callers, share, .. } = &*self.caller;
        callers.account(share).give_back(self.resource);
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
