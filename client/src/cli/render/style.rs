//! The look of text output.

use super::palette::Palette;
use super::time::LocalTime;

/// Colours, time zone and width of text output.
#[derive(Clone, Debug)]
pub(crate) struct Style {
    pub(crate) palette: Palette,
    pub(crate) time: LocalTime,
    /// Whether tables have all of their columns.
    pub(crate) is_wide: bool,
}
