//! JDBC URLs, as `jdbc.db.url` and the environment variable `DATABASE` hold them.
//!
//! Syntax and defaults are those of PostgreSQL's JDBC driver (its documentation, "Connecting to the
//! Database"), except that `+` stands for itself and that user and password have no place before the host.
//! No error repeats a part of the URL that could be a piece of a password with a bare `&`, `/` or `@`. That is why
//! the URL is not given to the parser of `postgres::Config`, whose errors name unknown options.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use crate::error::{Error, Kind};
use crate::secret::Secret;
use crate::store::{PostgresSettings, SslMode};

/// Where the metadata is. `Display` shows it without user, password and options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// `jdbc:postgresql:…`
    Postgres(PostgresSettings),
    /// `jdbc:sqlite:PATH`
    Sqlite(PathBuf),
}

/// The port of a host without one.
const PORT: u16 = 5432;

/// Connections, unless `jdbc.pool.size` says otherwise: a URL does not know it.
const POOL_SIZE: u32 = 1;

/// Parses either kind of URL; errors are of [`Kind::Config`] and don't hold the password.
impl FromStr for Database {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self, Error> {
        let parsed = if let Some(rest) = url.strip_prefix("jdbc:postgresql:") {
            postgres(rest).map(Self::Postgres)
        } else if let Some(path) = url.strip_prefix("jdbc:sqlite:") {
            sqlite(path).map(Self::Sqlite)
        } else {
            Err("a database URL begins with jdbc:postgresql: or jdbc:sqlite:".to_owned())
        };
        parsed.map_err(|what| Error::new(Kind::Config, what))
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = match self {
            Self::Sqlite(path) => return write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => url,
        };
        f.write_str("postgresql://")?;
        for (index, (host, port)) in url.hosts.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
            write!(f, "{comma}{open}{host}{close}:{port}")?;
        }
        write!(f, "/{}", url.database.as_deref().unwrap_or_default())
    }
}

fn sqlite(path: &str) -> Result<PathBuf, String> {
    if path.is_empty() || path.starts_with(':') || path.starts_with("file:") || path.contains(['?', '\0']) {
        return Err("jdbc:sqlite: is followed by the path of a file and nothing else".to_owned());
    }
    Ok(path.into())
}

fn postgres(rest: &str) -> Result<PostgresSettings, String> {
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    if address.contains('@') {
        return Err("user and password are given as ?user=NAME&password=PASSWORD".to_owned());
    }
    let (authority, database) = match address.strip_prefix("//") {
        Some(rest) => rest.split_once('/').unwrap_or((rest, "")),
        None => ("", address.strip_prefix('/').unwrap_or(address)),
    };
    if database.contains('/') {
        return Err("a / in the database's name is written %2F".to_owned());
    }
    let mut parameters = Parameters::new(PostgresSettings {
        hosts: authority.split(',').map(host).collect::<Result<_, _>>()?,
        database: filled(decode(database).map_err(|what| format!("the database's name holds {what}"))?),
        user: None,
        password: None,
        ssl: SslMode::default(),
        ssl_root: None,
        schema: None,
        connect_timeout: None,
        socket_timeout: None,
        application_name: None,
        pool_size: POOL_SIZE,
        has_nodes: false,
    });
    for (index, text) in query.split('&').enumerate().filter(|(_, text)| !text.is_empty()) {
        parameters.read(index + 1, text)?;
    }
    Ok(parameters.finish())
}

/// `host`, `host:port`, `:port`, `[IPv6]`, `[IPv6]:port` or nothing.
fn host(text: &str) -> Result<(String, u16), String> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => bracketed(rest)?,
        None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
    };
    if !name.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':')) {
        return Err("a host with characters that host names do not have".to_owned());
    }
    let port = port.map_or(Some(PORT), |port| number(port).filter(|port| *port > 0));
    let port =
        port.ok_or("a port that is not a number from 1 to 65535 (an IPv6 address stands in brackets)")?;
    Ok((if name.is_empty() { "localhost" } else { name }.to_owned(), port))
}

/// The address and the port behind a `[`.
fn bracketed(rest: &str) -> Result<(&str, Option<&str>), &'static str> {
    let (address, after) = rest.split_once(']').ok_or("an IPv6 address without its ]")?;
    address.parse::<std::net::Ipv6Addr>().map_err(|_| "brackets without an IPv6 address in them")?;
    match after.strip_prefix(':') {
        None if !after.is_empty() => Err("the ] of an IPv6 address is followed by :PORT or nothing"),
        port => Ok((address, port)),
    }
}

