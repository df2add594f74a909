//! A client that records the server's promises, and checks whether the server keeps them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use sha1::{Digest, Sha1};

use crate::site::Site;
use crate::support::granter;
use crate::support::http::{Answer, Raw, Request};
use crate::support::random::Random;
use crate::support::scratch::Scratch;
use crate::support::soak;
use crate::support::wait_for;
use crate::support::xmpp_client::Client;

/// Media of one client; with more, it deletes rather than uploads.
const MANY: usize = 24;

/// The responses that the server may give after a fault: none that blames the client.
const EXCUSES: &[u16] = &[503, 507];
/// The same where the disk fails, too.
pub const FAILURES: &[u16] = &[500, 503, 507];
/// The same where it can't even wake its XMPP thread, which no real kernel does: then a request may go unconfirmed.
pub const FAILED_WAKES: &[u16] = &[403, 500, 503, 507];

/// A client with a public channel of its own, and all that it knows of it.
pub struct Ledger {
    user: Client,
    channel: String,
    random: Random,
    scratch: Scratch,
    /// The files that exist, or may exist if the server failed during their deletion.
    media: BTreeMap<String, Entry>,
    /// The deleted files, which must not come back.
    deleted: BTreeSet<String>,
    /// Checksums of all that was ever sent.
    sent: BTreeSet<String>,
    /// The possible avatars.
    avatar: BTreeSet<Option<String>>,
    /// The addresses of files that were sent by slot, their checksums, and whether the server has confirmed them.
    by_slot: BTreeMap<String, (String, bool)>,
    /// Whether the avatar may be one whose id we were not told.
    new_avatar: bool,
    excuses: &'static [u16],
}

struct Entry {
    sha1: String,
    /// Its possible titles.
    titles: BTreeSet<String>,
    may_be_gone: bool,
}

/// A square picture without metadata whose pixels are these bytes: one that is stored as it comes.
fn square(bytes: &[u8]) -> Vec<u8> {
    let side = u32::try_from(bytes.len().isqrt().max(1)).expect("avatars are small");
    let pixel = |x, y| image::Luma([bytes.get((y * side + x) as usize).copied().unwrap_or_default()]);
    let mut encoded = std::io::Cursor::new(Vec::new());
    let written =
        image::GrayImage::from_fn(side, side, pixel).write_to(&mut encoded, image::ImageFormat::Png);
    written.expect("a picture can be written to memory");
    encoded.into_inner()
}

/// The actions of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Uploads so many bytes.
    Upload(u64),
    /// Sets an avatar of so many bytes.
    Avatar(u64),
    /// Gives some media another title.
    Update,
    /// Deletes some media.
    Delete,
    /// Sends so many bytes by slot (XEP-0363).
    Slot(u64),
}

impl Ledger {
    /// Of a new client at this site.
    pub fn new(site: &Site, seed: u64) -> Self {
        let (user, channel) = site.public_channel();
        Self {
            user,
            channel,
            random: Random::new(seed),
            scratch: Scratch::new(),
            media: BTreeMap::new(),
            deleted: BTreeSet::new(),
            sent: BTreeSet::new(),
            avatar: [None].into(),
            by_slot: BTreeMap::new(),
            new_avatar: false,
            excuses: EXCUSES,
        }
    }

    /// From now on the server may answer with these statuses.
    pub fn excuse(&mut self, statuses: &'static [u16]) {
        self.excuses = statuses;
    }

    /// The client's channel.
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// Does something. Whether it was done; `Err` says why not.
    pub fn act(&mut self, site: &Site) -> Result<(), String> {
        let size = match self.random.below(3) {
            0 => self.random.below(200_000),
            _ => self.random.below(4_000),
        };
        let deed = match self.random.below(if self.media.len() > MANY { 4 } else { 10 }) {
            0 | 1 => Deed::Delete,
            9 => Deed::Slot(size.max(1)),
            2 | 3 => Deed::Update,
            4 | 5 => Deed::Avatar(size),
            _ => Deed::Upload(size),
        };
        self.perform(site, deed)
    }

    /// The same with the choice made.
    pub fn perform(&mut self, site: &Site, deed: Deed) -> Result<(), String> {
        match deed {
            Deed::Upload(size) => self.upload(site, size, false),
            Deed::Avatar(size) => self.upload(site, size, true),
            Deed::Update => self.update(site),
            Deed::Delete => self.delete(site),
            Deed::Slot(size) => self.send_by_slot(site, size),
        }
    }

