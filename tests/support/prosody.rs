//! A private Prosody on loopback ports, with the domains and services of `prosody/prosody.cfg.lua`.

use std::fs;
use std::path::{Path, PathBuf};

use super::child::{Guarded, empty_file, run};
use super::scratch::Scratch;
use super::xmpp_client::{Client, Policy};
use super::{free_port, wait_for};

/// The domain of the site's users, and of their channels.
pub const DOMAIN: &str = "example.org";
/// The media server's component.
pub const COMPONENT: &str = "media.example.org";
/// The channel service of [`DOMAIN`].
pub const CHANNELS: &str = "channels.example.org";
/// A domain of channels that belong to no user; its own channel service.
pub const TOPICS: &str = "topics.example.org";
/// A domain like [`TOPICS`] whose name is in another script, and the same name as the DNS has it.
pub const IDN_TOPICS: &str = "kanäle.example.org";
pub const IDN_TOPICS_ASCII: &str = "xn--kanle-ira.example.org";
/// A plain pubsub service, as Prosody has it, whose nodes are communities of Movim.
pub const COMMUNITIES: &str = "communities.example.org";
/// A domain on the same server that is none of the media server's.
pub const ELSEWHERE: &str = "elsewhere.test";
/// A component of [`DOMAIN`] that is not connected.
pub const ABSENT: &str = "absent.example.org";
/// The upload service of Prosody itself, where the test wants one.
pub const FILE_SHARE: &str = "upload.example.org";
/// The secret that [`FILE_SHARE`] shares with the server that keeps its files.
pub const FILE_SHARE_SECRET: &str = "file-share-secret-5c2e";
/// The secret of [`COMPONENT`] and of [`ABSENT`].
pub const SECRET: &str = "component-secret-7f3a";
/// The local part of the account with which the media server asks channel services.
pub const ACCOUNT: &str = "mediaserver";
/// The password of every account.
pub const PASSWORD: &str = "account-password-19c4";

/// A running Prosody.
pub struct Prosody {
    process: Option<Guarded>,
    scratch: Scratch,
    client_port: u16,
    component_port: u16,
    /// The port of clients whose connections begin with TLS.
    direct_port: u16,
    authority: Option<PathBuf>,
    /// The address of the files of its own upload service, if it has one.
    file_share: Option<String>,
    /// Whether a new stream of a component replaces the one before.
    replaces_components: bool,
}

impl Prosody {
    /// Starts one that offers no TLS.
    pub fn start() -> Self {
        Self::start_with(Scratch::new(), None, false)
    }

    /// Starts one where a new stream of a component replaces the one before.
    pub fn start_replacing_components() -> Self {
        Self::start_with(Scratch::new(), None, true)
    }

    /// Starts one that offers STARTTLS with a certificate of a new authority.
    pub fn start_with_tls() -> Self {
        let scratch = Scratch::new();
        let authority = make_certificates(scratch.path(), DOMAIN);
        Self::start_with(scratch, Some(authority), false)
    }

    fn start_with(scratch: Scratch, authority: Option<PathBuf>, replaces_components: bool) -> Self {
        let [client_port, component_port, direct_port] = [(); 3].map(|()| free_port());
        let mut prosody = Self {
            process: None,
            scratch,
            client_port,
            component_port,
            direct_port,
            authority,
            file_share: None,
            replaces_components,
        };
        prosody.add_account(DOMAIN, ACCOUNT);
        prosody.add_account(DOMAIN, "admin");
        for _ in 0..5 {
            if prosody.launch() {
                return prosody;
            }
            prosody.stop();
            (prosody.client_port, prosody.component_port) = (free_port(), free_port());
            prosody.direct_port = free_port();
        }
        panic!("Prosody does not get its ports:\n{}", prosody.log());
    }

    /// Starts it again after [`Prosody::stop`], on the same ports and with the same nodes.
    pub fn start_again(&mut self) {
        assert!(self.launch(), "Prosody does not get its ports back:\n{}", self.log());
    }

