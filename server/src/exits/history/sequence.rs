//! The range of sequence numbers.

/// Sequence of a run's first exit.
pub(super) const FIRST_SEQUENCE: u64 = 1;
/// No run comes so far: it would take 292,000 years at a million exits a second. Below it, nothing
/// that counts exits overflows.
pub(super) const MAX_SEQUENCE: u64 = 1 << 63;
