//! Where the configuration comes from.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::settings::JDBC_DB_URL;
use super::values::Source;
use super::{Database, Entry, properties};
use crate::error::{Error, Kind, Result};
use crate::limits;

/// The places where a configuration is looked for, in order.
#[derive(Clone)]
pub struct Places {
    /// `-c FILE`: if it is given, no other place is read.
    pub file: Option<PathBuf>,
    /// The environment variable `DATABASE`: a JDBC URL, perhaps with a password; an empty one counts as unset.
    pub database: Option<OsString>,
    /// Files, of which the first that exists is read.
    pub files: Vec<PathBuf>,
}

impl Places {
    /// The places of the manual; the first file is looked for in the working directory.
    pub fn standard(file: Option<PathBuf>, database: Option<OsString>) -> Self {
        let files = [
            "mediaserver.properties",
            "/config/media-server/mediaserver.properties",
            "/etc/buddycloud-media-server/mediaserver.properties",
        ];
        Self { file, database, files: files.map(PathBuf::from).to_vec() }
    }

    /// Reads the configuration. `rows` reads keys and values of the table `configuration`; its errors are
    /// handed on. Other errors are of kind `Config`.
    pub fn read(&self, rows: impl FnOnce(&Database) -> Result<Vec<(String, String)>>) -> Result<Source> {
        if let Some(path) = &self.file {
            return parsed(path, &bytes(path).map_err(|error| unreadable(path, error))?);
        }
        if let Some(url) = self.database.as_ref().filter(|url| !url.is_empty()) {
            return from_database(url, rows);
        }
        let mut tried = Vec::new();
        for path in &self.files {
            match bytes(path) {
                Ok(bytes) => return parsed(path, &bytes),
                Err(error) if error.kind() == io::ErrorKind::NotFound => tried.push(shown(path)),
                Err(error) if is_out_of_reach(path, &error) => {
                    tried.push(format!("{} (its directory can't be read)", shown(path)));
                }
                Err(error) => return Err(unreadable(path, error)),
            }
        }
        let tried = tried.join(", ");
        Err(Error::new(Kind::Config, format!("no configuration: no -c FILE, no DATABASE, no file {tried}")))
    }
}

/// Whether a file of the working directory can't be reached because of that directory. A user whom another one runs the
/// program as often stands in a directory of that other one, such as root's home.
fn is_out_of_reach(path: &Path, error: &io::Error) -> bool {
    let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
    path.is_relative() && denied(error) && path.symlink_metadata().is_err_and(|error| denied(&error))
}

/// The rows of the table, with the URL that led to it as `jdbc.db.url`.
fn from_database(
    url: &OsString,
    rows: impl FnOnce(&Database) -> Result<Vec<(String, String)>>,
) -> Result<Source> {
    let unreadable = |cause: Error| Error::caused(Kind::Config, "the environment variable DATABASE", cause);
    let url = url.to_str().ok_or_else(|| unreadable(Error::new(Kind::Config, "not UTF-8")))?;
    let database: Database = url.parse().map_err(unreadable)?;
    let mut entries: Vec<_> = rows(&database)?
        .into_iter()
        .filter(|(key, _)| key != JDBC_DB_URL.key)
        .map(|(key, value)| Entry { key, value, line: None })
        .collect();
    entries.push(Entry { key: JDBC_DB_URL.key.to_owned(), value: url.to_owned(), line: None });
    Ok(Source { name: "table configuration".to_owned(), entries })
}

fn parsed(path: &Path, bytes: &[u8]) -> Result<Source> {
    let name = shown(path);
    let entries = properties::parse(&name, bytes)?;
    Ok(Source { name, entries })
}

/// A file's bytes; one more than the limit is enough to refuse it.
fn bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limits::CONFIG_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    Error::caused(Kind::Config, format!("can't read {}", shown(path)), error)
}