    /// Starts it again with an upload service of its own, [`FILE_SHARE`], whose files are kept at this address.
    pub fn start_again_with_file_share(&mut self, address: &str) {
        self.stop();
        self.file_share = Some(address.to_owned());
        self.start_again();
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Ends it as a crash does.
    pub fn kill(&mut self) {
        self.signal("KILL");
        self.process.take().expect("Prosody runs").wait();
    }

    /// Sends it a signal by its name, such as `STOP`.
    pub fn signal(&self, name: &str) {
        self.process.as_ref().expect("Prosody runs").signal(name);
    }

    /// The port of clients.
    pub fn client_port(&self) -> u16 {
        self.client_port
    }

    /// The port of clients whose connections begin with TLS, if it offers TLS.
    pub fn direct_port(&self) -> u16 {
        self.direct_port
    }

    /// The port of components.
    pub fn component_port(&self) -> u16 {
        self.component_port
    }

    /// The certificate of the authority that signed its own, if it offers TLS.
    pub fn authority(&self) -> Option<&Path> {
        self.authority.as_deref()
    }

    /// Its log since its start.
    pub fn log(&self) -> String {
        fs::read_to_string(self.scratch.join("prosody.log")).unwrap_or_default()
    }

    /// Makes an account with [`PASSWORD`].
    pub fn add_account(&self, domain: &str, user: &str) {
        let folder = self.scratch.join("data").join(encoded(domain)).join("accounts");
        fs::create_dir_all(&folder).expect("the scratch directory takes folders");
        let account = format!("return {{ [\"password\"] = \"{PASSWORD}\" }};\n");
        fs::write(folder.join(format!("{}.dat", encoded(user))), account).expect("the folder takes files");
    }

    /// Logs an account in, which may have to be made.
    pub fn login(&self, domain: &str, user: &str, policy: Policy) -> Client {
        self.add_account(domain, user.split('/').next().expect("a split gives one part"));
        let jid = match user.split_once('/') {
            Some((local, resource)) => format!("{local}@{domain}/{resource}"),
            None => format!("{user}@{domain}"),
        };
        let address = format!("127.0.0.1:{}", self.client_port);
        let client =
            Client::login(&address, &jid, PASSWORD, policy).expect("Prosody lets the test's accounts in");
        client.settle().expect("Prosody answers");
        client
    }

    /// Whether it has opened both ports. Its log says so; a connection could be to someone else's.
    fn launch(&mut self) -> bool {
        let log = empty_file(&self.scratch.join("prosody.log"));
        let support = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/prosody");
        let modules = support.join("modules").display().to_string();
        let config = support.join("prosody.cfg.lua").display().to_string();
        let directory = self.scratch.path().display().to_string();
        let (client_port, component_port) = (self.client_port.to_string(), self.component_port.to_string());
        let direct_port = self.direct_port.to_string();
        let [certificate, key] = ["prosody.crt", "prosody.key"].map(|name| format!("{directory}/{name}"));
        let mut environment = vec![
            ("SITE_DIR", directory.as_str()),
            ("SITE_MODULES", &modules),
            ("C2S_PORT", &client_port),
            ("COMPONENT_PORT", &component_port),
            ("COMPONENT_SECRET", SECRET),
        ];
        if let Some(address) = &self.file_share {
            environment
                .extend([("FILE_SHARE_URL", address.as_str()), ("FILE_SHARE_SECRET", FILE_SHARE_SECRET)]);
        }
        if self.replaces_components {
            environment.push(("COMPONENT_CONFLICT", "kick_old"));
        }
        if self.authority.is_some() {
            environment.extend([("CERTIFICATE", certificate.as_str()), ("KEY", &key)]);
            environment.push(("DIRECT_TLS_PORT", &direct_port));
        }
        let output = self.scratch.join("prosody.out");
        let command = ["prosody", "-F", "--config", &config];
        let process = self.process.insert(Guarded::start(&command, &environment, &output));
        wait_for("Prosody to start", || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let opened = |port: u16| text.contains(&format!("on [127.0.0.1]:{port}\n"));
            if text.contains("Failed to open server port") {
                return Some(false);
            }
            let status = process.ended();
            assert!(status.is_none(), "Prosody ended with {status:?}:\n{}{text}", process.printed());
            let direct = self.authority.is_none() || opened(self.direct_port);
            (opened(self.client_port) && opened(self.component_port) && direct).then_some(true)
        })
    }
}

/// A name as Prosody's file storage writes it.
fn encoded(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric();
    name.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02x}") })
        .collect()
}

/// Makes an authority and a certificate of it for this domain, in the files `prosody.crt` and `prosody.key`; gives the
/// authority's certificate.
pub fn make_certificates(folder: &Path, domain: &str) -> PathBuf {
    let at = |name: &str| folder.join(name).display().to_string();
    let openssl = |arguments: &[&str]| {
        let command: Vec<&str> = [&["openssl"], arguments].concat();
        let (status, printed) = run(&command);
        assert_eq!(status, 0, "{command:?}: {printed}");
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let [authority, authority_key] = [at("authority.crt"), at("authority.key")];
    let [certificate, certificate_key, request] = [at("prosody.crt"), at("prosody.key"), at("prosody.csr")];
    let extensions = at("extensions");
    fs::write(&extensions, format!("subjectAltName=DNS:{domain}\n")).expect("the folder takes files");
    let subject = ["-subj", "/CN=Authority of a test", "-days", "2"];
    let own = ["req", "-x509", "-keyout", &authority_key, "-out", &authority];
    openssl(&[&own[..], &key, &subject].concat());
    let name = format!("/CN={domain}");
    let ask = ["req", "-new", "-keyout", &certificate_key, "-out", &request, "-subj", &name];
    openssl(&[&ask[..], &key].concat());
    let sign =
        ["x509", "-req", "-in", &request, "-CA", &authority, "-CAkey", &authority_key, "-CAcreateserial"];
    openssl(&[&sign[..], &["-days", "2", "-extfile", &extensions, "-out", &certificate]].concat());
    PathBuf::from(authority)
}
