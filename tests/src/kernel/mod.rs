//! The kernel's taskstats interface, read a second time and independently of the agent, so that the
//! two can be compared.

mod netlink_table;
mod query;
mod record;
mod reference_listener;
mod socket;
mod wire;

pub use netlink_table::{PortId, port_ids_of};
pub use query::Query;
pub use record::{Record, offset};
pub use reference_listener::{ReferenceListener, SeenExit};
pub use socket::Socket;
