//! Places in the exits of a run of the agent, as `--after` takes them.

use crate::Cursor;

const FORM: &str = "not INSTANCE:SEQUENCE, as an earlier watch told it at its end";

/// Shows a place in the form that [`parse_cursor`] reads.
pub(crate) fn format_cursor(cursor: &Cursor) -> String {
    format!("{}:{}", cursor.instance_id, cursor.sequence)
}

/// Reads `INSTANCE:SEQUENCE`. The contract does not say what an instance is made of, so the last
/// colon counts.
pub(crate) fn parse_cursor(text: &str) -> Result<Cursor, &'static str> {
    let (instance, sequence) = text.rsplit_once(':').ok_or(FORM)?;
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
    fn a_place_reads_back_as_it_is_shown() {
        for instance in ["8d5c1f8e-95a4-4f0c-9a6b-0e7f7c1c2a55", "a:b"] {
            let cursor = Cursor { instance_id: instance.to_owned(), sequence: u64::MAX };
            assert_eq!(parse_cursor(&format_cursor(&cursor)), Ok(cursor));
        }
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for text in ["", ":", ":7", "run1", "run1:", "run1:x", "run1:-1", "run1:7 "] {
            assert!(parse_cursor(text).is_err(), "{text:?}");
        }
    }
}
