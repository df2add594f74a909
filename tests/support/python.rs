//! The Python environment of clients that are written in it.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// The interpreter with slixmpp. It is installed below the folder of build results, once.
///
/// # Panics
/// When it can't be installed.
pub fn python() -> String {
    static PYTHON: OnceLock<String> = OnceLock::new();
    let install = || {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("tmp is in target");
        let done = Command::new(root.join("scripts/install-python-clients")).arg(target).output();
        let done = done.expect("the script starts");
        // pip may warn on standard error though it succeeds.
        let (told, wrong) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert!(done.status.success(), "the Python clients can't be installed: {wrong}");
        told.lines().last().expect("it names the interpreter").to_owned()
    };
    PYTHON.get_or_init(install).clone()
}
