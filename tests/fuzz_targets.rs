//! The targets of `fuzz/`, of which `make fuzz` makes programs: they compile, and what they hold is true of their seeds.

#![allow(unused_attributes, reason = "as programs they begin with attributes that modules can't have")]

use std::fs;
use std::path::Path;

// The targets import libFuzzer's macro. Ours, in its place, needs no C++ compiler.
extern crate self as libfuzzer_sys;

#[path = "../fuzz/targets/child.rs"]
mod child;
#[path = "../fuzz/targets/clean.rs"]
mod clean;
#[path = "../fuzz/targets/configuration.rs"]
mod configuration;
#[path = "../fuzz/targets/fields.rs"]
mod fields;
#[path = "../fuzz/targets/form.rs"]
mod form;
#[path = "../fuzz/targets/gate.rs"]
mod gate;
#[path = "../fuzz/targets/jid.rs"]
mod jid;
#[path = "../fuzz/targets/names.rs"]
mod names;
#[path = "../fuzz/targets/previews.rs"]
mod previews;
#[path = "../fuzz/targets/properties.rs"]
mod properties;
#[path = "../fuzz/targets/replies.rs"]
mod replies;
#[path = "../fuzz/targets/requests.rs"]
mod requests;
#[path = "../fuzz/targets/s3.rs"]
mod s3;
#[path = "../fuzz/targets/slots.rs"]
mod slots;
#[path = "../fuzz/targets/srv.rs"]
mod srv;
#[path = "../fuzz/targets/stream.rs"]
mod stream;
#[path = "../fuzz/targets/tickets.rs"]
mod tickets;
#[path = "../fuzz/targets/tokens.rs"]
mod tokens;
#[path = "../fuzz/targets/transfer.rs"]
mod transfer;
#[path = "../fuzz/targets/webp.rs"]
mod webp;

/// Makes a function of a target.
#[macro_export]
macro_rules! fuzz_target {
    (|$input:ident: &[u8]| $body:block) => {
        pub fn hold($input: &[u8]) $body
    };
    (|$input:ident: &str| $body:block) => {
        pub fn hold(input: &[u8]) {
            let Ok($input) = std::str::from_utf8(input) else { return };
            $body
        }
    };
}

/// A target's name, and its function.
type Target = (&'static str, fn(&[u8]));

/// Every target.
const TARGETS: &[Target] = &[
    ("child", child::hold),
    ("clean", clean::hold),
    ("configuration", configuration::hold),
    ("fields", fields::hold),
    ("form", form::hold),
    ("gate", gate::hold),
    ("jid", jid::hold),
    ("names", names::hold),
    ("previews", previews::hold),
    ("properties", properties::hold),
    ("replies", replies::hold),
    ("requests", requests::hold),
    ("s3", s3::hold),
    ("slots", slots::hold),
    ("srv", srv::hold),
    ("stream", stream::hold),
    ("tickets", tickets::hold),
    ("tokens", tokens::hold),
    ("transfer", transfer::hold),
    ("webp", webp::hold),
];

#[test]
fn every_target_holds_for_its_seeds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let mut names = Vec::new();
    for (name, hold) in TARGETS {
        let seeds: Vec<_> = entries(&folder.join("seeds").join(name)).collect();
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for seed in seeds {
            hold(&fs::read(seed).expect("a seed can be read"));
        }
        names.push(folder.join("targets").join(format!("{name}.rs")));
    }
    let mut targets: Vec<_> = entries(&folder.join("targets")).collect();
    targets.sort();
    assert_eq!(targets, names, "a target is missing here");
}

fn entries(folder: &Path) -> impl Iterator<Item = std::path::PathBuf> {
    let entries = fs::read_dir(folder).expect("it is in the tree");
    entries.map(|entry| entry.expect("a folder can be read").path())
}
