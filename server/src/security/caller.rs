//! Those who are connected, and what each of them holds.

mod usage;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use self::usage::{Usage, UsageCounts};
use super::{
    AddressKey, Bucket, CertificateNames, Limit, LimitReached, Limits, MAX_OVERFLOW, Policy,
    Principal, Rate, Redaction, RejectionCounters, Resource, Role, Roles,
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
    held: UsageCounts,
    rejections: RejectionCounters,
    states: Mutex<HashMap<Key, Arc<PrincipalState>>>,
}

/// Who made a connection, as long as the connection or one of its calls lasts.
#[derive(Debug)]
pub struct Caller {
    callers: Arc<Callers>,
    principal: Arc<Principal>,
    roles: Roles,
    redaction: Option<Redaction>,
    state: Arc<PrincipalState>,
    /// What its connection is counted among.
    slot: Resource,
}

/// One of a resource, given back when it is dropped.
#[derive(Debug)]
pub struct Permit {
    caller: Arc<Caller>,
    resource: Resource,
}

/// What one principal holds, over all of its connections.
#[derive(Debug, Default)]
struct PrincipalState {
    held: UsageCounts,
    bucket: Bucket,
}

/// What makes two connections one principal's. A port or a group does not make another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Uid(u32),
    Certificate(CertificateNames),
    Address(AddressKey),
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
            held: UsageCounts::default(),
            rejections: RejectionCounters::default(),
            states: Mutex::default(),
        }
    }

    /// Takes in a connection.
    ///
    /// # Errors
    /// When there are enough, which is counted.
    pub fn connect(
        self: &Arc<Self>,
        principal: &Arc<Principal>,
    ) -> Result<Arc<Caller>, LimitReached> {
        let admitted = self.admit(principal, Resource::Connection);
        admitted.inspect_err(|full| self.rejections.add(Limit::Connections, principal, full))
    }

    /// Takes in a connection to tell that there are enough; `None` where too many are told so already,
    /// which is not counted once more.
    #[must_use]
    pub fn connect_overflow(self: &Arc<Self>, principal: &Arc<Principal>) -> Option<Arc<Caller>> {
        self.admit(principal, Resource::Overflow).ok()
    }

    fn admit(
        self: &Arc<Self>,
        principal: &Arc<Principal>,
        slot: Resource,
    ) -> Result<Arc<Caller>, LimitReached> {
        let state = self.state(principal);
        self.usage(&state).try_acquire(slot, &self.limits)?;
        let roles = self.policy.roles(principal);
        let redaction = Some(self.redaction).filter(|redaction| !redaction.is_empty());
        let redaction = redaction.filter(|_| !roles.has(Role::Details));
        Ok(Arc::new(Caller {
            callers: Arc::clone(self),
            principal: Arc::clone(principal),
            roles,
            redaction,
            state,
            slot,
        }))
    }

    /// How many of a resource are held by everybody together.
    #[must_use]
    pub fn held(&self, resource: Resource) -> usize {
        self.held.count(resource)
    }

    /// What was refused.
    #[must_use]
    pub const fn rejections(&self) -> &RejectionCounters {
        &self.rejections
    }

    const fn usage<'a>(&'a self, state: &'a PrincipalState) -> Usage<'a> {
        Usage { all: &self.held, own: &state.held }
    }

    fn state(&self, principal: &Principal) -> Arc<PrincipalState> {
        let key = Key::from(principal);
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = states.get(&key) {
            return Arc::clone(state);
        }
        forget_disconnected(
            &mut states,
            self.limits.connections.saturating_add(REMEMBERED),
            self.now(),
        );
        Arc::clone(states.entry(key).or_default())
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

/// Forgets principals that are not connected, once `capacity` are known: first those of whom there is
/// nothing to remember. There is always one, because `capacity` is more than may be connected, those who
/// are turned away included.
fn forget_disconnected(
    states: &mut HashMap<Key, Arc<PrincipalState>>,
    capacity: usize,
    now: Duration,
) {
    if states.len() < capacity {
        return;
    }
    let is_connected = |state: &Arc<PrincipalState>| Arc::strong_count(state) > 1;
    states.retain(|_, state| is_connected(state) || !state.bucket.is_full(now));
    if states.len() < capacity {
        return;
    }
    let any = states.iter().find(|(_, state)| !is_connected(state));
    if let Some(key) = any.map(|(key, _)| key.clone()) {
        states.remove(&key);
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
    pub fn acquire(self: &Arc<Self>, resource: Resource) -> Result<Permit, LimitReached> {
        match self.callers.usage(&self.state).try_acquire(resource, &self.callers.limits) {
            Ok(()) => Ok(Permit { caller: Arc::clone(self), resource }),
            Err(full) => {
                let limit = match resource {
                    Resource::Connection | Resource::Overflow => Limit::Connections,
                    Resource::Watcher => Limit::Watchers,
                    Resource::Call
                    | Resource::SlowCall
                    | Resource::Stream
                    | Resource::HealthCheck => Limit::Calls,
                };
                self.reject(limit, &full);
                Err(full)
            }
        }
    }

    /// Whether it could hold so many of a resource if nobody else held any.
    pub fn could_hold(&self, resource: Resource, count: usize) -> bool {
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
    pub fn acquire_call(&self) -> Result<(), Duration> {
        let Some(rate) = self.callers.rate else { return Ok(()) };
        self.state.bucket.take(rate, self.callers.now())
    }

    /// Counts a call that it may not make.
    pub fn deny(&self, what: &dyn std::fmt::Display) {
        self.callers.rejections.deny(&self.principal, what);
    }

    /// Counts something that was refused to it.
    pub fn reject(&self, limit: Limit, what: &dyn std::fmt::Display) {
        self.callers.rejections.add(limit, &self.principal, what);
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.callers.usage(&self.state).release(self.slot);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Caller { callers, state, .. } = &*self.caller;
        callers.usage(state).release(self.resource);
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
