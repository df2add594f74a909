//! SIGHUP: the configuration is read again, on the main thread. Settings that may change take effect; the others keep
//! their running values and are named in the log.

use std::sync::Arc;

use log::{info, warn};

use super::open;
use crate::component::Component;
use crate::config::{Config, Merged, Source};
use crate::error::Result;
use crate::http::Server;
use crate::log::{Destination, Switch};
use crate::web::Web;

/// The running configuration, and the parts that accept new settings while they run.
pub(super) struct Reload<'a> {
    /// The configuration that is in force.
    pub config: Config,
    /// The same as keys and values.
    pub source: Source,
    /// Reads the configuration from where it was found.
    pub reread: &'a dyn Fn() -> Result<Source>,
    pub log: Switch,
    pub web: Arc<Web>,
    pub component: Arc<Component>,
    pub server: &'a Server,
}

impl Reload<'_> {
    /// Takes a new configuration. A wrong one is logged and changes nothing. The log is opened anew in either case: its
    /// file may have been moved.
    pub fn reload(&mut self) {
        if let Err(error) = self.take() {
            self.reopen_log();
            log::error!("the configuration is not reloaded, the old one stays: {error}");
        }
    }

    fn take(&mut self) -> Result<()> {
        let new = (self.reread)()?;
        let merged = Config::merge(&self.source, &new)?;
        // Steps that may fail come first: a configuration is taken completely or not at all.
        let destination = Destination::open(merged.config.logging.file.as_deref())?;
        let old_certificate = match self.renew_certificate(&merged) {
            // The new configuration has no HTTPS any more, so an error in its keystore does not refuse the rest.
            Err(error) if merged.waiting.contains(&"https.enabled") => Some(error),
            result => result.map(|()| None)?,
        };
        let Merged { config, source, waiting, notices } = merged;
        self.log.set(config.logging.level, destination);
        self.apply(&config);
        for notice in notices {
            log::log!(notice.level, "{}", notice.text);
        }
        if let Some(error) = old_certificate {
            warn!("HTTPS is served with the old certificate until the restart: {error}");
        }
        info!("configuration reloaded from {}", source.name);
        for key in waiting {
            warn!("{key} has changed: that takes effect when the server is restarted");
        }
        (self.config, self.source) = (config, source);
        Ok(())
    }

    /// Reads the keystore again if HTTPS is served. New connections get its certificate.
    fn renew_certificate(&self, merged: &Merged) -> Result<()> {
        let Some(keystore) = &merged.config.keystore else { return Ok(()) };
        self.server.set_certificate(&keystore.read()?)
    }

    fn apply(&self, config: &Config) {
        self.server.set_limits(open::limits(config));
        self.web.library().set_settings(config.media);
        self.web.uploads().set_settings(config.uploads.clone());
        self.web.library().set_housekeeping(config.housekeeping);
        self.web.library().set_previews(config.previews.clone());
        self.web.door().set_settings(config.access.clone());
        self.web.set_settings(config.web.clone());
        self.component.set_settings(config.component.clone());
    }

    fn reopen_log(&self) {
        let logging = &self.config.logging;
        // Where the file can't be opened anew, the log goes on into the old one.
        if let Ok(destination) = Destination::open(logging.file.as_deref()) {
            self.log.set(logging.level, destination);
        }
    }
}
