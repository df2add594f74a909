//! nginx with static files and with the DAV module's PUT.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use super::{configure, folder};
use crate::support::child::Guarded;
use crate::support::scratch::Scratch;
use crate::support::{free_port, wait_for};

/// A running nginx.
pub struct Nginx {
    process: Guarded,
    scratch: Scratch,
    port: u16,
}

impl Nginx {
    /// Starts one.
    pub fn start() -> Self {
        let (scratch, port) = (Scratch::new(), free_port());
        folder(&scratch, "root/upload");
        let directory = scratch.path().display().to_string();
        // Its workers would be another user's, to whom the scratch directory may be closed.
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let values = [("DIR", directory.as_str()), ("PORT", &port.to_string()), ("USER", user)];
        let config = configure(&scratch, "nginx.conf", include_str!("nginx.conf"), &values);
        let error_log = scratch.join("error.log").display().to_string();
        let command = ["/usr/sbin/nginx", "-e", &error_log, "-c", &config];
        let process = Guarded::start(&command, &[], &scratch.join("output"));
        let mut nginx = Self { process, scratch, port };
        nginx.wait_ready();
        nginx
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process whose children do the work.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Serves a file under this name; gives its path below the server's root.
    pub fn serve(&self, name: &str, file: &Path) -> String {
        fs::copy(file, self.scratch.join("root").join(name)).expect("files can be copied");
        format!("/{name}")
    }

    /// Where what was PUT below `/upload/` lies.
    pub fn uploads(&self) -> PathBuf {
        self.scratch.join("root/upload")
    }

    fn wait_ready(&mut self) {
        let (port, process) = (self.port, &mut self.process);
        wait_for("nginx to listen", || {
            assert!(process.ended().is_none(), "nginx ended:\n{}", process.printed());
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
    }
}
