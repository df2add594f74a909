//! The address of a PostgreSQL database, and the way to log in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use postgres::Config;

use super::fault::fault;
use super::tls::Tls;
use crate::error::{Error, Kind, Result};
use crate::limits;
use crate::secret::Secret;

/// A database and how to log in to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresSettings {
    /// Host and port of each server, tried in this order. A host that begins with `/` is the directory of a
    /// Unix socket.
    pub hosts: Vec<(String, u16)>,
    /// The role; if unset, the name of the system's user.
    pub user: Option<String>,
    /// The role's password.
    pub password: Option<Secret>,
    /// The database's name; if unset, the server takes the role's.
    pub database: Option<String>,
    /// Whether connections are encrypted.
    pub ssl: SslMode,
    /// A file with the certificate (PEM) that the server's is to be signed by, besides the system's.
    pub ssl_root: Option<PathBuf>,
    /// The schemas that tables are looked for in, as `search_path` has them.
    pub schema: Option<String>,
    /// Longest wait for a server to take a connection; [`limits::DATABASE_WAIT`] if unset.
    pub connect_timeout: Option<Duration>,
    /// Longest wait for an operation's end; [`limits::DATABASE_ANSWER`] if unset.
    pub socket_timeout: Option<Duration>,
    /// The name that the server shows for our connections.
    pub application_name: Option<String>,
    /// The limit of open connections.
    pub pool_size: u32,
    /// Whether other nodes use the database, too, and are told of changes.
    pub has_nodes: bool,
}

/// Whether connections are encrypted, in the words of libpq and of JDBC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SslMode {
    /// Connections are never encrypted.
    Disable,
    /// Connections are encrypted if the server can; its certificate is not looked at.
    #[default]
    Prefer,
    /// Connections are always encrypted; the certificate is looked at only if there is an `ssl_root` (then as with
    /// `VerifyCa`).
    Require,
    /// Connections are always encrypted, and an authority that we trust must have signed the certificate.
    VerifyCa,
    /// As `VerifyCa`, and the certificate must be for the host, too.
    VerifyFull,
}

impl PostgresSettings {
    /// A database of a test's server.
    #[cfg(test)]
    pub(crate) fn for_test(port: u16, database: &str) -> Self {
        Self {
            hosts: vec![("127.0.0.1".into(), port)],
            user: Some("media".into()),
            password: Some(Secret::new("hunter2")),
            database: Some(database.into()),
            ssl: SslMode::default(),
            ssl_root: None,
            schema: None,
            connect_timeout: None,
            socket_timeout: None,
            application_name: None,
            pool_size: 4,
            has_nodes: false,
        }
    }

    /// How long it may take to connect and to log in, to the first server that answers.
    pub(super) fn connect_time(&self) -> Duration {
        let servers = u32::try_from(self.hosts.len()).unwrap_or(u32::MAX).saturating_add(1);
        self.connect_timeout.unwrap_or(limits::DATABASE_WAIT).saturating_mul(servers)
    }

    pub(in crate::store) fn config(&self) -> Config {
        let mut config = Config::new();
        for (host, port) in &self.hosts {
            config.host(host).port(*port);
        }
        if let Some(user) = &self.user {
            config.user(user);
        }
        if let Some(password) = &self.password {
            config.password(password.expose());
        }
        if let Some(database) = &self.database {
            config.dbname(database);
        }
        config
            .application_name(self.application_name.as_deref().unwrap_or("buddycloud-media-server"))
            .connect_timeout(self.connect_timeout.unwrap_or(limits::DATABASE_WAIT))
            .tcp_user_timeout(limits::DATABASE_KEEPALIVE)
            .keepalives_idle(limits::DATABASE_KEEPALIVE)
            .keepalives_interval(limits::DATABASE_KEEPALIVE / 3)
            .keepalives_retries(3)
            .ssl_mode(match self.ssl {
                SslMode::Disable => postgres::config::SslMode::Disable,
                SslMode::Prefer => postgres::config::SslMode::Prefer,
                _ => postgres::config::SslMode::Require,
            });
        config
    }

    /// The error of a connection that was not made; the text names the database and the setting, never the password.
    pub(in crate::store) fn refused(&self, cause: postgres::Error) -> Error {
        let error = fault(cause);
        Error::caused(error.kind(), format!("can't connect to {} (jdbc.db.url)", self.place()), error)
    }

    /// The servers and the name of the database.
    fn place(&self) -> String {
        let hosts = self.hosts.iter().map(|(host, port)| match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        });
        let hosts: Vec<_> = hosts.collect();
        format!("the database {} at {}", self.database.as_deref().unwrap_or_default(), hosts.join(", "))
    }

    /// The encryption of connections. Fails if the certificate of `ssl_root` can't be read.
    pub(in crate::store) fn tls(&self) -> Result<Tls> {
        let root = self.ssl_root.as_deref().map(certificate).transpose()?;
        let signed = match self.ssl {
            SslMode::Disable | SslMode::Prefer => false,
            SslMode::Require => root.is_some(),
            SslMode::VerifyCa | SslMode::VerifyFull => true,
        };
        Ok(Tls::new(root, signed, self.ssl == SslMode::VerifyFull))
    }
}

fn certificate(path: &Path) -> Result<native_tls::Certificate> {
    let refuse = |cause: Box<dyn std::error::Error + Send + Sync>| {
        Error::caused(Kind::Config, format!("can't use {} as sslrootcert", path.display()), cause)
    };
    let pem = std::fs::read(path).map_err(|cause| refuse(cause.into()))?;
    native_tls::Certificate::from_pem(&pem).map_err(|cause| refuse(cause.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_shown_without_their_password() {
        let settings = PostgresSettings::for_test(5432, "media");
        let shown = format!("{settings:?} {:?}", settings.config());
        assert!(shown.contains("127.0.0.1") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn hosts_and_the_database_are_named() {
        let mut settings = PostgresSettings::for_test(5432, "media");
        settings.hosts.push(("::1".into(), 5433));
        assert_eq!(settings.place(), "the database media at 127.0.0.1:5432, [::1]:5433");
    }

    #[test]
    fn a_certificate_that_can_not_be_read_is_the_configurations_fault() {
        let mut settings = PostgresSettings::for_test(5432, "media");
        for path in ["/nothing", "/dev/null"] {
            settings.ssl_root = Some(path.into());
            let error = settings.tls().err().unwrap();
            assert_eq!(error.kind(), Kind::Config);
            assert!(error.to_string().contains(path), "{error}");
        }
    }
}
