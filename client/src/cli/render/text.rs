//! Text of unknown origin, made safe for a terminal.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Marks text that was cut.
const ELLIPSIS: char = '…';

/// Returns the text with every character escaped that could drive a terminal or hide itself.
///
/// A task chooses its own command name, so a name can hold escape sequences that would rewrite what
/// is above it on the screen. Escapes have the form of JSON, such as `\u001b`. A backslash is
/// doubled, so that no text can imitate an escape.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    escape(text, |character| character == '\\' || is_unsafe(character))
}

/// Returns a JSON document with every character escaped that could drive a terminal.
///
/// JSON itself requires an escape for the characters below U+0020 only. Outside of strings a
/// document consists of printable ASCII and white space, so the escapes land inside strings.
pub(crate) fn escaped_json(document: &str) -> Cow<'_, str> {
    escape(document, |character| character != '\n' && is_unsafe(character))
}

/// Returns the text as one word, in quotes where it is empty or holds a separator.
pub(crate) fn quoted(text: &str) -> Cow<'_, str> {
    let safe = escaped(text);
    if !safe.is_empty() && !safe.contains([' ', '"', '=']) {
        return safe;
    }
    Cow::Owned(format!("\"{}\"", safe.replace('"', "\\\"")))
}

/// Returns the columns that the text occupies on a terminal.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// Cuts the text to a number of terminal columns, with an ellipsis for the rest.
pub(crate) fn truncate(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let Some(mut left) = columns.checked_sub(1) else { return Cow::Borrowed("") };
    let mut kept = String::new();
    for character in text.chars() {
        let width = character.width().unwrap_or(0);
        if width > left {
            break;
        }
        left -= width;
        kept.push(character);
    }
    kept.push(ELLIPSIS);
    Cow::Owned(kept)
}

fn escape(text: &str, needs_escape: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&needs_escape) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        if needs_escape(character) {
            push_escape(&mut safe, character);
        } else {
            safe.push(character);
        }
    }
    Cow::Owned(safe)
}

fn push_escape(out: &mut String, character: char) {
    match character {
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        _ => {
            for unit in character.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
}

/// Returns true for control characters (C0, DEL, C1) and for characters that reorder or hide text.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn printable_names_are_unchanged() {
        for name in ["sh", "kworker/0:1-events", "(sd-pam)", "日本", "a\u{fffd}b"] {
            assert_eq!(escaped(name), name);
        }
    }

    #[test]
    fn control_and_reordering_characters_are_escaped() {
        assert_eq!(escaped("\u{1b}[2Jx\n"), "\\u001b[2Jx\\n");
        assert_eq!(escaped("\u{9b}31m"), "\\u009b31m");
        assert_eq!(escaped("\u{7f}"), "\\u007f");
        assert_eq!(escaped("a\u{202e}b"), "a\\u202eb");
        assert_eq!(escaped("\u{e0041}"), "\\udb40\\udc41");
        assert_eq!(escaped("\\n"), "\\\\n");
    }

    #[test]
    fn a_quoted_text_is_one_word() {
        assert_eq!(quoted("sh"), "sh");
        assert_eq!(quoted(""), "\"\"");
        assert_eq!(quoted("Web Content"), "\"Web Content\"");
        assert_eq!(quoted("a=\"b\""), "\"a=\\\"b\\\"\"");
    }

    #[test]
    fn a_cut_text_ends_with_an_ellipsis() {
        assert_eq!(truncate("abcd", 4), "abcd");
        assert_eq!(truncate("abcde", 4), "abc…");
        assert_eq!(truncate("日本語", 4), "日…");
        assert_eq!(width(&truncate("日本語", 3)), 3);
        assert_eq!(truncate("abc", 0), "");
    }

    proptest! {
        /// An escaped document has the same meaning, and nothing in it drives a terminal.
        #[test]
        fn an_escaped_document_is_the_same_document(text: String) {
            let document = serde_json::to_string(&text).unwrap();
            let safe = escaped_json(&document);
            prop_assert!(!safe.chars().any(is_unsafe));
            prop_assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), text);
        }
    }
}
