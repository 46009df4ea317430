//! HTTP/2 written frame by frame, for peers that do what no library allows.

mod frame;
mod raw;
mod transport;

pub use frame::{Flags, Frame, Headers, Kind, PREFACE};
pub use raw::{Outcome, Raw};
pub use transport::Transport;
