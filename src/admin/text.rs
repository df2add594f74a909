//! The text format of Prometheus, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats>).

use std::fmt::{self, Write};

use crate::metrics::{BOUNDS, Histogram};

/// The media type of the format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A text of metric families.
#[derive(Default)]
pub(super) struct MetricsText(String);

/// The type of a family's samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FamilyKind {
    /// Only grows while the process runs.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of durations in buckets.
    Histogram,
}

impl MetricsText {
    /// Begins a family. Its samples must be written before the next family begins.
    pub fn family(&mut self, name: &'static str, kind: FamilyKind, help: &str) -> Family<'_> {
        let kind = match kind {
            FamilyKind::Counter => "counter",
            FamilyKind::Gauge => "gauge",
            FamilyKind::Histogram => "histogram",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let text = &mut self.0;
        write(text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Family { text, name }
    }

    /// The whole text.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0.into_bytes()
    }
}

/// A name and its samples.
pub(super) struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

/// A label's name and value.
pub(super) type Label<'a> = (&'static str, &'a str);

impl Family<'_> {
    /// Adds a sample without labels.
    pub fn value(&mut self, number: impl Into<MetricValue>) {
        self.sample(&[], number);
    }

    /// Adds a sample with these labels.
    pub fn sample(&mut self, labels: &[Label<'_>], number: impl Into<MetricValue>) {
        self.line("", labels, number.into());
    }

    /// Adds the samples of a histogram with these labels, in seconds.
    pub fn histogram(&mut self, labels: &[Label<'_>], histogram: &Histogram) {
        let cumulated = histogram.cumulated();
        for (bound, count) in BOUNDS.iter().zip(cumulated) {
            self.bucket(labels, &bound.as_secs_f64().to_string(), count);
        }
        // The sum is read after the counts: it may hold more durations than they do, never fewer.
        let [.., all] = cumulated;
        self.bucket(labels, "+Inf", all);
        self.line("_sum", labels, histogram.total().as_secs_f64().into());
        self.line("_count", labels, all.into());
    }

    fn bucket(&mut self, labels: &[Label<'_>], bound: &str, count: u64) {
        let labels: Vec<_> = labels.iter().copied().chain([("le", bound)]).collect();
        self.line("_bucket", &labels, count.into());
    }

    fn line(&mut self, suffix: &str, labels: &[Label<'_>], number: MetricValue) {
        let Self { text, name } = self;
        write(text, format_args!("{name}{suffix}"));
        for (at, (label, value)) in labels.iter().enumerate() {
            let open = if at == 0 { '{' } else { ',' };
            write(text, format_args!("{open}{label}=\"{}\"", Escaped(value)));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        write(text, format_args!("{close} {number}\n"));
    }
}

/// A sample's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum MetricValue {
    Whole(u64),
    Real(f64),
}

impl From<u64> for MetricValue {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<u32> for MetricValue {
    fn from(number: u32) -> Self {
        Self::Whole(number.into())
    }
}

impl From<usize> for MetricValue {
    fn from(number: usize) -> Self {
        Self::Whole(number as u64)
    }
}

impl From<bool> for MetricValue {
    fn from(yes: bool) -> Self {
        Self::Whole(yes.into())
    }
}

impl From<f64> for MetricValue {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl fmt::Display for MetricValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(number) => number.fmt(f),
            Self::Real(number) if number.is_infinite() => {
                f.write_str(if *number > 0.0 { "+Inf" } else { "-Inf" })
            }
            Self::Real(number) => number.fmt(f),
        }
    }
}

/// A label's value with `\`, `"` and line ends escaped.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

fn write(text: &mut String, arguments: fmt::Arguments<'_>) {
    // Writing to memory can't fail.
    let _ = text.write_fmt(arguments);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::exposition_parser::{Sample, parse};
    use super::*;

    #[test]
    fn values_are_written_as_the_format_demands() {
        let mut text = MetricsText::default();
        let mut family = text.family("a", FamilyKind::Gauge, "A.");
        family.value(u64::MAX);
        family.sample(&[("b", "1")], 0.25);
        family.sample(&[("b", "2")], f64::INFINITY);
        family.sample(&[("b", "3")], f64::NEG_INFINITY);
        family.sample(&[("b", "4")], f64::NAN);
        family.sample(&[("b", "5")], true);
        assert_eq!(
            text.0,
            "# HELP a A.\n# TYPE a gauge\na 18446744073709551615\na{b=\"1\"} 0.25\na{b=\"2\"} +Inf\n\
             a{b=\"3\"} -Inf\na{b=\"4\"} NaN\na{b=\"5\"} 1\n"
        );
    }

    #[test]
    fn line_ends_quotes_and_backslashes_are_escaped() {
        let (help, value) = ("two\nlines \\ \"quoted\".", "\\\"\n,}\u{e9} ");
        let mut text = MetricsText::default();
        text.family("a_total", FamilyKind::Counter, help).sample(&[("b", value), ("c", "")], 1_u64);
        assert!(text.0.starts_with("# HELP a_total two\\nlines \\\\ \"quoted\".\n"), "{}", text.0);
        let families = parse(&text.0).unwrap();
        assert_eq!(families[0].help, help);
        let labels = vec![("b".to_owned(), value.to_owned()), ("c".to_owned(), String::new())];
        assert_eq!(families[0].samples, [Sample { name: "a_total".to_owned(), labels, value: 1.0 }]);
    }

    #[test]
    fn a_histogram_has_its_buckets_its_sum_and_its_count() {
        let histogram = Histogram::default();
        for milliseconds in [1, 7, 90_000] {
            histogram.observe(Duration::from_millis(milliseconds));
        }
        let mut text = MetricsText::default();
        text.family("t_seconds", FamilyKind::Histogram, "T.").histogram(&[("route", "list")], &histogram);
        parse(&text.0).unwrap();
        for line in [
            "t_seconds_bucket{route=\"list\",le=\"0.001\"} 1",
            "t_seconds_bucket{route=\"list\",le=\"0.01\"} 2",
            "t_seconds_bucket{route=\"list\",le=\"60\"} 2",
            "t_seconds_bucket{route=\"list\",le=\"+Inf\"} 3",
            "t_seconds_sum{route=\"list\"} 90.008",
            "t_seconds_count{route=\"list\"} 3",
        ] {
            assert!(text.0.lines().any(|known| known == line), "{line}\n{}", text.0);
        }
    }
}
