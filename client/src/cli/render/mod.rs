//! Text and JSON for everything that the commands print.

pub(crate) mod certificates;
pub(crate) mod columns;
pub(crate) mod exit_columns;
pub(crate) mod exit_table;
pub(crate) mod exited;
pub(crate) mod exits;
pub(crate) mod fields;
pub(crate) mod json;
pub(crate) mod node;
pub(crate) mod output;
pub(crate) mod owner;
pub(crate) mod palette;
pub(crate) mod section;
pub(crate) mod signals;
pub(crate) mod style;
pub(crate) mod task;
pub(crate) mod terminal;
pub(crate) mod text;
pub(crate) mod time;
pub(crate) mod units;
