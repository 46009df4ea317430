//! Connected callers, and what each of them holds.

mod usage;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use self::usage::{Usage, UsageCounts};
use super::{
    AddressKey, Bucket, CertificateNames, Limit, LimitReached, Limits, MAX_OVERFLOW,
    MAX_WITHOUT_ROLE, Policy, Principal, Rate, Redaction, RejectionCounters, Resource, Role, Roles,
};

/// Principals that are remembered after they disconnect, so that their rate limit survives a reconnect.
const REMEMBERED: usize = 1024;
/// Frames without a call that a principal may send in a second, by all of its connections: pings, settings,
/// and window updates beyond what responses allow. A client that is connected for days sends a few a minute.
const FRAME_RATE: Rate = Rate::with_burst(1024, FRAME_BURST);
/// The same at once: a client begins each connection with some, and opens many connections together.
pub(crate) const FRAME_BURST: u32 = 4096;
/// Overflowing connections are remembered too while they last.
const _: () = assert!(REMEMBERED > MAX_OVERFLOW);

/// All callers: their roles, what they hold, and counters of what was rejected.
#[derive(Debug)]
pub(crate) struct Callers {
    policy: Policy,
    redaction: Redaction,
    limits: Limits,
    rate: Option<Rate>,
    start: Instant,
    held: UsageCounts,
    rejections: RejectionCounters,
    states: Mutex<HashMap<Key, Arc<PrincipalState>>>,
}

/// The peer of a connection, which exists until the connection and all of its calls have ended.
#[derive(Debug)]
pub(crate) struct Caller {
    callers: Arc<Callers>,
    principal: Arc<Principal>,
    roles: Roles,
    redaction: Option<Redaction>,
    state: Arc<PrincipalState>,
    /// The resource that its connection counts as.
    slot: Resource,
}

/// One unit of a resource, released when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    caller: Arc<Caller>,
    resource: Resource,
}

/// The units that one principal holds by all of its connections.
#[derive(Debug, Default)]
struct PrincipalState {
    held: UsageCounts,
    calls: Bucket,
    /// Frames without a call.
    frames: Bucket,
}

/// Identifies the principal of a connection. Its port or group do not make another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Uid(u32),
    Certificate(CertificateNames),
    Address(AddressKey),
}

impl Callers {
    /// Creates the state without callers.
    #[must_use]
    pub(crate) fn new(policy: Policy, redaction: Redaction, limits: Limits) -> Self {
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

    /// Admits a connection.
    ///
    /// # Errors
    /// When there are too many, which is counted.
    pub(crate) fn connect(
        self: &Arc<Self>,
        principal: &Arc<Principal>,
    ) -> Result<Arc<Caller>, LimitReached> {
        let admitted = self.admit(principal, Resource::Connection);
        admitted.inspect_err(|full| self.rejections.add(Limit::Connections, principal, full))
    }

    /// Admits a connection that exceeds the limit, to answer it with a status; `None` if there are too many
    /// of these too. The rejection was counted before.
    #[must_use]
    pub(crate) fn connect_overflow(
        self: &Arc<Self>,
        principal: &Arc<Principal>,
    ) -> Option<Arc<Caller>> {
        self.admit(principal, Resource::Overflow).ok()
    }

    fn admit(
        self: &Arc<Self>,
        principal: &Arc<Principal>,
        slot: Resource,
    ) -> Result<Arc<Caller>, LimitReached> {
        let state = self.state(principal);
        let roles = self.policy.roles(principal);
        let own = state.held.count(Resource::Connection);
        if roles.is_empty() && slot == Resource::Connection && own >= MAX_WITHOUT_ROLE {
            let resource = Resource::ConnectionWithoutRole;
            return Err(LimitReached { resource, limit: MAX_WITHOUT_ROLE, own, free: 0 });
        }
        self.usage(&state).try_acquire(slot, &self.limits)?;
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

    /// Returns how many units of a resource all callers hold.
    #[must_use]
    pub(crate) fn held(&self, resource: Resource) -> usize {
        self.held.count(resource)
    }

    /// Returns the counters of what was rejected.
    #[must_use]
    pub(crate) const fn rejections(&self) -> &RejectionCounters {
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

/// Forgets principals that are not connected, once `capacity` are known: first those whose buckets are
/// full. There is always one, because `capacity` exceeds the number of connections, overflowing ones
/// included.
fn forget_disconnected(
    states: &mut HashMap<Key, Arc<PrincipalState>>,
    capacity: usize,
    now: Duration,
) {
    if states.len() < capacity {
        return;
    }
    let is_connected = |state: &Arc<PrincipalState>| Arc::strong_count(state) > 1;
    let is_full = |state: &PrincipalState| state.calls.is_full(now) && state.frames.is_full(now);
    states.retain(|_, state| is_connected(state) || !is_full(state));
    if states.len() < capacity {
        return;
    }
    let any = states.iter().find(|(_, state)| !is_connected(state));
    if let Some(key) = any.map(|(key, _)| key.clone()) {
        states.remove(&key);
    }
}

impl Caller {
    /// Returns the identity.
    #[must_use]
    pub(crate) fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Returns whether the caller has a role.
    #[must_use]
    pub(crate) const fn has(&self, role: Role) -> bool {
        self.roles.has(role)
    }

    /// Returns the fields to remove from what the caller receives.
    #[must_use]
    pub(crate) const fn redaction(&self) -> Option<Redaction> {
        self.redaction
    }

    /// Acquires one unit of a resource.
    ///
    /// # Errors
    /// When none is left, which is counted.
    pub(crate) fn acquire(self: &Arc<Self>, resource: Resource) -> Result<Permit, LimitReached> {
        match self.callers.usage(&self.state).try_acquire(resource, &self.callers.limits) {
            Ok(()) => Ok(Permit { caller: Arc::clone(self), resource }),
            Err(full) => {
                let limit = match resource {
                    Resource::Connection | Resource::ConnectionWithoutRole | Resource::Overflow => {
                        Limit::Connections
                    }
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

    /// Returns whether the caller could hold so many units of a resource if no other caller held any.
    pub(crate) fn could_hold(&self, resource: Resource, count: usize) -> bool {
        let others = count.saturating_sub(1);
        self.callers.limits.allow(resource, others, others).is_ok()
    }

    /// Returns how many calls it may make in a second; 0 means no limit.
    #[must_use]
    pub(crate) fn call_rate(&self) -> u32 {
        self.callers.limits.call_rate
    }

    /// Counts a call against the caller's rate.
    ///
    /// # Errors
    /// The time until the next call is allowed. The rejection is not counted.
    pub(crate) fn acquire_call(&self) -> Result<(), Duration> {
        let Some(rate) = self.callers.rate else { return Ok(()) };
        self.state.calls.acquire(rate, 1, self.callers.now())
    }

    /// Counts frames without a call against the rate of the principal.
    ///
    /// # Errors
    /// The time until the next frame is allowed. The rejection is not counted.
    pub(crate) fn acquire_frames(&self, frames: u32) -> Result<(), Duration> {
        self.state.frames.acquire(FRAME_RATE, frames, self.callers.now())
    }

    /// Counts a call without the role that it needs.
    pub(crate) fn deny(&self, what: &dyn std::fmt::Display) {
        self.callers.rejections.deny(&self.principal, what);
    }

    /// Counts a rejection because of a limit.
    pub(crate) fn reject(&self, limit: Limit, what: &dyn std::fmt::Display) {
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
