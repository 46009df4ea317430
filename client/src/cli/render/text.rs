//! Text of unknown origin, made fit for a terminal.

use std::borrow::Cow;

/// Returns the text with every character escaped that could drive a terminal or hide itself.
///
/// A task chooses its own command name, so a name can hold escape sequences that would rewrite
/// what stands above it on the screen.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(needs_escape) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if needs_escape(character) {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}

/// Returns the text as one word: quoted where it holds what would end a word.
pub(crate) fn quoted(text: &str) -> Cow<'_, str> {
    let safe = escaped(text);
    if !safe.is_empty() && !safe.contains([' ', '"', '=']) {
        return safe;
    }
    Cow::Owned(format!("\"{}\"", safe.replace('"', "\\\"")))
}

/// Cuts the text to a width in characters; an ellipsis tells.
pub(crate) fn truncate(text: &str, width: usize) -> Cow<'_, str> {
    if text.chars().count() <= width {
        return Cow::Borrowed(text);
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    Cow::Owned(kept + "…")
}

/// Control characters, and those that reorder or hide text; the backslash, so that an escape
/// cannot be forged.
fn needs_escape(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\\'
            | '\u{61c}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2069}'
            | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_stay_as_they_are() {
        for name in ["sh", "kworker/0:1-events", "(sd-pam)", "日本", "a\u{fffd}b"] {
            assert_eq!(escaped(name), name);
        }
    }

    #[test]
    fn nothing_reaches_the_terminal_that_drives_it() {
        assert_eq!(escaped("\u{1b}[2Jx\n"), "\\u{1b}[2Jx\\n");
        assert_eq!(escaped("\u{9b}31m"), "\\u{9b}31m");
        assert_eq!(escaped("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(escaped("\\n"), "\\\\n");
    }

    #[test]
    fn a_word_is_one_word() {
        assert_eq!(quoted("sh"), "sh");
        assert_eq!(quoted(""), "\"\"");
        assert_eq!(quoted("Web Content"), "\"Web Content\"");
        assert_eq!(quoted("a=\"b\""), "\"a=\\\"b\\\"\"");
    }

    #[test]
    fn a_long_text_is_cut_visibly() {
        assert_eq!(truncate("abcd", 4), "abcd");
        assert_eq!(truncate("abcde", 4), "abc…");
    }
}
