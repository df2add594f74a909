//! Which targets of the Makefile install packages of the system: those that say so, and no build.

use std::process::Command;

/// The commands that a target would run.
fn commands(target: &str) -> String {
    let make = Command::new("make").args(["-n", "-C", env!("CARGO_MANIFEST_DIR"), target]).output();
    let make = make.expect("make is installed");
    assert!(make.status.success(), "make -n {target}: {}", String::from_utf8_lossy(&make.stderr));
    String::from_utf8_lossy(&make.stdout).into_owned()
}

#[test]
fn only_targets_that_say_so_install_packages() {
    let installs = |target: &&str| commands(target).contains("install-dependencies");
    assert_eq!(["deps", "check", "bench"].iter().filter(|target| !installs(target)).count(), 0);
    for target in [
        "build",
        "release",
        "format",
        "lint",
        "docs",
        "manual",
        "test",
        "packaging",
        "soak",
        "fuzz",
        "install",
        "deb",
    ] {
        assert!(!installs(&target), "{target}");
    }
}
