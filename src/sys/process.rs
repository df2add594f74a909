//! The limits of the process, and its use of resources.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};

/// Raises the soft limit of open files to the hard one; returns it, `u64::MAX` for none.
pub fn raise_file_limit() -> io::Result<u64> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(maximum.unwrap_or(u64::MAX))
}

/// The current use of resources by the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Time of all its threads on a processor, in it and in the kernel.
    pub cpu: Duration,
    /// Bytes of memory that are in RAM; `None` without /proc.
    pub resident: Option<u64>,
    /// Bytes of address space; `None` without /proc.
    pub virtual_memory: Option<u64>,
    /// Open files; `None` without /proc, or if not even one more can be opened.
    pub open_files: Option<u64>,
    /// How many there may be; `None` for any number.
    pub most_files: Option<u64>,
}

impl Usage {
    /// Reads the use of resources by the calling process.
    pub fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            cpu: cpu_time(),
            resident: kilobytes(&status, "VmRSS:"),
            virtual_memory: kilobytes(&status, "VmSize:"),
            open_files: open_files(),
            most_files: getrlimit(Resource::Nofile).current,
        }
    }
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let nanoseconds = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), nanoseconds)
}

/// A field of proc_pid_status(5), in bytes.
fn kilobytes(status: &str, field: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(field))?;
    value.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// Without the one that it takes to count them.
fn open_files() -> Option<u64> {
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    u64::try_from(count).ok()?.checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usage_of_the_process_is_read() {
        let usage = Usage::now();
        assert!(
            usage.cpu > Duration::ZERO && usage.open_files > Some(2) && usage.most_files > usage.open_files
        );
        assert!(usage.resident > Some(1 << 20) && usage.virtual_memory > usage.resident, "{usage:?}");
    }

    #[test]
    fn status_is_read_by_field() {
        let status = "Name:\tVmRSS:\nVmSize:\t   12 kB\nVmRSS:\t    7 kB\nVmPin:\t 7 MB\n";
        assert_eq!(kilobytes(status, "VmRSS:"), Some(7168));
        assert_eq!(kilobytes(status, "VmPin:"), None);
        assert_eq!(kilobytes(status, "VmSwap:"), None);
    }
}