    fn upload(&mut self, site: &Site, size: u64, avatar: bool) -> Result<(), String> {
        let bytes = self.random.bytes(size);
        let bytes = if avatar { square(&bytes) } else { bytes };
        let sha1 = checksum(&bytes);
        let file = self.scratch.join("data");
        fs::write(&file, bytes).expect("the scratch directory takes files");
        self.sent.insert(sha1.clone());
        self.new_avatar |= avatar;
        let (method, path) =
            if avatar { ("PUT", format!("{}/avatar", self.channel)) } else { ("POST", self.channel.clone()) };
        let title = self.title();
        let request = Request::new(method, &site.url(&path)).basic(self.user.jid());
        let request = request.file(&file, "application/octet-stream").part(&format!("title={title}"));
        let answer = done(request, 201, self.excuses)?;
        assert_eq!(answer.member("shaChecksum"), sha1, "other bytes arrived");
        let id = answer.member("id");
        if avatar {
            self.avatar = [Some(id.clone())].into();
            self.new_avatar = false;
        }
        self.media.insert(id, Entry { sha1, titles: [title].into(), may_be_gone: false });
        soak::count("uploads confirmed", 1);
        Ok(())
    }

    fn update(&mut self, site: &Site) -> Result<(), String> {
        let Some(id) = self.some_media() else { return Ok(()) };
        let title = self.title();
        let entry = self.media.get_mut(&id).expect("it was just found");
        entry.titles.insert(title.clone());
        let url = site.url(&format!("{}/{id}", self.channel));
        done(Request::new("POST", &url).basic(self.user.jid()).field("title", &title), 200, self.excuses)?;
        entry.titles = [title].into();
        soak::count("updates confirmed", 1);
        Ok(())
    }

    fn delete(&mut self, site: &Site) -> Result<(), String> {
        let Some(id) = self.some_media() else { return Ok(()) };
        self.media.get_mut(&id).expect("it was just found").may_be_gone = true;
        let was_avatar = self.avatar.contains(&Some(id.clone()));
        if was_avatar {
            self.avatar.insert(None);
        }
        let url = site.url(&format!("{}/{id}", self.channel));
        done(Request::new("DELETE", &url).basic(self.user.jid()), 200, self.excuses)?;
        self.media.remove(&id);
        self.avatar.remove(&Some(id.clone()));
        self.deleted.insert(id);
        soak::count("deletions confirmed", 1);
        Ok(())
    }

    /// A client that gets no response does not know what became of its file.
    fn send_by_slot(&mut self, site: &Site, size: u64) -> Result<(), String> {
        let bytes = self.random.bytes(size);
        let sum = checksum(&bytes);
        let wanted = granter::request("a.bin", bytes.len(), "application/octet-stream");
        let slot = site.slots().ask(wanted).map_err(|refusal| format!("{refusal:?}"))?;
        let file = self.scratch.join("data");
        fs::write(&file, bytes).expect("the scratch directory takes files");
        let path = slot.get_url.splitn(4, '/').nth(3).expect("it has a path").to_owned();
        self.by_slot.insert(path.clone(), (sum.clone(), false));
        let data = format!("@{}", file.display());
        done(Request::new("PUT", &slot.put_url).with(&["--data-binary", &data]), 201, self.excuses)?;
        self.by_slot.insert(path, (sum, true));
        soak::count("files sent by slot", 1);
        Ok(())
    }

    fn some_media(&mut self) -> Option<String> {
        let there = self.media.iter().filter(|(_, entry)| !entry.may_be_gone);
        let ids: Vec<String> = there.map(|(id, _)| id.clone()).collect();
        self.random.pick(&ids)
    }

    fn title(&mut self) -> String {
        format!("title {}", self.random.below(1 << 40))
    }

    /// Reads all back, and learns what became of what was not answered.
    ///
    /// # Panics
    /// When the server has broken a promise.
    pub fn audit(&mut self, site: &Site) {
        let mut connection = Raw::connect(site.server.port());
        let list = get(&mut connection, &self.channel).expect(200).json();
        let (mut listed, mut fresh) = (BTreeSet::new(), BTreeSet::new());
        for entry in list.as_array().expect("a list is an array") {
            let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            let (id, sha1, title) = (text("id"), text("shaChecksum"), text("title"));
            assert!(!self.deleted.contains(&id), "{id} was deleted and is back");
            assert!(self.sent.contains(&sha1), "{id} is something that nobody sent");
            let bytes = get(&mut connection, &format!("{}/{id}", self.channel)).expect(200).body;
            assert_eq!(checksum(&bytes), sha1, "{id} has lost its bytes");
            let known = self.media.entry(id.clone()).or_insert_with(|| {
                soak::count("uploads found whole that were not confirmed", 1);
                fresh.insert(Some(id.clone()));
                Entry { sha1: sha1.clone(), titles: [title.clone()].into(), may_be_gone: false }
            });
            assert_eq!(known.sha1, sha1, "{id} is another media");
            assert!(known.titles.contains(&title), "{id}: {title:?} is none of {:?}", known.titles);
            (known.titles, known.may_be_gone) = ([title].into(), false);
            listed.insert(id);
        }
        self.audit_gone(&listed);
        self.audit_by_slot(&mut connection);
        self.audit_avatar(&mut connection, &fresh);
        soak::count("media read back", u64::try_from(listed.len()).expect("a list is short"));
    }

