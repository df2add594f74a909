//! The Python environment of clients that are written in it.

use std::path::Path;
use std::sync::OnceLock;

use super::child::run;

/// The interpreter with slixmpp. It is installed below the folder of build results, once.
///
/// # Panics
/// When it can't be installed.
pub fn python() -> String {
    static PYTHON: OnceLock<String> = OnceLock::new();
    let install = || {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("tmp is in target");
        let script = root.join("scripts/install-python-clients").display().to_string();
        let (status, printed) = run(&[&script, &target.display().to_string()]);
        assert_eq!(status, 0, "{printed}");
        printed.lines().last().expect("it names the interpreter").to_owned()
    };
    PYTHON.get_or_init(install).clone()
}
