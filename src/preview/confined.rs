//! The child process that reads one media: it gives up what it does not need, and only then reads a byte.
//!
//! `preview-child picture` decodes the picture that is its standard input and writes the result to its standard output;
//! `preview-child program` becomes another program, which may not open connections. Both are run by [`super::decoder`]
//! and [`super::child`], never by people.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Stdin};
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::decoder::{Reply, Task, Work};
use super::header::Header;
use super::picture::Budget;
use super::source::ReadAt;
use super::{Bounds, Rendered, Sandbox, picture, picture_header};
use crate::limits;
use crate::model::Refusal;

/// Runs the child; `arguments` are those behind `preview-child`.
pub fn child_main(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let ended = match arguments.next().as_deref().and_then(|kind| kind.to_str()) {
        Some("picture") => picture_child(arguments),
        Some("program") => program_child(arguments),
        _ => None,
    };
    ended.unwrap_or(ExitCode::from(2))
}

/// Gives up what a child with these arguments, those behind `preview-child picture`, does not need; whether all is as it
/// must be. For tests of what is left.
pub fn confine_child(words: &[String]) -> bool {
    Work::read(words).is_some_and(|work| is_confined(&work))
}

fn is_confined(work: &Work) -> bool {
    limit_picture(work).is_ok() && work.sandbox.install(picture_filter)
}

