//! Titled blocks of keys and values.

use super::palette::{Palette, Tone};

/// Width of the longest key, `write-protect copy`, and a gap.
const KEY_WIDTH: usize = 20;

/// Keys and values under one title.
#[derive(Debug, Default)]
pub(crate) struct Section {
    title: String,
    rows: Vec<(&'static str, String)>,
}

impl Section {
    pub(crate) fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(self, key: &'static str, value: impl ToString) -> Self {
        self.optional(key, Some(value))
    }

    /// Adds a row for a value that can be absent.
    pub(crate) fn optional(mut self, key: &'static str, value: Option<impl ToString>) -> Self {
        if let Some(value) = value {
            self.rows.push((key, value.to_string()));
        }
        self
    }

    /// Returns the section as text, empty for a section without rows.
    pub(crate) fn text(&self, palette: Palette) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let mut text = palette.paint(Tone::Heading, &self.title) + "\n";
        for (key, value) in &self.rows {
            text.push_str(&format!("  {key:<KEY_WIDTH$}{value}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_without_rows_has_no_title() {
        assert_eq!(Section::new("empty").optional("a", None::<u32>).text(Palette::plain()), "");
    }
}
