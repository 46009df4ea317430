//! The look of text output.

use super::palette::Palette;
use super::time::LocalTime;

/// Colours and time zone of text output.
#[derive(Clone, Debug)]
pub(crate) struct Style {
    pub(crate) palette: Palette,
    pub(crate) time: LocalTime,
}