fn picture_child(arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let words: Vec<String> = arguments.map(OsString::into_string).collect::<Result<_, _>>().ok()?;
    let work = Work::read(&words)?;
    let reply = if is_confined(&work) { decode(&work) } else { Reply::Refused(Refusal::NoSandbox) };
    let written = reply.write(&mut io::stdout().lock());
    Some(if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn decode(work: &Work) -> Reply {
    let deadline = Instant::now() + Duration::from_millis(work.milliseconds);
    let made = match work.task {
        Task::Probe => return Reply::Ready,
        Task::Preview(bounds) => preview(work, bounds, work.budget(deadline)),
        Task::Avatar => {
            read(work).and_then(|(bytes, header)| picture::avatar(&bytes, &header, work.budget(deadline)))
        }
    };
    made.map_or_else(Reply::Refused, Reply::Made)
}

fn preview(work: &Work, bounds: Bounds, budget: Budget) -> Result<Rendered, Refusal> {
    let input = Input::new(work.bytes);
    let header = picture_header(&input).ok_or(Refusal::Undecodable)?;
    picture::preview_of_rows(input, &header, bounds, budget).unwrap_or_else(|| {
        let (bytes, header) = read(work)?;
        picture::preview(&bytes, &header, bounds, budget)
    })
}

fn read(work: &Work) -> Result<(Vec<u8>, Header), Refusal> {
    let mut bytes = Vec::with_capacity(work.bytes);
    Input::new(work.bytes).read_to_end(&mut bytes).map_err(|_| Refusal::Undecodable)?;
    let header = picture_header(bytes.as_slice()).ok_or(Refusal::Undecodable)?;
    Ok((bytes, header))
}

/// Standard input, read by places: its offset is the parent's, too.
struct Input {
    stdin: Stdin,
    length: u64,
    /// Where the next byte is read.
    at: u64,
}

impl Input {
    /// The first `length` bytes.
    fn new(length: usize) -> Self {
        Self { stdin: io::stdin(), length: length as u64, at: 0 }
    }
}

impl ReadAt for Input {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let room = left.min(buffer.len());
        Ok(rustix::io::pread(&self.stdin, &mut buffer[..room], offset)?)
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Input {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::End(back) => self.length.checked_add_signed(back),
            SeekFrom::Current(more) => self.at.checked_add_signed(more),
        };
        self.at = place.ok_or(ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

fn limit(resource: Resource, most: u64) -> rustix::io::Result<()> {
    setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
}

fn limit_picture(work: &Work) -> rustix::io::Result<()> {
    limit(Resource::As, work.memory())?;
    limit(Resource::Cpu, work.milliseconds.div_ceil(1000) + 1)?;
    limit(Resource::Fsize, 0)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Nofile, 0)
}

fn program_child(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let mut word = || arguments.next()?.into_string().ok();
    let (sandbox, seconds) = (Sandbox::read(&word()?)?, word()?.parse().ok()?);
    let program = arguments.next()?;
    let confined = limit_program(seconds).is_ok() && sandbox.install(program_filter);
    if confined {
        // Comes back only if it fails.
        let _ = Command::new(program).args(arguments).exec();
    }
    Some(ExitCode::FAILURE)
}

fn limit_program(seconds: u64) -> rustix::io::Result<()> {
    limit(Resource::As, limits::CHILD_MEMORY)?;
    limit(Resource::Cpu, seconds)?;
    limit(Resource::Fsize, 0)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Nofile, limits::CHILD_FILES)?;
    limit(Resource::Nproc, limits::CHILD_PROCESSES)
}

impl Sandbox {
    /// Installs a filter, after which this thread can't get more rights either. Whether all is as it must be.
    fn install(self, filter: fn() -> Result<BpfProgram, seccompiler::BackendError>) -> bool {
        match self {
            Self::Off => rustix::thread::set_no_new_privs(true).is_ok(),
            Self::Required => filter().is_ok_and(|filter| seccompiler::apply_filter(&filter).is_ok()),
        }
    }
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The system calls that a decoder needs: for its input and output, memory that is not executable, clocks, random numbers
/// and its end. It can't use any other descriptor that it may have inherited.
fn picture_filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let argument = |index, operator, value| {
        SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)
            .and_then(|condition| SeccompRule::new(vec![condition]))
    };
    let descriptor = |number| argument(0, SeccompCmpOp::Eq, number);
    let not_run = || argument(2, SeccompCmpOp::MaskedEq(PROT_EXEC), 0);
    let mut rules: Rules = [
        (libc::SYS_read, vec![descriptor(0)?]),
        (libc::SYS_pread64, vec![descriptor(0)?]),
        (libc::SYS_write, vec![descriptor(1)?, descriptor(2)?]),
        (libc::SYS_mmap, vec![not_run()?]),
        (libc::SYS_mprotect, vec![not_run()?]),
    ]
    .into();
    rules.extend(ALWAYS.iter().map(|number| (*number, Vec::new())));
    filter(rules, SeccompAction::KillProcess, SeccompAction::Allow)
}

const PROT_EXEC: u64 = 4;
const ALWAYS: &[i64] = &[
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_clock_gettime,
    libc::SYS_getrandom,
    libc::SYS_sched_yield,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// The filter of a program that reads films. Calls that it does not need get an error, since libraries try some of them.
fn program_filter() -> Result<BpfProgram, seccompiler::BackendError> {
    let rules = DENIED.iter().map(|number| (*number, Vec::new())).collect();
    let denied = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    filter(rules, SeccompAction::Allow, denied)
}

const DENIED: &[i64] = &[
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_io_uring_setup,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_open_by_handle_at,
];

fn filter(
    rules: Rules,
    otherwise: SeccompAction,
    matched: SeccompAction,
) -> Result<BpfProgram, seccompiler::BackendError> {
    let architecture = std::env::consts::ARCH.try_into()?;
    SeccompFilter::new(rules, otherwise, matched, architecture)?.try_into()
}

/// For a child whose input has this many bytes.
pub(super) fn length(file: &File) -> io::Result<u64> {
    Ok(file.metadata()?.len())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    /// Set where the test is run again in a process of its own, with what that process tries.
    const TRIES: &str = "MEDIA_SERVER_SANDBOX_TRIES";

    /// Tries something behind the filter, and ends the process.
    fn try_forbidden(what: &str) -> ! {
        assert!(Sandbox::Required.install(if what == "program" { program_filter } else { picture_filter }));
        match what {
            "open" => drop(File::open("/etc/passwd")),
            "socket" | "program" => {
                let refused = std::net::UdpSocket::bind("127.0.0.1:0").is_err();
                // The test harness needs more than a decoder.
                std::process::exit(if refused { 7 } else { 8 });
            }
            "exec" => drop(Command::new("/bin/true").status()),
            "fork" => drop(std::thread::Builder::new().spawn(|| ())),
            "other descriptor" => drop(rustix::io::write(rustix::stdio::stdin(), b"x")),
            _ => {
                let kept = vec![1_u8; 50_000_000];
                std::process::exit(i32::from(kept[kept.len() - 1]) + 8);
            }
        }
        std::process::exit(0);
    }

    #[test]
    fn the_filter_bites() {
        if let Ok(what) = std::env::var(TRIES) {
            try_forbidden(&what);
        }
        let outcome = |what: &str| {
            let own = std::env::current_exe().unwrap();
            let name = "preview::confined::tests::the_filter_bites";
            let arguments = ["--exact", name, "--nocapture", "--test-threads=1"];
            let output = Command::new(own).args(arguments).env(TRIES, what).output().unwrap();
            (output.status.signal(), output.status.code())
        };
        for forbidden in ["open", "socket", "exec", "fork", "other descriptor"] {
            assert_eq!(outcome(forbidden), (Some(libc::SIGSYS), None), "{forbidden}");
        }
        assert_eq!(outcome("memory"), (None, Some(9)));
        assert_eq!(outcome("program"), (None, Some(7)));
    }
}
