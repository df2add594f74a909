//! The table of results.

use std::fmt::Write;
use std::fs;

use std::time::Duration;

use crate::rounds::{Measured, ROUNDS, Ratio, Turn};

/// The goal of a result.
#[derive(Clone, Copy)]
pub enum Goal {
    /// This much or more.
    AtLeast(f64),
    /// This much or less.
    AtMost(f64),
    /// It is told for its own sake.
    None,
}

impl Goal {
    /// Whether this value will do.
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
            Self::None => true,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(least) => format!(">= {}", short(least)),
            Self::AtMost(most) => format!("<= {}", short(most)),
            Self::None => String::new(),
        }
    }
}

/// One line of the table.
pub struct Line {
    /// The measured action, and the number of clients.
    pub case: String,
    /// The unit of `ours` and `theirs`.
    pub unit: &'static str,
    /// The median of the media server's.
    pub ours: f64,
    /// The server that it is compared with.
    pub peer: String,
    /// The median of the peer's.
    pub theirs: Option<f64>,
    /// Ours to theirs, round by round.
    pub ratio: Option<Ratio>,
    /// Of the ratio, or of `ours` if there is none.
    pub goal: Goal,
    /// The cost of the servers; zero if it was not measured.
    pub costs: Option<[Cost; 2]>,
}

/// The cost of a server.
pub struct Cost {
    /// Milliseconds of processor time per unit of work.
    pub cpu: f64,
    /// MiB of memory at the peak.
    pub peak: f64,
}

impl Cost {
    fn of(side: &Measured) -> Self {
        Self { cpu: side.median(|turn| turn.cpu) * 1000.0, peak: side.peak() as f64 / 1024.0 }
    }
}

impl Line {
    /// The value that has the goal.
    pub fn judged(&self) -> f64 {
        self.ratio.map_or(self.ours, |ratio| ratio.median)
    }
}

/// The results so far.
pub struct Report {
    head: String,
    /// The lines.
    pub lines: Vec<Line>,
    notes: Vec<String>,
}

impl Report {
    /// Without results.
    pub fn new(time: Duration) -> Self {
        Self { head: conditions(time), lines: Vec::new(), notes: Vec::new() }
    }

    /// Adds the rates of two sides, and their costs.
    pub fn rate(&mut self, case: &str, unit: &'static str, ours: &Measured, theirs: &Measured, goal: Goal) {
        self.compare(case, unit, ours, theirs, goal, |turn| turn.rate);
    }

    /// Adds the times that 99 of 100 requests took at most; the case is called `case`, p99.
    pub fn p99(&mut self, case: &str, ours: &Measured, theirs: &Measured, goal: Goal) {
        self.compare(&format!("{case}, p99"), "ms", ours, theirs, goal, |turn| turn.p99 * 1000.0);
    }

    /// Adds another quantity of two sides, and their costs.
    pub fn compare(
        &mut self,
        case: &str,
        unit: &'static str,
        ours: &Measured,
        theirs: &Measured,
        goal: Goal,
        quantity: impl Fn(&Turn) -> f64,
    ) {
        self.add(Line {
            case: case.to_owned(),
            unit,
            ours: ours.median(&quantity),
            peer: theirs.name.to_owned(),
            theirs: Some(theirs.median(&quantity)),
            ratio: Some(Ratio::of(ours, theirs, quantity)),
            goal,
            costs: Some([Cost::of(ours), Cost::of(theirs)]),
        });
    }

    /// Adds a value that has a goal of its own, beside a peer's if there is one.
    pub fn value(
        &mut self,
        case: &str,
        unit: &'static str,
        ours: f64,
        peer: Option<(&str, f64)>,
        goal: Goal,
    ) {
        self.add(Line {
            case: case.to_owned(),
            unit,
            ours,
            peer: peer.map_or_else(String::new, |(name, _)| name.to_owned()),
            theirs: peer.map(|(_, value)| value),
            ratio: None,
            goal,
            costs: None,
        });
    }

    /// Adds a line.
    pub fn add(&mut self, line: Line) {
        tell(&row(&line));
        self.lines.push(line);
    }

    /// Adds text below the table.
    pub fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }

    /// All of it.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n\n{}\n", self.head, heading());
        for line in &self.lines {
            let _ = writeln!(text, "{}", row(line));
        }
        let (met, judged) = (self.count(true), self.count(true) + self.count(false));
        let _ = writeln!(text, "\n{met} of {judged} goals met. Load average now: {}", load_average());
        for note in &self.notes {
            let _ = writeln!(text, "\n{note}");
        }
        text
    }

    fn count(&self, met: bool) -> usize {
        let judged = self.lines.iter().filter(|line| !matches!(line.goal, Goal::None));
        judged.filter(|line| line.goal.is_met(line.judged()) == met).count()
    }
}

/// The conditions of the measurement.
pub fn conditions(time: Duration) -> String {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    format!(
        "{processors} processors, load average before {}; {ROUNDS} rounds of {:.1} s a side",
        load_average(),
        time.as_secs_f64()
    )
}

fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn heading() -> String {
    format!(
        "{:52} {:>9} {:6} {:24} {:>9}  {:>22}  {:8} {:6}  {:>17}  {:>13}",
        "case",
        "ours",
        "",
        "peer",
        "theirs",
        "ratio (low-high)",
        "goal",
        "",
        "CPU ms/unit o|t",
        "peak MiB o|t"
    )
}

fn row(line: &Line) -> String {
    let theirs = line.theirs.map_or_else(String::new, short);
    let ratio = line.ratio.map_or_else(String::new, |ratio| {
        format!("{} ({}-{})", short(ratio.median), short(ratio.low), short(ratio.high))
    });
    let verdict = match line.goal {
        Goal::None => "",
        goal if goal.is_met(line.judged()) => "met",
        _ => "MISSED",
    };
    let costs = line.costs.as_ref().map_or_else(String::new, |[ours, other]| {
        let cpu = format!("{} | {}", short(ours.cpu), short(other.cpu));
        format!("{cpu:>17}  {:>5.0} | {:>5.0}", ours.peak, other.peak)
    });
    let (case, ours, unit, peer, goal) =
        (&line.case, short(line.ours), line.unit, &line.peer, line.goal.text());
    let text = format!(
        "{case:52} {ours:>9} {unit:6} {peer:24} {theirs:>9}  {ratio:>22}  {goal:8} {verdict:6}  {costs}"
    );
    text.trim_end().to_owned()
}

/// Three digits that count.
fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// Tells the user something.
#[allow(clippy::print_stdout, reason = "a program of its own")]
pub fn tell(text: &str) {
    println!("{text}");
}
