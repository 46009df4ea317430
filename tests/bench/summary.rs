//! The report's figures compared with the goals.

use serde::Serialize;

use crate::goals::{Bound, Goal, Part, Value};
use crate::number::digits;
use crate::report::Report;

/// Every goal, and the measured value.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    what: &'static str,
    parts: Vec<Judged>,
}

/// One figure that was judged.
#[derive(Debug, Serialize)]
struct Judged {
    label: &'static str,
    measured: Option<f64>,
    goal: Option<String>,
    aim: String,
    met: Met,
}

/// The verdict on a figure; a row has the worst verdict of its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Met {
    NotMeasured,
    No,
    Goal,
    Aim,
}

impl Summary {
    /// Judges a report.
    pub(crate) fn new(goals: &[Goal], report: &Report) -> Self {
        Self { rows: goals.iter().map(|goal| Row::new(goal, report)).collect() }
    }

    /// The summary as a table for people.
    pub(crate) fn markdown(&self) -> String {
        let head = "| what | measured | goal | aim | met? |\n|---|---|---|---|---|\n".to_owned();
        self.rows.iter().fold(head, |table, row| table + &row.markdown())
    }
}

impl Row {
    fn new(goal: &Goal, report: &Report) -> Self {
        let parts = goal.parts.iter().map(|part| Judged::new(part, report)).collect();
        Self { what: goal.what, parts }
    }

    fn markdown(&self) -> String {
        let column = |text: &dyn Fn(&Judged) -> String| {
            self.parts.iter().map(text).collect::<Vec<_>>().join("; ")
        };
        let met = self.parts.iter().map(|part| part.met).min().unwrap_or(Met::NotMeasured);
        format!(
            "| {} | {} | {} | {} | {} |\n",
            self.what,
            column(&Judged::measured),
            column(&|part| part.goal.clone().unwrap_or_else(|| "–".to_owned())),
            column(&|part| part.aim.clone()),
            met.name(),
        )
    }
}

impl Judged {
    fn new(part: &Part, report: &Report) -> Self {
        let measured = value(part, report);
        Self {
            label: part.label,
            measured,
            goal: part.goal.map(describe),
            aim: describe(part.aim),
            met: measured.map_or(Met::NotMeasured, |measured| Met::of(part, measured)),
        }
    }

    fn measured(&self) -> String {
        let value = self.measured.map_or_else(|| "–".to_owned(), digits);
        if self.label.is_empty() { value } else { format!("{} {value}", self.label) }
    }
}

impl Met {
    /// A part without a goal spoils nothing when it misses its aim.
    fn of(part: &Part, measured: f64) -> Self {
        if part.aim.holds(measured) {
            Self::Aim
        } else if part.goal.is_none_or(|goal| goal.holds(measured)) {
            Self::Goal
        } else {
            Self::No
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::NotMeasured => "not measured",
            Self::No => "**no**",
            Self::Goal => "goal",
            Self::Aim => "aim",
        }
    }
}

fn value(part: &Part, report: &Report) -> Option<f64> {
    let name = part.measurement.name();
    match part.value {
        Value::Median => report.median(name, part.figure),
        Value::Most => report.most(name, part.figure),
        Value::Beside(peer) => report.ratio(name, part.figure, peer),
    }
}

fn describe(bound: Bound) -> String {
    match bound {
        Bound::AtMost(value) if value <= 0.0 => "0".to_owned(),
        Bound::AtMost(value) => format!("≤ {}", short(value)),
        Bound::AtLeast(value) => format!("≥ {}", short(value)),
    }
}

/// A bound without the digits that it does not have.
fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Measurement;

    const PARTS: [Part; 2] = [
        Part {
            label: "a",
            measurement: Measurement::Lost,
            figure: "losses",
            value: Value::Most,
            goal: Some(Bound::AtMost(0.0)),
            aim: Bound::AtMost(0.0),
        },
        Part {
            label: "b",
            measurement: Measurement::Lost,
            figure: "speed",
            value: Value::Median,
            goal: Some(Bound::AtLeast(0.85)),
            aim: Bound::AtLeast(2.0),
        },
    ];
    const GOALS: [Goal; 1] = [Goal { what: "all", parts: &PARTS }];

    fn row(losses: &[f64], speed: &[f64]) -> String {
        let mut report = Report::default();
        for (figure, values) in [("losses", losses), ("speed", speed)] {
            for value in values {
                report.record(Measurement::Lost.name(), figure, "", *value);
            }
        }
        Summary::new(&GOALS, &report).markdown().lines().last().unwrap().to_owned()
    }

    /// The row shows the value of its worst part.
    #[test]
    fn a_row_is_as_good_as_its_worst_part() {
        assert_eq!(row(&[0.0], &[1.0]), "| all | a 0; b 1.000 | 0; ≥ 0.85 | 0; ≥ 2 | goal |");
        assert!(row(&[0.0], &[3.0]).ends_with("| aim |"));
        assert!(row(&[0.0], &[0.5]).ends_with("| **no** |"));
    }

    /// A median of losses would hide those of two rounds in five.
    #[test]
    fn one_round_with_losses_is_one_too_many() {
        assert!(row(&[0.0, 0.0, 7.0], &[3.0]).ends_with("| **no** |"));
    }

    /// A part that was not measured does not pass.
    #[test]
    fn a_figure_that_is_missing_is_reported() {
        assert!(row(&[], &[3.0]).ends_with("| not measured |"));
    }
}
