//! Programs that end with the test that started them, however it ends.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use super::wait_for;

/// Runs the program given as arguments; ends it when standard input ends, and with its exit status. A stopped program takes
/// no SIGTERM until it goes on.
/// (A background command's input is /dev/null, hence descriptor 3.) On SIGUSR1 it becomes strace: kernels that let
/// no process trace another one let it trace its children.
const GUARD: &str = r#"
exec 3<&0
trap '. "$OUTPUT.trace"' USR1
"$@" </dev/null 3<&- >>"$OUTPUT" 2>&1 &
program=$!
echo "$program"
{ cat >/dev/null; kill "$program"; kill -s CONT "$program"; } <&3 >/dev/null 2>&1 &
watcher=$!
exec 3<&-
wait "$program"
status=$?
kill "$watcher" 2>/dev/null
exit "$status"
"#;

/// A running program. Dropped, or with its test process killed, it gets SIGTERM.
pub struct Guarded {
    shell: Child,
    lifeline: Option<ChildStdin>,
    pid: u32,
    output: PathBuf,
}

impl Guarded {
    /// Starts a program with these additions to the environment; what it prints is appended to `output`.
    ///
    /// # Panics
    /// When the program is not installed; the message names scripts/install-dependencies.
    pub fn start(command: &[&str], environment: &[(&str, &str)], output: &Path) -> Self {
        require(command[0]);
        let mut shell = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .args(command)
            .envs(environment.iter().copied())
            .env("OUTPUT", output)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null()) // sh's own: it tells of every signal
            .spawn()
            .expect("sh starts");
        let lifeline = shell.stdin.take();
        let mut line = String::new();
        let stdout = shell.stdout.take().expect("stdout is a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("sh tells a process id");
        let pid = line.trim().parse().expect("sh tells a process id");
        Self { shell, lifeline, pid, output: output.to_owned() }
    }

    /// The program's process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal by its name, such as `HUP`.
    pub fn signal(&self, name: &str) {
        assert!(self.try_signal(name), "SIG{name} could not be sent:\n{}", self.printed());
    }

    /// The same to a program that may have ended; whether it has not.
    pub fn try_signal(&self, name: &str) -> bool {
        let status = Command::new("kill").args(["-s", name, &self.pid.to_string()]).status();
        status.expect("kill starts").success()
    }

    /// Lets strace, with these options of its own, look at these threads, or at all; gives what it prints about
    /// their calls as it does. Until it ends, so does the program.
    pub fn trace(&self, options: &str, threads: &[u32]) -> PathBuf {
        require("strace");
        let with = |name: &str| PathBuf::from(format!("{}.{name}", self.output.display()));
        let (script, calls, said) = (with("trace"), with("calls"), with("strace"));
        let threads: String = threads.iter().map(|thread| format!(" -p {thread}")).collect();
        let (to, err) = (calls.display(), said.display());
        // strace waits for its children, so the watcher must be none.
        let command = format!(
            "kill $watcher; exec 3<&0; ({{ cat; kill $program; }} <&3 >/dev/null 2>&1 &)
            exec strace {options} -o '{to}'{threads} <&- 3<&- 2>'{err}'\n"
        );
        fs::write(script, command).expect("the folder takes files");
        empty_file(&said);
        let status = Command::new("kill").args(["-s", "USR1", &self.shell.id().to_string()]).status();
        assert!(status.expect("kill starts").success(), "sh can't be told to trace");
        let wanted = threads.matches("-p").count();
        wait_for("strace to attach", || {
            let said = fs::read_to_string(&said).expect("strace says something");
            assert!(!said.contains("ptrace("), "strace can't trace: {said}");
            (said.matches("attached").count() >= wanted).then_some(())
        });
        calls
    }

    /// Its exit status, if it has ended; 128 + n after signal n.
    pub fn ended(&mut self) -> Option<i32> {
        let status = self.shell.try_wait().expect("sh can be waited for");
        status.map(|status| status.code().unwrap_or(-1))
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it goes on and on.
    pub fn wait(&mut self) -> i32 {
        wait_for(&format!("the end of process {}", self.pid), || self.ended())
    }

    /// Its output so far.
    pub fn printed(&self) -> String {
        fs::read(&self.output).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }
}

impl Drop for Guarded {
    #[allow(clippy::print_stderr, reason = "the test harness shows it with the failure")]
    fn drop(&mut self) {
        drop(self.lifeline.take());
        if std::thread::panicking() {
            eprintln!("--- {}:\n{}", self.output.display(), self.printed());
            return;
        }
        self.wait();
    }
}

/// Runs a program to its end and gives its exit status and what it printed on both outputs.
pub fn run(command: &[&str]) -> (i32, String) {
    require(command[0]);
    let output = Command::new(command[0]).args(&command[1..]).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{} does not start: {error}", command[0]));
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&printed).into_owned())
}

/// An empty file to print to.
pub fn empty_file(path: &Path) -> PathBuf {
    File::create(path).unwrap_or_else(|error| panic!("{} can't be made: {error}", path.display()));
    path.to_owned()
}

/// Panics unless the program is there.
fn require(program: &str) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = Path::new(program).is_file()
        || std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    assert!(found, "{program} is not installed: run scripts/install-dependencies");
}
