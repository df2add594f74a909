//! The end by a signal, within a second and without leaving half a file. A thread `signals` waits for it and ends the
//! process, whatever the other threads do.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit::{Exit, Failure, Result};

/// The files that are not complete.
static PARTIAL: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A file that is removed when this is dropped, or when the process is interrupted.
pub struct Partial(PathBuf);

impl Partial {
    /// From now on the file at this path is not complete.
    pub fn new(path: PathBuf) -> Self {
        partial().push(path.clone());
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // It is gone if it was complete and has its final name.
        let _ = fs::remove_file(&self.0);
        partial().retain(|path| *path != self.0);
    }
}

fn partial() -> MutexGuard<'static, Vec<PathBuf>> {
    PARTIAL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the process with 128 and the signal's number when one comes.
pub fn watch() -> Result<()> {
    let cant = |error: io::Error| Failure::new(Exit::Io, format!("can't wait for signals: {error}"));
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(cant)?;
    let body = move || {
        if let Some(signal) = signals.forever().next() {
            partial().iter().for_each(|path| drop(fs::remove_file(path)));
            // The line of the progress bar, if there is one, stays.
            let _ = io::stderr().write_all(b"\nbuddycloud-media: interrupted\n");
            std::process::exit(128 + signal);
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(body).map_err(cant)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_file_goes_with_its_guard() {
        let path = std::env::temp_dir().join(format!("buddycloud-media-partial-{}", std::process::id()));
        fs::write(&path, "half").unwrap();
        let guard = Partial::new(path.clone());
        assert!(partial().contains(&path) && guard.path().exists());
        drop(guard);
        assert!(!partial().contains(&path) && !path.exists());
    }
}
