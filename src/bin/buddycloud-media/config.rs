//! The configuration file and the password.

use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use media_server::model::{BareJid, Jid};
use media_server::secret::Secret;

use crate::exit::{Exit, Failure, Result};

/// The variable of the environment that holds the password.
const PASSWORD: &str = "BUDDYCLOUD_MEDIA_PASSWORD";

/// The port of a name server.
const DNS_PORT: u16 = 53;

/// The configuration file, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// Where it was looked for.
    pub path: PathBuf,
    /// The account.
    pub jid: Option<BareJid>,
    /// The file whose first line is the password.
    pub password_file: Option<PathBuf>,
    /// The command that prints the password.
    pub password_command: Option<String>,
    /// Host and port of the XMPP server, instead of what the DNS says.
    pub server: Option<(String, u16)>,
    /// The name server to ask, instead of those of resolv.conf.
    pub dns: Option<SocketAddr>,
    /// A file of authorities to trust besides the system's.
    pub ca: Option<PathBuf>,
    /// The service, instead of what discovery finds.
    pub service: Option<Jid>,
}

impl Config {
    /// Reads the file that was named, or the usual one, which may be missing.
    pub fn load(named: Option<&Path>) -> Result<Self> {
        let path = named.map_or_else(usual_path, Path::to_owned);
        match fs::read_to_string(&path) {
            Ok(text) => {
                let config = Self::parse(&text, &path);
                config.map_err(|text| Failure::new(Exit::Config, format!("{}: {text}", path.display())))
            }
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Self { path, ..Self::default() })
            }
            Err(error) => Err(Failure::new(Exit::Config, format!("can't read {}: {error}", path.display()))),
        }
    }

    /// Reads the text of a file. Relative paths in it begin at its folder, `~/` at the user's.
    fn parse(text: &str, path: &Path) -> std::result::Result<Self, String> {
        let mut config = Self { path: path.to_owned(), ..Self::default() };
        let folder = path.parent().unwrap_or(Path::new(""));
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let told = |what: String| format!("line {}: {what}", number + 1);
            let pair = line.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
            let (key, value) = pair.ok_or_else(|| told("not KEY = VALUE".to_owned()))?;
            if value.is_empty() {
                return Err(told(format!("{key} has no value")));
            }
            config.set(key, value, folder).map_err(told)?;
        }
        Ok(config)
    }

    fn set(&mut self, key: &str, value: &str, folder: &Path) -> std::result::Result<(), String> {
        let wrong = |what: &str| format!("{key} must be {what}, not {value}");
        match key {
            "jid" => {
                let jid: Option<BareJid> = value.parse().ok();
                let jid = jid.filter(|jid| jid.local().is_some());
                self.jid = Some(jid.ok_or_else(|| wrong("an address such as alice@example.com"))?);
            }
            "password.file" => self.password_file = Some(place(value, folder)),
            "password.command" => self.password_command = Some(value.to_owned()),
            "server" => {
                let server = host_and_port(value);
                self.server = Some(server.ok_or_else(|| wrong("HOST:PORT"))?);
            }
            "dns" => self.dns = Some(name_server(value).ok_or_else(|| wrong("an IP address, or IP:PORT"))?),
            "tls.ca" => self.ca = Some(place(value, folder)),
            "service" => self.service = Some(value.parse().map_err(|_| wrong("an XMPP address"))?),
            _ => return Err(format!("unknown setting {key}")),
        }
        Ok(())
    }

    /// The account. Only downloads of public media need none.
    pub fn account(&self) -> Result<&BareJid> {
        let missing = || format!("no account: write \"jid = you@example.com\" to {}", self.path.display());
        self.jid.as_ref().ok_or_else(|| Failure::new(Exit::Config, missing()))
    }

    /// The password: of the environment, else of the command, else of the file.
    pub fn password(&self) -> Result<Secret> {
        if let Some(password) = std::env::var_os(PASSWORD) {
            return read_password(&password, PASSWORD);
        }
        if let Some(command) = &self.password_command {
            return by_command(command);
        }
        if let Some(path) = &self.password_file {
            let cant = |error| Failure::new(Exit::Config, format!("can't read {}: {error}", path.display()));
            let text = fs::read_to_string(path).map_err(cant)?;
            return first_line(&text, &path.display().to_string());
        }
        let text = format!(
            "no password: set password.command or password.file in {}, or {PASSWORD} in the environment",
            self.path.display()
        );
        Err(Failure::new(Exit::Config, text))
    }
}

