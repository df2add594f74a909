//! Pictures are decoded behind a filter of system calls, under HTTP: a child that tries something else dies, and its
//! request is refused; and the filter is in force inside the systemd unit's own filter.
//!
//! A program without the test harness: the server starts its own program as its children, and here that is this one.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use media_server::{cli, preview};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::site::Site;
use crate::support::child::run;
use crate::support::http::Request;
use crate::support::media::{Made, film, picture};
use crate::support::wait_for;

#[path = "e2e/site.rs"]
#[allow(dead_code, reason = "no test uses all of it")]
mod site;
mod support;

/// A test, by its name.
type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    ("a_child_that_tries_what_it_may_not_dies", a_child_that_tries_what_it_may_not_dies),
    ("the_filter_is_in_force_inside_the_unit", the_filter_is_in_force_inside_the_unit),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("preview-child") => hostile_child(&arguments[1..]),
        // Both are followed by the command line of a server.
        Some("as-server") => {
            let own = std::env::current_exe().expect("a program has a path");
            panic!("{}", Command::new(own).args(&arguments[2..]).exec());
        }
        Some("behind-unit") => {
            let filter = unit_filter(&arguments[1]).expect("the unit's filter is one");
            seccompiler::apply_filter(&filter).expect("a filter can be installed");
            panic!("{}", Command::new(&arguments[2]).args(&arguments[3..]).exec());
        }
        Some("-c") => cli::main(),
        _ => run_tests(&arguments),
    }
}

#[allow(clippy::print_stdout, reason = "it is its own test harness")]
fn run_tests(arguments: &[String]) -> ExitCode {
    let wanted: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    if arguments.iter().any(|argument| argument == "--list") {
        TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let mut passed = 0;
    for (name, test) in TESTS {
        if wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str())) {
            test();
            println!("test {name} ... ok");
            passed += 1;
        }
    }
    println!("{passed} passed, 0 failed");
    ExitCode::SUCCESS
}

/// What a child tries, by the height of the preview that it is asked for, and the status of the refusal.
const TRIES: &[(u32, &str, u16)] = &[
    (21, "to open a file", 412),
    (22, "to open a socket", 412),
    (23, "to start a program", 412),
    (24, "to start a thread", 412),
    (25, "to signal its parent", 412),
    (26, "to go on for ever", 503),
    (27, "to take all memory", 412),
    (28, "to print garbage", 412),
    (29, "to print without end", 412),
    (30, "to lie about the size", 412),
    (31, "to end with half a reply", 412),
    (32, "to crash", 412),
];
/// How many of them, the first ones, the filter ends at once.
const KILLED: usize = 5;

/// The child that reads a picture, taken over by it.
fn hostile_child(arguments: &[String]) -> ExitCode {
    let number = |at: usize| arguments.get(at).and_then(|word| word.parse::<u32>().ok());
    let tries = TRIES.iter().find(|(height, ..)| number(3) == Some(*height));
    let Some((_, what, _)) = tries.filter(|_| arguments[0] == "picture" && arguments[1] == "preview") else {
        return preview::child_main(arguments.iter().map(Into::into));
    };
    assert!(preview::confine_child(&arguments[1..]), "it can't be confined");
    let mut out = std::io::stdout().lock();
    match *what {
        "to open a file" => drop(fs::File::open("/etc/passwd")),
        "to open a socket" => drop(UdpSocket::bind("127.0.0.1:0")),
        "to start a program" => drop(Command::new("/bin/true").status()),
        "to start a thread" => drop(std::thread::Builder::new().spawn(|| ())),
        "to signal its parent" => {
            let parent = rustix::process::getppid().expect("a child has a parent");
            let _ = rustix::process::kill_process(parent, rustix::process::Signal::TERM);
        }
        "to go on for ever" => loop {
            std::hint::spin_loop();
        },
        "to take all memory" => {
            let kept: Vec<Vec<u8>> = std::iter::repeat_with(|| vec![1; 1 << 24]).collect();
            std::hint::black_box(kept);
        }
        "to print garbage" => out.write_all(&[b'x'; 5000]).expect("its parent reads"),
        "to print without end" => while out.write_all(&[b'x'; 5000]).is_ok() {},
        "to lie about the size" => out.write_all(&reply(&large())).expect("its parent reads"),
        "to end with half a reply" => out.write_all(&reply(&large())[..60]).expect("its parent reads"),
        _ => std::process::abort(),
    }
    out.flush().expect("its parent reads");
    ExitCode::SUCCESS
}

/// A PNG of 64 pixels a side.
fn large() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::new(64, 64).write_to(&mut bytes, image::ImageFormat::Png).expect("a picture");
    bytes.into_inner()
}

/// The reply of a child that made this PNG.
fn reply(png: &[u8]) -> Vec<u8> {
    [b"bcm1m\x01", &(png.len() as u64).to_be_bytes()[..], png].concat()
}

/// Uploads a file to a new public channel; gives its path.
fn upload(site: &Site, made: &Made) -> String {
    let (user, channel) = site.public_channel();
    let request = Request::new("POST", &site.url(&channel)).basic(user.jid());
    let id = request.file(made.path(), "application/octet-stream").send().expect(201).member("id");
    format!("{channel}/{id}")
}

