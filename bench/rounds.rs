//! Sides that are measured in turns, so that what else the machine does hits all of them alike.

use std::time::Duration;

use crate::process::{Tree, own_cpu};

/// Rounds of a comparison.
pub const ROUNDS: usize = 3;
/// The part of a turn's time that each side first runs unmeasured.
const WARM_UP: f64 = 0.15;

/// One side of a comparison.
pub struct Side<'a> {
    /// Its name.
    pub name: &'static str,
    /// The servers whose costs are looked at.
    pub servers: Vec<Tree>,
    /// Does its work for about this long.
    pub run: Box<dyn FnMut(Duration) -> Done + 'a>,
}

impl<'a> Side<'a> {
    /// A side whose server's costs are looked at.
    pub fn new(name: &'static str, server: u32, run: impl FnMut(Duration) -> Done + 'a) -> Self {
        Self { name, servers: vec![Tree(server)], run: Box::new(run) }
    }
}

/// The work of a turn.
pub struct Done {
    /// How much, in the row's unit.
    pub units: f64,
    /// How long it took.
    pub time: Duration,
    /// The time that 99 of 100 requests took at most.
    pub p99: Duration,
}

/// The result of a turn.
#[derive(Clone, Copy)]
pub struct Turn {
    /// Units per second.
    pub rate: f64,
    /// Seconds of the server's processor time per unit.
    pub cpu: f64,
    /// The same of the client, which is this program.
    pub client_cpu: f64,
    /// KiB of the server's memory at the peak.
    pub peak: u64,
    /// See [`Done::p99`], in seconds.
    pub p99: f64,
}

/// A side's name and what its turns showed.
pub struct Measured {
    /// Its name.
    pub name: &'static str,
    /// One for each round.
    pub turns: Vec<Turn>,
}

/// Measures the sides in turns, each round beginning with another one. In no time, each does one unit of work, and none
/// before that.
pub fn alternate(time: Duration, mut sides: Vec<Side>) -> Vec<Measured> {
    if !time.is_zero() {
        for side in &mut sides {
            (side.run)(time.mul_f64(WARM_UP));
        }
    }
    let mut all = Vec::new();
    for number in 0..ROUNDS {
        round(number, time, &mut sides, &mut all);
    }
    all
}

/// Measures each side once, without a warm-up, and adds the turns to `all`, which is empty before the first round. Each
/// round begins with another side.
pub fn round(number: usize, time: Duration, sides: &mut [Side], all: &mut Vec<Measured>) {
    if all.is_empty() {
        all.extend(sides.iter().map(|side| Measured { name: side.name, turns: Vec::new() }));
    }
    for place in 0..sides.len() {
        let next = (number + place) % sides.len();
        all[next].turns.push(take_turn(&mut sides[next], time));
    }
}

fn take_turn(side: &mut Side, time: Duration) -> Turn {
    let servers = side.servers.clone();
    servers.iter().for_each(|server| server.forget_peak());
    let times = || [servers.iter().map(|server| server.cpu()).sum(), own_cpu()];
    let before = times();
    let done = (side.run)(time);
    let after = times();
    assert!(done.units > 0.0, "{} did nothing", side.name);
    let [cpu, client_cpu] = [0, 1].map(|number| (after[number] - before[number]) / done.units);
    Turn {
        rate: done.units / done.time.as_secs_f64(),
        cpu,
        client_cpu,
        peak: servers.iter().map(|server| server.peak()).sum(),
        p99: done.p99.as_secs_f64(),
    }
}

/// The middle one of a side's turns, and the ratios of two sides' turns.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Medians and extremes of per-round ratios.
#[derive(Clone, Copy)]
pub struct Ratio {
    /// The middle one.
    pub median: f64,
    /// The smallest.
    pub low: f64,
    /// The largest.
    pub high: f64,
}

impl Ratio {
    /// Of this quantity of two sides, round by round.
    pub fn of(ours: &Measured, theirs: &Measured, quantity: impl Fn(&Turn) -> f64) -> Self {
        let pairs = ours.turns.iter().zip(&theirs.turns);
        let ratios: Vec<f64> = pairs.map(|(own, other)| quantity(own) / quantity(other)).collect();
        let extreme = |pick: fn(f64, f64) -> f64| ratios.iter().copied().reduce(pick).unwrap_or(f64::NAN);
        Self { median: median(ratios.clone()), low: extreme(f64::min), high: extreme(f64::max) }
    }
}

impl Measured {
    /// The median of this quantity.
    pub fn median(&self, quantity: impl Fn(&Turn) -> f64) -> f64 {
        median(self.turns.iter().map(quantity))
    }

    /// KiB of memory at the highest peak.
    pub fn peak(&self) -> u64 {
        self.turns.iter().map(|turn| turn.peak).max().unwrap_or(0)
    }
}
