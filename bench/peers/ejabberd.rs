//! ejabberd with mod_http_upload. It runs apart from the system's: without a node's name, hence without epmd, and
//! with its database, log and uploads in a scratch directory.

use std::path::{Path, PathBuf};

use super::{configure, folder, wait_ready};
use crate::support::child::Guarded;
use crate::support::free_port;
use crate::support::scratch::Scratch;
use crate::uploads::Slots;

/// An ejabberd.
pub struct Ejabberd {
    process: Option<Guarded>,
    scratch: Scratch,
    /// Where it gives slots and takes uploads.
    pub slots: Slots,
}

impl Ejabberd {
    /// Starts one and waits until it listens for clients and for HTTP.
    pub fn start() -> Self {
        let slots = Slots { client_port: free_port(), port: free_port() };
        let mut ejabberd = Self { process: None, scratch: Scratch::new(), slots };
        ejabberd.process = Some(wait_ready("ejabberd", ejabberd.launch(), slots));
        ejabberd
    }

    /// Starts another process with the same data.
    pub fn launch(&self) -> Guarded {
        let directory = self.scratch.path().display().to_string();
        let ports = [self.slots.client_port, self.slots.port].map(|port| port.to_string());
        let values = [("DIR", directory.as_str()), ("C2S_PORT", &ports[0]), ("HTTP_PORT", &ports[1])];
        let config = configure(&self.scratch, "ejabberd.yml", include_str!("ejabberd.yml"), &values);
        let quoted = |path: String| format!("\"{path}\""); // an Erlang string
        let (config, spool) = (quoted(config), quoted(folder(&self.scratch, "spool")));
        let log = quoted(format!("{directory}/ejabberd.log"));
        let library = library();
        let command = [
            &["erl", "-noinput", "+K", "true", "+P", "250000", "-pa", &library, "-mnesia", "dir", &spool][..],
            &["-ejabberd", "config", &config, "log_path", &log, "-s", "ejabberd"],
        ];
        let environment = [("HOME", directory.as_str()), ("ERL_MAX_PORTS", "32000")];
        Guarded::start(&command.concat(), &environment, &self.scratch.join("output"))
    }

    /// Ends the process.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("ejabberd runs").pid()
    }

    /// Where its uploads lie.
    pub fn uploads(&self) -> PathBuf {
        self.scratch.join("upload")
    }
}

/// The folder of its modules; Debian's has the version in its name.
fn library() -> String {
    let folder = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let entries = std::fs::read_dir(Path::new(&folder)).into_iter().flatten().flatten();
    let found =
        entries.map(|entry| entry.path().join("ebin")).find(|path| path.join("ejabberd.beam").exists());
    found.expect("ejabberd is not installed: run scripts/install-dependencies bench").display().to_string()
}
