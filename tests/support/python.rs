//! Python environments: that of clients that are written in it, and that of SeaweedFS.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The interpreter with slixmpp. It is installed below the folder of build results, once.
///
/// # Panics
/// When it can't be installed.
pub fn python() -> String {
    static PYTHON: OnceLock<String> = OnceLock::new();
    PYTHON.get_or_init(|| interpreter("python-clients").display().to_string()).clone()
}

/// The interpreter of the environment with the packages of this list in scripts/, which is installed if it is missing.
///
/// # Panics
/// When it can't be installed.
pub fn interpreter(list: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // This program is in target/debug/deps.
    let program = std::env::current_exe().expect("this program has a path");
    let target = program.ancestors().nth(3).expect("it is in the folder of build results");
    let script = root.join("scripts/install-python-clients");
    let done = Command::new(script).arg(target).arg(list).output().expect("the script starts");
    // pip may warn on standard error though it succeeds.
    let (told, wrong) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "the Python packages of {list} can't be installed: {wrong}");
    told.lines().last().expect("it names the interpreter").into()
}
