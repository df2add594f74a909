//! The command `move-storage`: moves all files from their old place to the new one, while servers run.

use std::io::Write;
use std::sync::mpsc;
use std::thread;

use serde::Serialize;

use super::output::Output;
use super::{Doing, OutputForm, counted};
use crate::config::Config;
use crate::daemon::open;
use crate::error::{Error, Kind, Result};
use crate::transfer::{MoveCounts, MoveNews, Mover};
use crate::uploads::shown_size;

/// The result as JSON.
#[derive(Serialize)]
struct MoveJson {
    id: &'static str,
    moved: bool,
    files: u64,
    bytes: u64,
    there: u64,
    unnamed: u64,
    wrong: u64,
}

/// A file that stays, as JSON.
#[derive(Serialize)]
struct StaysJson<'a> {
    id: &'a str,
    stays: &'a str,
}

/// Moves all files from the place that `media.storage.from` names, or tells how many these are. Servers may run, all with
/// that setting.
///
/// # Errors
/// When a file stays that a row names, when another such command runs, or when it can't go on; it may be run again.
pub fn move_storage(config: &Config, doing: Doing, form: OutputForm, out: &mut dyn Write) -> Result<()> {
    let mover = open::mover(config, open::verified_tables(config)?)?;
    let _lock = (doing == Doing::Really).then(|| open::move_lock(config)).transpose()?;
    let mut output = Output::new(out, form);
    let counts = run(&mover, doing, &mut |news| tell(&mut output, &news))?;
    let MoveCounts { moved: files, bytes, there, unnamed, wrong } = counts;
    let is_moved = doing == Doing::Really;
    let json = MoveJson { id: "total", moved: is_moved, files, bytes, there, unnamed, wrong };
    output.result(&json, || told(doing, counts));
    output.end();
    if wrong == 0 { Ok(()) } else { Err(left(wrong)) }
}

/// Runs the move on a thread of its own, and hands its news over here.
fn run(mover: &Mover, doing: Doing, tell: &mut dyn FnMut(MoveNews)) -> Result<MoveCounts> {
    let (sender, news) = mpsc::channel();
    thread::scope(|scope| {
        let work = move || {
            // The receiver is read to its end, so a send can't fail.
            let tell = &mut |news| drop(sender.send(news));
            if doing == Doing::Really { mover.run(tell) } else { mover.look(tell) }
        };
        let thread = scope.spawn(work);
        news.into_iter().for_each(tell);
        let panicked = |_| Err(Error::new(Kind::Failure, "the thread that moves files panicked"));
        thread.join().unwrap_or_else(panicked)
    })
}

fn tell(output: &mut Output<'_>, news: &MoveNews) {
    match news {
        MoveNews::Stays { name, why } => {
            output.result(&StaysJson { id: name, stays: why }, || format!("{name} stays: {why}"));
        }
        MoveNews::SoFar(counts) => output.text(&format!("{} so far", moved(*counts))),
    }
}

fn moved(counts: MoveCounts) -> String {
    format!("{}, {}", counted(counts.moved, "file", "files"), shown_size(counts.bytes))
}

fn told(doing: Doing, counts: MoveCounts) -> String {
    let moved = moved(counts);
    if doing == Doing::Trial {
        return format!("{moved} would be moved; add --yes to move them");
    }
    let there = match counts.there {
        0 => String::new(),
        there => format!("; {} there before", counted(there, "other was", "others were")),
    };
    let next = match counts.unnamed {
        0 if counts.wrong == 0 => {
            "; remove media.storage.from from all configurations, and restart the servers"
        }
        _ => "",
    };
    let unnamed = match counts.unnamed {
        0 => String::new(),
        unnamed => format!(
            "; {} without a row: run the command again in an hour, and then check the remaining files",
            counted(unnamed, "file stays", "files stay")
        ),
    };
    format!("{moved} moved{there}{next}{unnamed}")
}

fn left(wrong: u64) -> Error {
    let files = counted(wrong, "file stays", "files stay");
    let text = format!(
        "{files} in the old place for the reasons above: restore lost bytes from a backup, or delete those media; then run the \
         command again"
    );
    Error::new(Kind::Failure, text)
}
