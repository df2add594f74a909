//! The ratios as a picture.

use std::fmt::Write;

use crate::report::{Goal, Line, Report};

/// Pixels of a line, of the names' column and of the scale.
const LINE: usize = 22;
const NAMES: f64 = 430.0;
const SCALE: f64 = 520.0;
const TOP: usize = 50;
/// The scale's ends; what is beyond is drawn there.
const LEAST: f64 = 1.0 / 16.0;
const MOST: f64 = 128.0;

/// All lines with a ratio, on a logarithmic scale: the median with its extremes, and the goal as a tick.
pub fn svg(report: &Report) -> String {
    let lines: Vec<&Line> = report.lines.iter().filter(|line| line.ratio.is_some()).collect();
    let height = TOP + LINE * lines.len() + 20;
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='1000' height='{height}' font-family='sans-serif' font-size='12'>\n\
         <rect width='1000' height='{height}' fill='white'/>\n\
         <text x='10' y='20' font-size='15'>The media server to its peer; the tick is the goal</text>\n"
    );
    grid(&mut svg, height);
    for (number, line) in lines.into_iter().enumerate() {
        draw(&mut svg, line, (TOP + LINE * number) as f64 + 14.0);
    }
    svg + "</svg>\n"
}

fn x(ratio: f64) -> f64 {
    let share = (ratio.clamp(LEAST, MOST) / LEAST).ln() / (MOST / LEAST).ln();
    NAMES + SCALE * share
}

fn grid(svg: &mut String, height: usize) {
    let mut value = LEAST;
    while value <= MOST {
        let (x, bottom) = (x(value), height - 10);
        let colour = if (value - 1.0).abs() < f64::EPSILON { "black" } else { "lightgrey" };
        let _ = writeln!(
            svg,
            "<line x1='{x:.1}' y1='{TOP}' x2='{x:.1}' y2='{bottom}' stroke='{colour}'/>\
             <text x='{x:.1}' y='{}' text-anchor='middle' fill='grey'>{value}</text>",
            TOP - 6
        );
        value *= 2.0;
    }
}

fn draw(svg: &mut String, line: &Line, y: f64) {
    let Some(ratio) = line.ratio else { return };
    let colour = if line.goal.is_met(ratio.median) { "seagreen" } else { "firebrick" };
    let (low, middle, high) = (x(ratio.low), x(ratio.median), x(ratio.high));
    let name = format!("{} to {}", line.case.trim(), line.peer).replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        svg,
        "<text x='10' y='{:.1}'>{name}</text>\
         <line x1='{low:.1}' y1='{y:.1}' x2='{high:.1}' y2='{y:.1}' stroke='{colour}' stroke-width='2'/>\
         <circle cx='{middle:.1}' cy='{y:.1}' r='4' fill='{colour}'/>",
        y + 4.0
    );
    if let Goal::AtLeast(goal) | Goal::AtMost(goal) = line.goal {
        let (x, top, bottom) = (x(goal), y - 7.0, y + 7.0);
        let _ = writeln!(
            svg,
            "<line x1='{x:.1}' y1='{top:.1}' x2='{x:.1}' y2='{bottom:.1}' stroke='black' stroke-width='2'/>"
        );
    }
}