    fn audit_gone(&mut self, listed: &BTreeSet<String>) {
        let deleted = &mut self.deleted;
        self.media.retain(|id, entry| {
            let is_there = listed.contains(id);
            assert!(is_there || entry.may_be_gone, "{id} was confirmed and is lost");
            if !is_there {
                deleted.insert(id.clone());
            }
            is_there
        });
        soak::count("deletions checked", u64::try_from(deleted.len()).expect("there are few"));
    }

    fn audit_by_slot(&mut self, connection: &mut Raw) {
        self.by_slot.retain(|path, (sum, is_confirmed)| {
            let answer = get(connection, path);
            let is_there = answer.status != 404;
            assert!(is_there || !*is_confirmed, "{path} was confirmed and is lost");
            if is_there {
                assert_eq!(checksum(&answer.expect(200).body), *sum, "{path} has lost its bytes");
            }
            is_there
        });
    }

    fn audit_avatar(&mut self, connection: &mut Raw, fresh: &BTreeSet<Option<String>>) {
        let answer = get(connection, &format!("{}/avatar/metadata", self.channel));
        let avatar = (answer.status != 404).then(|| answer.expect(200).member("id"));
        let is_new = self.new_avatar && fresh.contains(&avatar);
        assert!(
            is_new || self.avatar.contains(&avatar),
            "the avatar {avatar:?} is none of {:?}",
            self.avatar
        );
        self.avatar = [avatar].into();
        self.new_avatar = false;
    }

    /// Waits until each media that was found by [`Ledger::audit`] has its file, and nothing else has one: no file without a
    /// row, and no row without a file. The first round of the housekeeper may still be under way.
    pub fn audit_store(&self, site: &Site) {
        let known: BTreeSet<String> = self.media.keys().cloned().collect();
        let folder = site.server.storage().join(&self.channel);
        wait_for("files and metadata to agree", || (names(folder.clone()) == known).then_some(()));
        soak::count("files found with their metadata", u64::try_from(known.len()).expect("there are few"));
        // Deleted files are removed; only files that never got a row are set aside.
        let days = fs::read_dir(site.server.storage().join(".lost")).into_iter().flatten().flatten();
        let lost: BTreeSet<String> = days.flat_map(|day| names(day.path().join(&self.channel))).collect();
        let kept: Vec<_> = lost.intersection(&self.deleted).collect();
        assert!(kept.is_empty(), "deleted files are kept in .lost: {kept:?}");
    }

    /// Looks at the files themselves: whatever has its name must be whole, whether it has a row or not.
    pub fn audit_files(&self, site: &Site) {
        for file in files(site.server.storage().join(&self.channel)) {
            let bytes = fs::read(&file).expect("a media can be read");
            assert!(self.sent.contains(&checksum(&bytes)), "{} is no whole upload", file.display());
        }
    }
}

/// The names of the files in this folder.
fn names(folder: PathBuf) -> BTreeSet<String> {
    let name = |path: PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned());
    files(folder).into_iter().filter_map(name).collect()
}

/// The files in this folder, if there is one.
pub fn files(folder: PathBuf) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    paths.filter(|path| path.is_file()).collect()
}

fn done(request: Request, status: u16, excuses: &[u16]) -> Result<Answer, String> {
    let answer = request.try_send()?;
    if answer.status == status {
        return Ok(answer);
    }
    assert!(excuses.contains(&answer.status), "{} {}", answer.status, answer.text());
    assert_eq!(answer.status == 503, answer.header("retry-after").is_some(), "{}", answer.text());
    Err(format!("{} {}", answer.status, answer.text()))
}

fn get(connection: &mut Raw, path: &str) -> Answer {
    connection.send(format!("GET /{path} HTTP/1.1\r\nHost: x\r\n\r\n"));
    connection.answer().expect("the server answers")
}

fn checksum(bytes: &[u8]) -> String {
    Sha1::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
