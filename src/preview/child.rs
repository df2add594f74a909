//! Programs that read hostile files: they run with minimal rights, for a limited time, and their output is checked.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::Sandbox;
use crate::limits;
use crate::model::MediaId;
use crate::sys::{Interest, wait};

/// The program that starts others under resource limits; util-linux has it.
pub(super) const LIMITER: &str = "prlimit";

/// How a program is run.
#[derive(Debug)]
pub(super) struct Run<'a> {
    /// The program that sets its limits; none for a program that sets its own.
    pub limiter: Option<&'a Limiter>,
    pub program: &'a Path,
    pub arguments: &'a [String],
    /// Its standard input: the one file that it gets.
    pub input: &'a File,
    /// Bytes that it may print; with more it is ended.
    pub most_output: u64,
    /// When it is ended.
    pub deadline: Instant,
}

/// The limiter, where it is installed.
pub(super) fn limiter() -> Option<Limiter> {
    find(Path::new(LIMITER)).map(Limiter::Prlimit)
}

/// A program: itself if its path has a slash, else the one in `PATH`.
pub(super) fn find(program: &Path) -> Option<PathBuf> {
    let runs = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if program.components().count() > 1 {
        return Some(program.to_owned()).filter(runs);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(runs)
}

/// Runs a program to its end and gives what it printed. It has an empty environment, an empty directory to
/// work in, its input and its output open and nothing else, limits on everything that can be limited, and a
/// process group that is killed with it.
pub(super) fn run(run: &Run<'_>) -> io::Result<Vec<u8>> {
    // A program that sets its own limits opens nothing.
    let folder = run.limiter.map(|_| Folder::new()).transpose()?;
    let mut group = Group {
        reaped: false,
        child: command(run)
            .args(run.arguments)
            .env_clear()
            .current_dir(folder.as_ref().map_or(Path::new("/"), |folder| &folder.0))
            .stdin(run.input.try_clone()?)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?,
    };
    let output = read(&mut group.child, run)?;
    let ended = pidfd_open(group.pid(), PidfdFlags::empty())?;
    if !wait(&[(ended.as_fd(), Interest::Read)], Some(run.deadline))?.contains(&true) {
        return Err(ErrorKind::TimedOut.into());
    }
    match group.end()? {
        status if status.success() => Ok(output),
        status => Err(io::Error::other(format!("it ended with {status}"))),
    }
}

/// Starts programs under limits.
#[derive(Clone, Debug)]
pub(super) enum Limiter {
    /// `prlimit` of util-linux.
    Prlimit(PathBuf),
    /// Our own program, which installs a filter of system calls, too.
    Own(PathBuf, Sandbox),
}

fn command(run: &Run<'_>) -> Command {
    let time = run.deadline.saturating_duration_since(Instant::now());
    match run.limiter {
        None => Command::new(run.program),
        Some(Limiter::Prlimit(prlimit)) => {
            let mut command = Command::new(prlimit);
            command.args(resources(time)).arg("--").arg(run.program);
            command
        }
        Some(Limiter::Own(own, sandbox)) => {
            let mut command = Command::new(own);
            let seconds = (time.as_secs() + 1).to_string();
            command.args(["preview-child", "program", sandbox.word(), &seconds]).arg(run.program);
            command
        }
    }
}

fn resources(time: Duration) -> [String; 6] {
    [
        format!("--cpu={}", time.as_secs() + 1),
        format!("--as={}", limits::CHILD_MEMORY),
        "--fsize=0".to_owned(),
        "--core=0".to_owned(),
        format!("--nofile={}", limits::CHILD_FILES),
        format!("--nproc={}", limits::CHILD_PROCESSES),
    ]
}

fn read(child: &mut Child, run: &Run<'_>) -> io::Result<Vec<u8>> {
    let mut stdout = child.stdout.take().ok_or(ErrorKind::BrokenPipe)?;
    let mut output = Vec::new();
    loop {
        if !wait(&[(stdout.as_fd(), Interest::Read)], Some(run.deadline))?.contains(&true) {
            return Err(ErrorKind::TimedOut.into());
        }
        let mut step = [0; limits::CHILD_READ_BYTES];
        let read = stdout.read(&mut step)?;
        if read == 0 {
            return Ok(output);
        }
        output.extend_from_slice(&step[..read]);
        if output.len() as u64 > run.most_output {
            return Err(ErrorKind::FileTooLarge.into());
        }
    }
}

/// A child and all that it started; killed when this drops.
struct Group {
    child: Child,
    /// Whether the child's id may be another process's by now.
    reaped: bool,
}

impl Group {
    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Kills what is left of the group, then reaps the child: until then its id, the group's, is ours.
    fn end(&mut self) -> io::Result<ExitStatus> {
        // Fails where nothing is left.
        let _ = kill_process_group(self.pid(), Signal::KILL);
        self.reaped = true;
        self.child.wait()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.reaped {
            // There is nothing else to do about a child that can't be waited for.
            let _ = self.end();
        }
    }
}

/// An empty directory.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("buddycloud-media-{}", MediaId::random()));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

/// Why a child that reads a film can't have an empty directory; `None` if it can.
pub(super) fn missing_folder() -> Option<String> {
    let error = Folder::new().err()?;
    let directory = std::env::temp_dir();
    Some(format!(
        "the directory of temporary files, {} (TMPDIR), can't be used: {error}",
        directory.display()
    ))
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.0) {
            log::warn!("can't remove {}: {error}", self.0.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::fd::AsRawFd;

    use super::*;

    fn shell(script: &str, most_output: u64, time: Duration) -> io::Result<String> {
        let input = File::open("/dev/null").unwrap();
        run_with(&input, script, most_output, time)
    }

    fn run_with(input: &File, script: &str, most_output: u64, time: Duration) -> io::Result<String> {
        let output = run(&Run {
            limiter: Some(&limiter().unwrap()),
            program: &find(Path::new("sh")).unwrap(),
            arguments: &["-c".to_owned(), script.to_owned()],
            input,
            most_output,
            deadline: Instant::now() + time,
        });
        output.map(|bytes| String::from_utf8(bytes).unwrap())
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_child_has_no_environment_no_files_and_an_empty_directory() {
        // A descriptor that a child without `CLOEXEC` would get.
        let open = File::open("/dev/zero").unwrap();
        let input = File::open("/dev/null").unwrap();
        let ls = find(Path::new("ls")).unwrap();
        let list = |folder: &str| {
            let output = run(&Run {
                limiter: Some(&limiter().unwrap()),
                program: &ls,
                arguments: &["-A".to_owned(), folder.to_owned()],
                input: &input,
                most_output: 1000,
                deadline: Instant::now() + LONG,
            });
            String::from_utf8(output.unwrap()).unwrap()
        };
        assert_eq!(list("."), "");
        let child: BTreeSet<String> = list("/proc/self/fd").lines().map(str::to_owned).collect();
        // 3 is what ls reads the directory by; more can only be what this process was itself started with.
        let parent = fs::read_dir(format!("/proc/{}/fd", std::os::unix::process::parent_id())).unwrap();
        let mut expected: BTreeSet<String> =
            parent.flatten().map(|fd| fd.file_name().into_string().unwrap()).collect();
        expected.extend(["0", "1", "2", "3"].map(str::to_owned));
        assert!(child.is_subset(&expected), "{child:?}");
        assert!(!child.contains(&open.as_raw_fd().to_string()) || open.as_raw_fd() == 3, "{child:?}");
        let env = find(Path::new("env")).unwrap();
        let printed = shell(&format!("exec {}", env.display()), 1000, LONG).unwrap();
        // Variables that the shell itself sets.
        let left = printed
            .lines()
            .filter(|line| !["PWD=", "OLDPWD=", "SHLVL=", "_="].iter().any(|own| line.starts_with(own)));
        assert_eq!(left.collect::<Vec<_>>(), Vec::<&str>::new());
    }

    #[test]
    fn a_child_is_limited() {
        let printed = shell("ulimit -f; ulimit -c; ulimit -n; ulimit -t; ulimit -v", 1000, LONG).unwrap();
        let expected =
            [0, 0, limits::CHILD_FILES, 60, limits::CHILD_MEMORY / 1024].map(|limit| limit.to_string());
        let lines: Vec<_> = printed.lines().collect();
        assert_eq!(
            [lines[0], lines[1], lines[2], lines[4]],
            [&expected[0], &expected[1], &expected[2], &expected[4]].map(String::as_str)
        );
        assert!(["60", "61"].contains(&lines[3]), "{printed}");
    }

    #[test]
    fn a_child_that_takes_too_long_goes_with_its_group() {
        let begun = Instant::now();
        let error = shell("sleep 1000 & echo $!; wait", 1000, Duration::from_millis(200)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        // Closed output does not hide that it goes on.
        let error = shell("exec >&-; sleep 1000", 1000, Duration::from_millis(200)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(begun.elapsed() < LONG);
    }

    #[test]
    fn a_child_that_prints_too_much_is_ended() {
        assert_eq!(
            shell("while :; do echo yes; done", 1000, LONG).unwrap_err().kind(),
            ErrorKind::FileTooLarge
        );
        assert!(shell("exit 3", 1000, LONG).unwrap_err().to_string().contains('3'));
    }

    #[test]
    fn programs_are_found_in_the_path_or_where_they_are_said_to_be() {
        assert!(find(Path::new("sh")).unwrap().is_absolute());
        assert_eq!(find(Path::new("/nowhere/sh")), None);
        assert_eq!(find(Path::new("no-such-program")), None);
    }
}