fn usual_path() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("XDG_CONFIG_HOME").filter(|folder| folder.is_absolute());
    let folder = folder.or_else(|| Some(set("HOME")?.join(".config"))).unwrap_or_default();
    folder.join("buddycloud-media/config")
}

fn place(value: &str, folder: &Path) -> PathBuf {
    match value.strip_prefix("~/").zip(std::env::var_os("HOME")) {
        Some((rest, home)) => Path::new(&home).join(rest),
        None => folder.join(value),
    }
}

fn host_and_port(value: &str) -> Option<(String, u16)> {
    let (host, port) = value.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let port = port.parse().ok().filter(|port| *port > 0)?;
    (!host.is_empty()).then(|| (host.to_owned(), port))
}

/// An address with or without a port.
fn name_server(value: &str) -> Option<SocketAddr> {
    value.parse().ok().or_else(|| Some(SocketAddr::new(value.parse::<IpAddr>().ok()?, DNS_PORT)))
}

fn read_password(text: &OsStr, source: &str) -> Result<Secret> {
    let text = text.to_str().ok_or_else(|| Failure::new(Exit::Config, format!("{source} is not UTF-8")))?;
    first_line(text, source)
}

/// The output of a shell command. It may ask the user: its input and its error output are ours.
fn by_command(command: &str) -> Result<Secret> {
    let failed = |why: String| Failure::new(Exit::Config, format!("password.command failed: {why}"));
    let shell =
        Command::new("sh").args(["-c", command]).stdin(Stdio::inherit()).stderr(Stdio::inherit()).output();
    let output = shell.map_err(|error| failed(error.to_string()))?;
    if !output.status.success() {
        return Err(failed(output.status.to_string()));
    }
    let text = String::from_utf8(output.stdout).map_err(|_| failed("it does not print UTF-8".to_owned()))?;
    first_line(&text, "what password.command prints")
}

fn first_line(text: &str, source: &str) -> Result<Secret> {
    match text.lines().next().filter(|line| !line.is_empty()) {
        Some(line) => Ok(Secret::new(line)),
        None => Err(Failure::new(Exit::Config, format!("no password: {source} is empty"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> std::result::Result<Config, String> {
        Config::parse(text, Path::new("/etc/it/config"))
    }

    #[test]
    fn every_setting_is_read() {
        let config = parsed(
            "# mine\n\n jid=Alice@Example.com \npassword.file = secret\npassword.command = pass a=b\n\
             server = xmpp.example.com:5222\ndns = 192.0.2.1\ntls.ca = /ca.pem\nservice = media.example.com\n",
        )
        .unwrap();
        let expected = Config {
            path: "/etc/it/config".into(),
            jid: Some("alice@example.com".parse().unwrap()),
            password_file: Some("/etc/it/secret".into()),
            password_command: Some("pass a=b".into()),
            server: Some(("xmpp.example.com".into(), 5222)),
            dns: Some("192.0.2.1:53".parse().unwrap()),
            ca: Some("/ca.pem".into()),
            service: Some("media.example.com".parse().unwrap()),
        };
        assert_eq!(config, expected);
        assert_eq!(parsed("server = [::1]:5222").unwrap().server, Some(("::1".into(), 5222)));
        assert_eq!(parsed("dns = [::1]:5353").unwrap().dns, Some("[::1]:5353".parse().unwrap()));
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (line, expected) in [
            ("jid", "line 1: not KEY = VALUE"),
            ("\njid =", "line 2: jid has no value"),
            (
                "jid = example.com",
                "line 1: jid must be an address such as alice@example.com, not example.com",
            ),
            ("jid = a@b/c", "line 1: jid must be an address such as alice@example.com, not a@b/c"),
            ("server = host", "line 1: server must be HOST:PORT, not host"),
            ("server = host:0", "line 1: server must be HOST:PORT, not host:0"),
            ("dns = resolver", "line 1: dns must be an IP address, or IP:PORT, not resolver"),
            ("service = @", "line 1: service must be an XMPP address, not @"),
            ("password = x", "line 1: unknown setting password"),
        ] {
            assert_eq!(parsed(line).unwrap_err(), expected);
        }
    }

    #[test]
    fn the_first_line_is_the_password() {
        assert_eq!(first_line("a b \nmore\n", "x").unwrap().expose(), "a b ");
        assert!(first_line("\nmore\n", "x").is_err());
        assert_eq!(by_command("echo pencil").unwrap().expose(), "pencil");
        let failure = by_command("exit 3").unwrap_err();
        assert_eq!(
            (failure.exit, failure.text.as_str()),
            (Exit::Config, "password.command failed: exit status: 3")
        );
    }
}
