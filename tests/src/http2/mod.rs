//! HTTP/2 written by hand, frame by frame, for peers that do what no library would let them do.

mod frame;
mod raw;
mod transport;

pub use frame::{Flags, Frame, Headers, Kind, PREFACE};
pub use raw::{Outcome, Raw};
pub use transport::Transport;
