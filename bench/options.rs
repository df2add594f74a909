//! The rows to measure and their duration, from the environment, so that `make bench` passes them on.

use std::time::Duration;

use crate::report::Report;

/// Something that is measured.
pub struct Row {
    /// Its name in `BENCH_ROWS`.
    pub name: &'static str,
    /// A short description.
    pub about: &'static str,
    /// Measures it.
    pub run: fn(&Options, &mut Report),
}

/// The user's choice.
pub struct Options {
    /// The rows to measure.
    pub rows: Vec<&'static Row>,
    /// How long one side is measured in one round.
    pub time: Duration,
}

impl Options {
    /// Reads `BENCH_ROWS` (names separated by commas; all if unset) and `BENCH_SECONDS` (2 if unset).
    pub fn read(table: &'static [Row]) -> Result<Self, String> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let rows = match variable("BENCH_ROWS") {
            Some(names) => chosen(table, &names)?,
            None => table.iter().collect(),
        };
        let seconds = match variable("BENCH_SECONDS") {
            Some(text) => text.trim().parse().ok().filter(|seconds| (0.05..=60.0).contains(seconds)),
            None => Some(2.0),
        };
        let seconds: f64 = seconds.ok_or("BENCH_SECONDS must be a number from 0.05 to 60")?;
        Ok(Self { rows, time: Duration::from_secs_f64(seconds) })
    }
}

fn chosen(table: &'static [Row], names: &str) -> Result<Vec<&'static Row>, String> {
    let row = |name: &str| table.iter().find(|row| row.name == name);
    names.split(',').map(|name| row(name.trim()).ok_or_else(|| unknown(table, name))).collect()
}

fn unknown(table: &[Row], name: &str) -> String {
    let known: Vec<String> = table.iter().map(|row| format!("  {:10} {}", row.name, row.about)).collect();
    format!("BENCH_ROWS: no row {name:?}; there are\n{}", known.join("\n"))
}