/// The parameters behind the `?` that have been read so far.
struct Parameters {
    url: PostgresSettings,
    /// The value of `ssl`; `sslmode` has precedence, wherever it stands.
    ssl: Option<SslMode>,
    ssl_mode: Option<SslMode>,
    /// The directory of a Unix socket.
    directory: Option<String>,
    /// Whether a password has been read, even an empty one.
    password: bool,
}

impl Parameters {
    fn new(url: PostgresSettings) -> Self {
        Self { url, ssl: None, ssl_mode: None, directory: None, password: false }
    }

    /// Reads `name=value`, the parameter of this number.
    fn read(&mut self, number: usize, text: &str) -> Result<(), String> {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        let value = decode(value).map_err(|what| format!("parameter {number} holds {what}"))?;
        if self.set(name, value)? {
            return Ok(());
        }
        // Behind a password, a text that looks like a parameter may be a piece of the password.
        if self.password {
            let hint = "it comes after password, in which an & is written %26";
            return Err(format!("parameter {number} is not known; {hint}"));
        }
        Err(format!("the parameter {name:?} is not known"))
    }

    /// Takes one parameter; false if it is not known.
    fn set(&mut self, name: &str, value: String) -> Result<bool, String> {
        let url = &mut self.url;
        match name {
            "user" => url.user = filled(value),
            "password" => {
                self.password = true;
                url.password = filled(value).map(Secret::new);
            }
            "ssl" => self.ssl = Some(ssl(&value)?),
            "sslmode" => self.ssl_mode = Some(ssl_mode(&value)?),
            "sslrootcert" => url.ssl_root = filled(value).map(PathBuf::from),
            "connectTimeout" | "loginTimeout" => {
                let both = [url.connect_timeout, seconds(name, &value)?];
                url.connect_timeout = both.into_iter().flatten().min();
            }
            "socketTimeout" => url.socket_timeout = seconds(name, &value)?,
            "currentSchema" => url.schema = filled(schema(value)?),
            "ApplicationName" => url.application_name = filled(value),
            "host" => self.directory = Some(directory(value)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(self) -> PostgresSettings {
        let mut url = self.url;
        url.ssl = self.ssl_mode.or(self.ssl).unwrap_or(url.ssl);
        if let Some(directory) = self.directory {
            url.hosts.truncate(1);
            url.hosts.iter_mut().for_each(|(host, _)| host.clone_from(&directory));
        }
        url
    }
}

/// `ssl=true`, and `ssl` alone, mean a verified certificate, as in the driver.
fn ssl(value: &str) -> Result<SslMode, String> {
    match value {
        "" | "true" => Ok(SslMode::VerifyFull),
        "false" => Ok(SslMode::Disable),
        _ => Err("the parameter ssl is true or false".to_owned()),
    }
}

fn ssl_mode(value: &str) -> Result<SslMode, String> {
    Ok(match value {
        "disable" => SslMode::Disable,
        // `allow` tries without TLS first; it accepts both.
        "allow" | "prefer" => SslMode::Prefer,
        "require" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" => SslMode::VerifyFull,
        _ => return Err("sslmode is disable, allow, prefer, require, verify-ca or verify-full".to_owned()),
    })
}

/// A time in whole seconds; 0 means no limit.
fn seconds(name: &str, value: &str) -> Result<Option<Duration>, String> {
    let seconds: u32 = number(value).ok_or_else(|| format!("{name} is a number of seconds"))?;
    Ok((seconds > 0).then(|| Duration::from_secs(seconds.into())))
}

/// Only names that need no quoting: they go into an option of the connection.
fn schema(value: String) -> Result<String, String> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | ',');
    if value.chars().all(plain) {
        return Ok(value);
    }
    Err("currentSchema holds names of letters, digits, _ and $, separated by commas".to_owned())
}

fn directory(value: String) -> Result<String, String> {
    if value.starts_with('/') { Ok(value) } else { Err("host is the directory of a Unix socket".to_owned()) }
}

fn filled(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

/// Digits only: `parse` alone would take a sign.
fn number<T: FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn decode(text: &str) -> Result<String, &'static str> {
    let escape =
        |rest: &str| rest.as_bytes().get(..2).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
    if !text.split('%').skip(1).all(escape) {
        return Err("a % without two hexadecimal digits behind it; % itself is written %25");
    }
    let decoded = percent_decode_str(text).decode_utf8().map_err(|_| "an escape that is not UTF-8")?;
    if decoded.contains('\0') { Err("a NUL") } else { Ok(decoded.into_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> PostgresSettings {
        match text.parse() {
            Ok(Database::Postgres(url)) => url,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn error(text: &str) -> String {
        let error = text.parse::<Database>().unwrap_err();
        assert_eq!(error.kind(), Kind::Config);
        error.to_string()
    }

    #[test]
    fn every_form_of_address() {
        let table: &[(&str, &str)] = &[
            ("jdbc:postgresql:media", "postgresql://localhost:5432/media"),
            ("jdbc:postgresql:/media", "postgresql://localhost:5432/media"),
            ("jdbc:postgresql:", "postgresql://localhost:5432/"),
            ("jdbc:postgresql:/", "postgresql://localhost:5432/"),
            ("jdbc:postgresql:///media", "postgresql://localhost:5432/media"),
            ("jdbc:postgresql://db", "postgresql://db:5432/"),
            ("jdbc:postgresql://db/", "postgresql://db:5432/"),
            ("jdbc:postgresql://db/media?user=a", "postgresql://db:5432/media"),
            ("jdbc:postgresql://db:6000/media", "postgresql://db:6000/media"),
            ("jdbc:postgresql://:6000/media", "postgresql://localhost:6000/media"),
            ("jdbc:postgresql://a:1,b,c:3/media", "postgresql://a:1,b:5432,c:3/media"),
            ("jdbc:postgresql://[::1]/media", "postgresql://[::1]:5432/media"),
            (
                "jdbc:postgresql://[2001:db8::1]:6000,10.0.0.1/m",
                "postgresql://[2001:db8::1]:6000,10.0.0.1:5432/m",
            ),
            ("jdbc:postgresql://db/%C3%A9%2f%25", "postgresql://db:5432/é/%"),
            ("jdbc:postgresql:///media?host=/run/postgresql", "postgresql:///run/postgresql:5432/media"),
            ("jdbc:postgresql://:6000/m?host=%2Frun", "postgresql:///run:6000/m"),
            ("jdbc:sqlite:/var/lib/media/m.sqlite", "sqlite:/var/lib/media/m.sqlite"),
            ("jdbc:sqlite:a%20b", "sqlite:a%20b"),
        ];
        for (text, expected) in table {
            assert_eq!(text.parse::<Database>().unwrap().to_string(), *expected, "{text}");
        }
        assert_eq!(url("jdbc:postgresql://[::1]/m").hosts, [("::1".to_owned(), 5432)]);
        assert_eq!(url("jdbc:postgresql:").database, None);
    }

    #[test]
    fn every_parameter() {
        let all = url(
            "jdbc:postgresql://db/m?user=m%26m&password=p+%C3%A9%26&sslmode=require&sslrootcert=/etc/ca.pem&connectTimeout=7&\
                       socketTimeout=8&loginTimeout=5&currentSchema=media,public&ApplicationName=media%20server",
        );
        let expected = PostgresSettings {
            hosts: vec![("db".to_owned(), 5432)],
            database: Some("m".to_owned()),
            user: Some("m&m".to_owned()),
            password: Some(Secret::new("p+é&")),
            ssl: SslMode::Require,
            ssl_root: Some("/etc/ca.pem".into()),
            schema: Some("media,public".to_owned()),
            connect_timeout: Some(Duration::from_secs(5)),
            socket_timeout: Some(Duration::from_secs(8)),
            application_name: Some("media server".to_owned()),
            pool_size: POOL_SIZE,
            has_nodes: false,
        };
        assert_eq!(all, expected);
        let none = url("jdbc:postgresql:m?&user=&&connectTimeout=0");
        assert_eq!((none.user, none.password, none.connect_timeout), (None, None, None));
    }

    #[test]
    fn ssl_means_the_same_as_in_the_driver() {
        let table = [
            ("", SslMode::Prefer),
            ("ssl", SslMode::VerifyFull),
            ("ssl=true", SslMode::VerifyFull),
            ("ssl=false", SslMode::Disable),
            ("sslmode=require&ssl=true", SslMode::Require),
            ("ssl=true&sslmode=require", SslMode::Require),
            ("sslmode=disable", SslMode::Disable),
            ("sslmode=allow", SslMode::Prefer),
            ("sslmode=prefer", SslMode::Prefer),
            ("sslmode=verify-ca", SslMode::VerifyCa),
            ("sslmode=verify-full", SslMode::VerifyFull),
        ];
        for (query, expected) in table {
            assert_eq!(url(&format!("jdbc:postgresql:m?{query}")).ssl, expected, "{query}");
        }
    }

    #[test]
    fn invalid_urls_and_their_errors() {
        let table: &[(&str, &str)] = &[
            ("postgres://db/m", "a database URL begins with jdbc:postgresql: or jdbc:sqlite:"),
            ("", "a database URL begins with jdbc:postgresql: or jdbc:sqlite:"),
            ("jdbc:sqlite:", "jdbc:sqlite: is followed by the path of a file and nothing else"),
            ("jdbc:sqlite::memory:", "jdbc:sqlite: is followed by the path of a file and nothing else"),
            ("jdbc:sqlite:a?b", "jdbc:sqlite: is followed by the path of a file and nothing else"),
            ("jdbc:postgresql:m?tcpKeepAlive=true", "the parameter \"tcpKeepAlive\" is not known"),
            ("jdbc:postgresql:m?User=a", "the parameter \"User\" is not known"),
            (
                "jdbc:postgresql:m?sslmode=on",
                "sslmode is disable, allow, prefer, require, verify-ca or verify-full",
            ),
            ("jdbc:postgresql:m?ssl=1", "the parameter ssl is true or false"),
            ("jdbc:postgresql:m?connectTimeout=+5", "connectTimeout is a number of seconds"),
            ("jdbc:postgresql:m?socketTimeout=", "socketTimeout is a number of seconds"),
            ("jdbc:postgresql:m?host=db", "host is the directory of a Unix socket"),
            (
                "jdbc:postgresql:m?currentSchema=a%20-c",
                "currentSchema holds names of letters, digits, _ and $, separated by commas",
            ),
            ("jdbc:postgresql:m?ApplicationName=%00", "parameter 1 holds a NUL"),
            ("jdbc:postgresql:m?user=%ff", "parameter 1 holds an escape that is not UTF-8"),
            ("jdbc:postgresql://a/b/c", "a / in the database's name is written %2F"),
            ("jdbc:postgresql://a b/c", "a host with characters that host names do not have"),
            ("jdbc:postgresql://[::1/c", "an IPv6 address without its ]"),
            ("jdbc:postgresql://[::1]5/c", "the ] of an IPv6 address is followed by :PORT or nothing"),
            ("jdbc:postgresql://[db]/c", "brackets without an IPv6 address in them"),
        ];
        for (text, expected) in table {
            assert_eq!(error(text), *expected, "{text}");
        }
        for port in ["0", "65536", "+1", "", "x", ":1"] {
            let text = error(&format!("jdbc:postgresql://db:{port}/m"));
            assert!(text.starts_with("a port that is not a number"), "{port}: {text}");
        }
    }

    #[test]
    fn no_message_shows_the_password() {
        for text in [
            "jdbc:postgresql://me:hunter2@db/m",
            "jdbc:postgresql://me:hunter2/x@db/m",
            "jdbc:postgresql://me:hunter2/m",
            "jdbc:postgresql://db/m?password=50%hunter2",
            "jdbc:postgresql://db/m?password=a&hunter2",
            "jdbc:postgresql://db/m?password=a&hunter2=b&user=c",
            "jdbc:postgresql://db/m?password=hunter2&nope=1",
            "jdbc:postgresql://db/m?password=&hunter2",
            "jdbc:mysql://db/m?password=hunter2",
            "postgres://me:hunter2@db/m",
            "jdbc:sqlite:?hunter2",
        ] {
            assert!(!error(text).contains("hunter2"), "{}", error(text));
        }
        let database: Database = "jdbc:postgresql://db/m?user=a&password=hunter2".parse().unwrap();
        assert!(!format!("{database} {database:?}").contains("hunter2"));
    }

    #[test]
    fn random_urls_are_parsed_or_refused() {
        let pieces =
            ["jdbc:postgresql:", "//", "/", "a", ":", "5", "[::1]", ",", "?", "user=", "password=", "&"];
        let pieces =
            [&pieces[..], &["ssl", "sslmode=", "host=", "%2F", "%", "é", "@", "connectTimeout="]].concat();
        let mut random = crate::testing::Random::new(3);
        for _ in 0..20_000 {
            let tail: String = (0..random.below(12)).map(|_| pieces[random.below(pieces.len())]).collect();
            if let Ok(Database::Postgres(url)) = format!("jdbc:postgresql:{tail}").parse() {
                assert!(
                    !url.hosts.is_empty()
                        && url.hosts.iter().all(|(host, port)| !host.is_empty() && *port > 0)
                );
            }
        }
    }
}
