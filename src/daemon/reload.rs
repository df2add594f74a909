//! SIGHUP: the configuration is read again; what can change does, what can't is named in the log.

use std::sync::Arc;

use log::{info, warn};

use super::settings;
use crate::config::{Config, Source, need_restart};
use crate::error::Result;
use crate::http::Server;
use crate::log::{Destination, Switch};
use crate::web::Web;

/// The parts that take other settings while they run.
pub(super) struct Reload<'a> {
    /// The configuration of the start: what needs a restart is as it says.
    pub first: &'a Source,
    /// The configuration that is in force.
    pub current: Config,
    /// Reads the configuration from where it was found.
    pub reread: &'a dyn Fn() -> Result<Source>,
    pub log: Switch,
    pub web: Arc<Web>,
    pub server: &'a Server,
}

impl Reload<'_> {
    /// Takes a new configuration; a wrong one is told and leaves everything as it is. The log is opened anew either
    /// way: its file may have been moved.
    pub fn reload(&mut self) {
        let reloaded = self.take();
        if let Err(error) = reloaded {
            self.reopen_log();
            log::error!("the configuration is not reloaded, the old one stays: {error}");
        }
    }

    fn take(&mut self) -> Result<()> {
        let source = (self.reread)()?;
        let (mut config, notices) = Config::read(&source)?;
        self.keep_threads(&mut config);
        // What may fail comes first: a configuration is taken whole or not at all.
        let destination = Destination::open(config.logging.file.as_deref())?;
        if let (Some(https), true) = (&config.https, self.current.https.is_some()) {
            self.server.set_certificate(&settings::pkcs12(https)?)?;
        }
        self.log.set(config.logging.level, destination);
        self.server.set_limits(settings::limits(&config));
        self.web.library().set_settings(settings::media(&config));
        self.web.library().set_previews(settings::previews(&config));
        self.web.door().set_settings(settings::gate(&config));
        self.web.set_settings(settings::web(&config));
        for notice in notices {
            log::log!(notice.level, "{}", notice.text);
        }
        info!("configuration reloaded from {}", source.name);
        for key in need_restart(self.first, &source) {
            warn!("{key} has changed: that takes effect when the server is restarted");
        }
        self.current = config;
        Ok(())
    }

    /// Keeps the number of threads that run, and with another one wanted what was shared out among them.
    fn keep_threads(&self, new: &mut Config) {
        let running = &self.current;
        if new.http.threads != running.http.threads {
            new.http.threads = running.http.threads;
            (new.http.uploads_max, new.http.downloads_max) =
                (running.http.uploads_max, running.http.downloads_max);
            (new.preview.jobs_max, new.preview.queue_max) =
                (running.preview.jobs_max, running.preview.queue_max);
        }
    }

    fn reopen_log(&self) {
        let logging = &self.current.logging;
        // A file that can't be opened anew leaves us the old one, which is better than none.
        if let Ok(destination) = Destination::open(logging.file.as_deref()) {
            self.log.set(logging.level, destination);
        }
    }
}
