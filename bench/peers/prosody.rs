//! Prosody with mod_http_file_share.

use std::fs;
use std::path::Path;

use super::wait_ready;
use crate::support::child::Guarded;
use crate::support::free_port;
use crate::support::prosody::PASSWORD;
use crate::support::scratch::Scratch;
use crate::uploads::{PEER_SERVICE, SLOT_USERS, Slots};

/// A Prosody.
pub struct FileShare {
    process: Option<Guarded>,
    scratch: Scratch,
    /// Where it gives slots and takes uploads.
    pub slots: Slots,
}

impl FileShare {
    /// Starts one and waits until it listens for clients and for HTTP.
    pub fn start() -> Self {
        let slots =
            Slots { client_port: free_port(), port: free_port(), service: PEER_SERVICE, users: SLOT_USERS };
        let mut prosody = Self { process: None, scratch: Scratch::new(), slots };
        prosody.add_accounts();
        prosody.process = Some(wait_ready("Prosody", prosody.launch(), slots));
        prosody
    }

    /// Starts another process with the same data.
    pub fn launch(&self) -> Guarded {
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/peers/prosody.cfg.lua");
        let (config, directory) = (config.display().to_string(), self.scratch.path().display().to_string());
        let ports = [self.slots.client_port, self.slots.port].map(|port| port.to_string());
        let environment =
            [("SITE_DIR", directory.as_str()), ("C2S_PORT", &ports[0]), ("HTTP_PORT", &ports[1])];
        Guarded::start(&["prosody", "-F", "--config", &config], &environment, &self.scratch.join("output"))
    }

    /// Ends the process.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("Prosody runs").pid()
    }

    fn add_accounts(&self) {
        let folder = self.scratch.join("data/example%2eorg/accounts");
        fs::create_dir_all(&folder).expect("the scratch directory takes folders");
        for number in 0..SLOT_USERS {
            let account = format!("return {{ [\"password\"] = \"{PASSWORD}\" }};\n");
            fs::write(folder.join(format!("user{number}.dat")), account).expect("the folder takes files");
        }
    }
}
