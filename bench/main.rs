//! `make bench`: the speed of the media server beside what one would use instead. bench/README.md tells how.

mod component;
mod http;
mod options;
mod peers;
mod plot;
mod process;
mod report;
mod rounds;
mod rows;
mod site;
mod slow;
#[path = "../tests/support/mod.rs"]
mod support;
mod uploads;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use options::Options;
use report::{Report, tell};

/// Connections of the largest row, on both of their ends; the kernel's default of 1024 is too low.
const LOWEST_FILE_LIMIT: u64 = 1024;

fn main() -> ExitCode {
    if let Some(code) = rows::preview::as_child() {
        return code;
    }
    let options = match Options::read(rows::TABLE) {
        Ok(options) => options,
        Err(error) => {
            tell(&error);
            return ExitCode::from(2);
        }
    };
    let limit = media_server::sys::raise_file_limit().unwrap_or(LOWEST_FILE_LIMIT);
    tell(&format!("limit of open files {limit}; {}", report::conditions(options.time)));
    let mut report = Report::new(options.time);
    for row in &options.rows {
        tell(&format!("{}: {}", row.name, row.about));
        (row.run)(&options, &mut report);
        keep(&report);
    }
    tell(&report.text());
    ExitCode::SUCCESS
}

/// Writes what is known so far, so that an interrupted run leaves something, too.
fn keep(report: &Report) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench");
    fs::create_dir_all(&folder).expect("target takes folders");
    for (name, text) in [("table.txt", report.text()), ("plot.svg", plot::svg(report))] {
        fs::write(folder.join(name), text).expect("target/bench takes files");
    }
}
