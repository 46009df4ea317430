//! Cursors in the form of `--after`.

use crate::Cursor;

const FORM: &str = "not INSTANCE:SEQUENCE, as a watch prints it when it ends";

/// Returns a cursor in the form that [`parse_cursor`] reads.
pub(crate) fn format_cursor(cursor: &Cursor) -> String {
    format!("{}:{}", cursor.instance_id, cursor.sequence)
}

/// Parses `INSTANCE:SEQUENCE`.
///
/// The contract does not limit the characters of an instance id, so that the last colon separates.
pub(crate) fn parse_cursor(text: &str) -> Result<Cursor, &'static str> {
    let (instance, sequence) = text.trim().rsplit_once(':').ok_or(FORM)?;
    if instance.is_empty() {
        return Err(FORM);
    }
    let sequence = sequence.parse().map_err(|_| FORM)?;
    Ok(Cursor { instance_id: instance.to_owned(), sequence })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formatted_cursor_parses_to_itself() {
        for instance in ["8d5c1f8e-95a4-4f0c-9a6b-0e7f7c1c2a55", "a:b"] {
            let cursor = Cursor { instance_id: instance.to_owned(), sequence: u64::MAX };
            assert_eq!(parse_cursor(&format_cursor(&cursor)), Ok(cursor));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", ":", ":7", "run1", "run1:", "run1:x", "run1:-1", "run1: 7"] {
            assert!(parse_cursor(text).is_err(), "{text:?}");
        }
    }
}