/// The absolute path, which means the same wherever the reader stands.
fn shown(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::testing::Scratch;

    fn written(scratch: &Scratch, name: &str, text: &str) -> PathBuf {
        let path = scratch.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn no_rows(_: &Database) -> Result<Vec<(String, String)>> {
        panic!("no database was named")
    }

    /// `key=value` of each entry, or the error.
    fn read(places: &Places) -> Vec<String> {
        let rows = |_: &Database| {
            let rows = [("http.port", "1"), ("jdbc.db.url", "jdbc:sqlite:other")];
            Ok(rows.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec())
        };
        match places.read(rows) {
            Ok(source) => source.entries.iter().map(|e| format!("{}={}", e.key, e.value)).collect(),
            Err(error) => {
                assert_eq!(error.kind(), Kind::Config);
                vec![error.to_string()]
            }
        }
    }

    #[test]
    fn each_place_outranks_those_behind_it() {
        let scratch = Scratch::new();
        let file = |name| Some(written(&scratch, name, &format!("from={name}")));
        let files: Vec<_> = ["a", "b"].map(|name| scratch.join(name)).to_vec();
        let mut places = Places { file: None, database: None, files };
        let (a, b) = (places.files[0].display().to_string(), places.files[1].display().to_string());
        assert_eq!(read(&places), [format!("no configuration: no -c FILE, no DATABASE, no file {a}, {b}")]);
        file("b");
        assert_eq!(read(&places), ["from=b"]);
        file("a");
        assert_eq!(read(&places), ["from=a"]);
        assert_eq!(places.read(no_rows).unwrap().name, a);
        places.database = Some("".into());
        assert_eq!(read(&places), ["from=a"]);
        places.database = Some("jdbc:postgresql:m".into());
        assert_eq!(read(&places), ["http.port=1", "jdbc.db.url=jdbc:postgresql:m"]);
        places.file = file("c");
        assert_eq!(read(&places), ["from=c"]);
        places.file = Some(scratch.join("d"));
        let missing = scratch.join("d").display().to_string();
        assert_eq!(read(&places), [format!("can't read {missing}: No such file or directory (os error 2)")]);
    }

    #[test]
    fn an_existing_file_that_can_not_be_read_is_an_error() {
        let scratch = Scratch::new();
        let (directory, good) = (scratch.path().to_owned(), written(&scratch, "good", "a=b"));
        let places = Places { file: None, database: None, files: vec![directory, good] };
        assert!(read(&places)[0].starts_with("can't read "), "{:?}", read(&places));
        let large = written(&scratch, "large", &"#".repeat(2 * 1024 * 1024));
        let places = Places { file: Some(large), database: None, files: Vec::new() };
        assert!(read(&places)[0].contains("more than 1048576 bytes"), "{:?}", read(&places));
    }

    #[test]
    fn a_broken_database_url_is_named_without_its_password() {
        let error = |url: &str| {
            let places = Places { file: None, database: Some(url.into()), files: Vec::new() };
            read(&places).remove(0)
        };
        assert_eq!(
            error("postgres://me:hunter2@db/m"),
            "the environment variable DATABASE: a database URL begins with jdbc:postgresql: or jdbc:sqlite:"
        );
        assert!(!error("jdbc:postgresql:m?password=hunter2&x=y").contains("hunter2"));
    }

    #[test]
    fn errors_of_the_database_are_handed_on() {
        let database = Some("jdbc:sqlite:x".into());
        let places = Places { file: None, database, files: Vec::new() };
        let error = places.read(|_| Err(Error::new(Kind::Unavailable, "away"))).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Unavailable, "away"));
    }

    #[test]
    fn the_standard_places() {
        let places = Places::standard(None, None);
        let first = Path::new("mediaserver.properties");
        let last = Path::new("/etc/buddycloud-media-server/mediaserver.properties");
        assert_eq!((places.files[0].as_path(), places.files[2].as_path()), (first, last));
    }
}
