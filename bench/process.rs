//! The processor time and memory of a server and its children.

use std::fs;

/// The unit of /proc/PID/stat (USER_HZ), the same on all that we run on.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process and its descendants.
#[derive(Clone, Copy)]
pub struct Tree(pub u32);

impl Tree {
    /// Seconds of processor time so far, children that have ended included.
    pub fn cpu(self) -> f64 {
        self.all().into_iter().filter_map(ticks).sum::<u64>() as f64 / TICKS_PER_SECOND
    }

    /// Forgets the peaks of memory so far.
    pub fn forget_peak(self) {
        for pid in self.all() {
            // "5" resets VmHWM: proc(5). A process that has just ended has none.
            let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        }
    }

    /// KiB of memory at the peak, the sum of what each process had at its own.
    pub fn peak(self) -> u64 {
        self.all().into_iter().filter_map(|pid| memory(pid, "VmHWM:")).sum()
    }

    /// KiB of memory now.
    pub fn memory(self) -> u64 {
        self.all().into_iter().filter_map(|pid| memory(pid, "VmRSS:")).sum()
    }

    fn all(self) -> Vec<u32> {
        let mut found = vec![self.0];
        let mut next = 0;
        while let Some(&pid) = found.get(next) {
            found.extend(children(pid));
            next += 1;
        }
        found
    }
}

/// The children of all of its threads.
fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// Seconds of this program's processor time so far, the servers it has started not included.
pub fn own_cpu() -> f64 {
    times(std::process::id()).map_or(0, |[user, system, ..]| user + system) as f64 / TICKS_PER_SECOND
}

fn ticks(pid: u32) -> Option<u64> {
    times(pid).map(|times| times.iter().sum())
}

/// utime, stime, cutime and cstime of /proc/PID/stat: the 14th to 17th field, the name being the 2nd.
fn times(pid: u32) -> Option<[u64; 4]> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse().ok();
    Some([next()?, next()?, next()?, next()?])
}

/// A line of /proc/PID/status, in KiB.
pub fn memory(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
