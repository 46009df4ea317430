//! Figures: a value for each round, and ratios within the rounds.

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::effort::Effort;
use crate::number::{digits, median};
use crate::summary::Summary;

/// All figures of a run, in the order in which they were first recorded.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    figures: Vec<Figure>,
}

/// The conditions of the figures.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Machine {
    /// The kernel's release.
    pub(crate) kernel: String,
    /// The CPUs that run, in list form.
    pub(crate) cpus: String,
    /// The duration of the run.
    pub(crate) effort: Effort,
}

/// One figure over the rounds.
#[derive(Debug, Serialize)]
struct Figure {
    measurement: &'static str,
    name: String,
    unit: &'static str,
    median: f64,
    rounds: Vec<f64>,
    beside: Vec<Ratio>,
}

/// A figure relative to another one of the same measurement.
#[derive(Debug, Serialize)]
struct Ratio {
    to: String,
    median: f64,
    rounds: Vec<f64>,
}

impl Report {
    /// Creates a report without figures.
    pub(crate) const fn new(machine: Machine) -> Self {
        Self { machine, figures: Vec::new() }
    }

    /// Adds one round's value of a figure.
    pub(crate) fn record(
        &mut self,
        measurement: &'static str,
        name: impl Into<String>,
        unit: &'static str,
        value: f64,
    ) {
        let name = name.into();
        let found = self.figures.iter_mut().find(|figure| figure.is(measurement, &name));
        let figure = match found {
            Some(figure) => figure,
            None => self.figures.push_mut(Figure::new(measurement, name, unit)),
        };
        figure.rounds.push(value);
        figure.median = median(&figure.rounds);
    }

    /// Adds the figures of a complete round. An incomplete round is left out, so that all figures
    /// have the same rounds.
    pub(crate) fn absorb(&mut self, round: Self) {
        for figure in round.figures {
            for value in figure.rounds {
                self.record(figure.measurement, figure.name.clone(), figure.unit, value);
            }
        }
    }

    /// Relates a figure to another one, round by round.
    pub(crate) fn relate(&mut self, measurement: &str, name: &str, to: &str) -> Result<()> {
        let peer = self.figure(measurement, to)?.rounds.clone();
        let figure = self.figure(measurement, name)?;
        ensure!(figure.rounds.len() == peer.len(), "{name} and {to} have other rounds");
        let rounds: Vec<f64> =
            figure.rounds.iter().zip(&peer).map(|(value, peer)| value / peer).collect();
        let ratio = Ratio { to: to.to_owned(), median: median(&rounds), rounds };
        figure.beside.push(ratio);
        Ok(())
    }

    /// The figures as a table for people.
    pub(crate) fn markdown(&self) -> String {
        let mut table = String::from(
            "| measurement | figure | median | range | unit | beside |\n|---|---|--:|---|---|---|\n",
        );
        for figure in &self.figures {
            table.push_str(&figure.row());
        }
        table
    }

    /// The figures of every round and the summary, for programs.
    pub(crate) fn json(&self, summary: &Summary) -> Result<String> {
        #[derive(Serialize)]
        struct Document<'a> {
            #[serde(flatten)]
            report: &'a Report,
            summary: &'a Summary,
        }
        let document = Document { report: self, summary };
        serde_json::to_string_pretty(&document).context("write the figures")
    }

    /// The median of a figure; `None` if it was not measured.
    pub(crate) fn median(&self, measurement: &str, name: &str) -> Option<f64> {
        Some(self.find(measurement, name)?.median)
    }

    /// The largest value of a figure in any round.
    pub(crate) fn most(&self, measurement: &str, name: &str) -> Option<f64> {
        Some(range(&self.find(measurement, name)?.rounds).1)
    }

    /// The median ratio of a figure to another one that it was related to.
    pub(crate) fn ratio(&self, measurement: &str, name: &str, to: &str) -> Option<f64> {
        let beside = &self.find(measurement, name)?.beside;
        beside.iter().find(|ratio| ratio.to == to).map(|ratio| ratio.median)
    }

    fn find(&self, measurement: &str, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.is(measurement, name))
    }

    fn figure(&mut self, measurement: &str, name: &str) -> Result<&mut Figure> {
        let found = self.figures.iter_mut().find(|figure| figure.is(measurement, name));
        found.with_context(|| format!("no figure {name:?} of {measurement}"))
    }
}

impl Figure {
    fn new(measurement: &'static str, name: String, unit: &'static str) -> Self {
        Self { measurement, name, unit, median: 0.0, rounds: Vec::new(), beside: Vec::new() }
    }

    fn is(&self, measurement: &str, name: &str) -> bool {
        self.measurement == measurement && self.name == name
    }

    fn row(&self) -> String {
        let (least, most) = range(&self.rounds);
        let mut row = format!(
            "| {} | {} | {} | {} – {} | {} | ",
            self.measurement,
            self.name,
            digits(self.median),
            digits(least),
            digits(most),
            self.unit,
        );
        let ratios = self.beside.iter().map(|ratio| format!("{:.2} × {}", ratio.median, ratio.to));
        row.push_str(&ratios.collect::<Vec<_>>().join("; "));
        row.push_str(" |\n");
        row
    }
}

fn range(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), &value| {
        (least.min(value), most.max(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both variants slow down in the second round; their ratio does not move, and the ratio of
    /// the medians would be another.
    #[test]
    fn ratios_are_taken_within_a_round() {
        let mut report = Report::default();
        for (agent, peer) in [(2.0, 1.0), (8.0, 4.0), (9.0, 3.0)] {
            report.record("exits", "agent", "µs", agent);
            report.record("exits", "peer", "µs", peer);
        }
        report.relate("exits", "agent", "peer").unwrap();
        assert!(
            report
                .markdown()
                .contains("| exits | agent | 8.000 | 2.000 – 9.000 | µs | 2.00 × peer |")
        );
    }

    /// The rounds of a figure are kept together.
    #[test]
    fn rounds_are_absorbed_in_order() {
        let mut report = Report::default();
        for value in [2.0, 9.0, 4.0] {
            let mut round = Report::default();
            round.record("exits", "agent", "µs", value);
            report.absorb(round);
        }
        assert_eq!(report.find("exits", "agent").unwrap().rounds, [2.0, 9.0, 4.0]);
    }

    /// A misspelt name is an error.
    #[test]
    fn what_was_not_measured_cannot_be_related() {
        assert!(Report::default().relate("exits", "agent", "peer").is_err());
    }
}
