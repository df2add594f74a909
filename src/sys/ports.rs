//! Which process listens on a TCP port, as far as this process may look.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// The state of a listening socket in `/proc/net/tcp` (include/net/tcp_states.h of Linux).
const LISTENING: &str = "0A";

/// A process that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// Its process id.
    pub pid: u32,
    /// The file name of its program, also if that has been replaced since.
    pub program: OsString,
}

/// The process that listens on this TCP port, on whichever address. `None` if there is none, or if it belongs to a user
/// whose processes ours may not look at.
pub fn listening(port: u16) -> Option<Listening> {
    let sockets: Vec<PathBuf> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .flat_map(|table| inodes(&table, port))
        .map(|inode| PathBuf::from(format!("socket:[{inode}]")))
        .collect();
    if sockets.is_empty() {
        return None;
    }
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut holders = pids.filter(|pid| has_any(*pid, &sockets));
    holders.find_map(|pid: u32| Some(Listening { pid, program: program(pid)? }))
}

/// The numbers of the sockets that listen on this port, out of a table of the kernel (proc(5)).
fn inodes(table: &str, port: u16) -> Vec<u64> {
    let wanted = format!(":{port:04X}");
    let row = |line: &str| {
        let mut columns = line.split_whitespace().skip(1);
        let (local, state) = (columns.next()?, columns.nth(1)?);
        // Behind the state: queues, timer, retransmits, user, timeout.
        let inode = columns.nth(5)?;
        (local.ends_with(&wanted) && state == LISTENING).then(|| inode.parse().ok())?
    };
    table.lines().filter_map(row).collect()
}

fn has_any(pid: u32, sockets: &[PathBuf]) -> bool {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    descriptors.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| sockets.contains(&target))
}

fn program(pid: u32) -> Option<OsString> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let path =
        path.to_str().and_then(|path| path.strip_suffix(" (deleted)")).map_or(path.as_path(), Path::new);
    path.file_name().map(OsString::from)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listener_is_found_by_its_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let found = listening(port).unwrap();
        assert_eq!(found.pid, std::process::id());
        let own = std::env::current_exe().unwrap();
        assert_eq!(Some(found.program.as_os_str()), own.file_name());
        drop(listener);
        assert_eq!(listening(port).filter(|found| found.pid == std::process::id()), None);
    }

    #[test]
    fn only_listening_sockets_of_the_port_count() {
        let row = |local: &str, state: &str, inode: u32| {
            format!(
                "   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000  1000        0 {inode} 1 x"
            )
        };
        let table = [
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode".to_owned(),
            row("0100007F:1F90", "0A", 11),
            row("0100007F:1F90", "01", 12),
            row("0100007F:1F91", "0A", 13),
            row("00000000000000000000000000000000:1F90", "0A", 14),
            "cut".to_owned(),
        ];
        assert_eq!(inodes(&table.join("\n"), 8080), [11, 14]);
    }
}