fn a_child_that_tries_what_it_may_not_dies() {
    let mut site = Site::start(&[("preview.timeout", "2")]);
    let path = upload(&site, &picture("a.png", 200, 100));
    let own = std::env::current_exe().expect("a program has a path").display().to_string();
    site.server.stop();
    site.server.start_again_by(&[&own, "as-server"]);
    site.wait_ready(path.split('/').next().expect("a split gives one part"));
    let preview = |height: u32| Request::get(&site.url(&path)).query(&format!("maxheight={height}")).send();
    // The child that is asked for another height does its work.
    preview(20).expect(200);
    let killed = || site.server.log().matches("(SIGSYS)").count();
    for (number, (height, what, status)) in TRIES.iter().enumerate() {
        let answer = preview(*height);
        assert_eq!(answer.status, *status, "a child tries {what}: {}", answer.text());
        if number < KILLED {
            wait_for(&format!("the end of a child that tries {what}"), || {
                (killed() == number + 1).then_some(())
            });
        }
        Request::get(&site.url(&path)).send().expect(200);
    }
    preview(40).expect(200);
    let pid = site.server.pid().to_string();
    let children = run(&["ps", "--no-headers", "--ppid", &pid]).1;
    assert_eq!(children.trim(), "", "children that are left");
}

fn the_filter_is_in_force_inside_the_unit() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let own = std::env::current_exe().expect("a program has a path").display().to_string();
    let mut site = Site::start(&[]);
    let path = upload(&site, &picture("a.png", 200, 100));
    let moving = upload(&site, &film("a.mp4", 96, 64));
    for (left_out, status) in [("", 200), ("seccomp", 503)] {
        site.server.stop();
        site.server.start_again_by(&[&own, "behind-unit", &format!("-{left_out}")]);
        site.wait_ready(path.split('/').next().expect("a split gives one part"));
        // Of a height that no other round asks for.
        let query = format!("maxheight={}", 10 + left_out.len());
        let preview = |path: &str| Request::get(&site.url(path)).query(&query).send();
        let answer = preview(&path);
        assert_eq!(answer.status, status, "without {left_out:?}: {}", answer.text());
        if status == 200 {
            preview(&moving).expect(200);
            let (user, channel) = site.public_channel();
            site.upload(&user, &channel);
            site.server.wait_log("pictures are decoded behind a filter of system calls");
        } else {
            site.server.wait_log("no picture is decoded");
        }
    }
}

/// The unit's filter of system calls, without the one of this name behind `-`: `SystemCallFilter`,
/// `SystemCallErrorNumber`, `MemoryDenyWriteExecute` and `RestrictAddressFamilies`, as systemd.exec(5) describes them.
fn unit_filter(left_out: &str) -> Result<BpfProgram, seccompiler::Error> {
    let unit = include_str!("../etc/systemd/buddycloud-media-server.service");
    let values = |key: &str| {
        let lines = unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        lines.flat_map(str::split_whitespace).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(values("SystemCallErrorNumber"), ["EPERM"]);
    assert_eq!(values("MemoryDenyWriteExecute"), ["yes"]);
    assert_eq!(values("RestrictAddressFamilies"), ["AF_UNIX", "AF_INET", "AF_INET6"]);
    // Always allowed.
    let mut allowed = expanded("@default");
    for value in values("SystemCallFilter") {
        match value.strip_prefix('~') {
            Some(denied) => {
                let denied = expanded(denied);
                allowed.retain(|name| !denied.contains(name));
            }
            None => allowed.extend(expanded(&value)),
        }
    }
    allowed.remove(left_out.trim_start_matches('-'));
    let numbers = numbers();
    let mut rules = Vec::new();
    for name in &allowed {
        if let Some((_, number)) = numbers.iter().find(|(known, _)| known == name) {
            rules.push((*number, conditions(name)?));
        }
    }
    assert!(rules.len() > 200, "{} system calls", rules.len());
    let errno = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let architecture = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules.into_iter().collect(), errno, SeccompAction::Allow, architecture)?;
    Ok(filter.try_into()?)
}

/// The names of a system call, or of a set of them.
fn expanded(name: &str) -> BTreeSet<String> {
    if !name.starts_with('@') {
        return [name.to_owned()].into();
    }
    let (status, printed) = run(&["systemd-analyze", "syscall-filter", name]);
    assert_eq!(status, 0, "systemd-analyze: {printed}");
    let names =
        printed.lines().skip(1).map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    names.flat_map(expanded).collect()
}

/// The numbers of system calls, by the kernel's header.
fn numbers() -> Vec<(String, i64)> {
    let header = fs::read_to_string("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
        .expect("the kernel's headers are installed: run scripts/install-dependencies");
    let line = |line: &str| {
        let (name, number) = line.strip_prefix("#define __NR_")?.split_once(' ')?;
        Some((name.to_owned(), number.trim().parse().ok()?))
    };
    header.lines().filter_map(line).collect()
}

/// When an allowed system call is allowed; always without conditions.
fn conditions(name: &str) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let rule = |index, operator, value| {
        SeccompRule::new(vec![SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)?])
    };
    let without = |bits: i32| SeccompCmpOp::MaskedEq(u64::from(bits.unsigned_abs()));
    match name {
        "mmap" => Ok(vec![rule(2, without(libc::PROT_EXEC), 0)?, rule(2, without(libc::PROT_WRITE), 0)?]),
        "mprotect" | "pkey_mprotect" => Ok(vec![rule(2, without(libc::PROT_EXEC), 0)?]),
        "socket" => [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6]
            .into_iter()
            .map(|family| rule(0, SeccompCmpOp::Eq, u64::from(family.unsigned_abs())))
            .collect(),
        _ => Ok(Vec::new()),
    }
}
