//! ejabberd with mod_http_upload, with its database, log and uploads in a scratch directory.

use std::path::{Path, PathBuf};

use super::{configure, wait_ready};
use crate::support::child::Guarded;
use crate::support::ejabberd::launch;
use crate::support::free_port;
use crate::support::scratch::Scratch;
use crate::uploads::{PEER_SERVICE, SLOT_USERS, Slots};

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
        let slots =
            Slots { client_port: free_port(), port: free_port(), service: PEER_SERVICE, users: SLOT_USERS };
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
        launch(self.scratch.path(), Path::new(&config))
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
