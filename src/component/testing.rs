//! A desk in memory, and a component in front of a real gate.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::*;
use crate::access::{self, ConfirmAddress, ConfirmStanza, SharedGate};
use crate::error::{Kind, Result as StoreResult};
use crate::http::{self, Exchange, Listen, Server, Service};
use crate::model::{FileKey, FileKind, NodeNames};
use crate::store::{Block, FilePlace, FileRow, FileSum};
use crate::uploads::SlotRequest;
use crate::xmpp::{self, Inbox, ns};

/// Longer than anything here takes; only a failure lasts as long.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) const NOW: i64 = 1_390_500_000_000_000;

/// Files and blocks in memory.
#[derive(Default)]
pub(super) struct FakeDesk {
    /// Newest first.
    pub files: Mutex<Vec<FileRow>>,
    pub blocks: Mutex<Vec<Block>>,
    pub fails: std::sync::atomic::AtomicBool,
}

impl FakeDesk {
    /// So many uploads of this user, named `file-1` and on, the newest first; file 1 is the newest.
    pub fn with(owner: &str, count: u64) -> Self {
        let row = |number: u64| FileRow {
            kind: FileKind::Upload,
            id: format!("{number:024}"),
            channel: None,
            owner: Some(owner.to_owned()),
            file_name: Some(format!("file-{number}")),
            mime_type: "image/png".to_owned(),
            size: 1024,
            created: Timestamp::from_micros(NOW - i64::try_from(number).unwrap() * 1_000_000),
            purpose: Some("message".to_owned()),
            path: None,
            expires: None,
        };
        Self { files: Mutex::new((1..=count).map(row).collect()), ..Self::default() }
    }

    /// The names of the files that are left.
    pub fn left(&self) -> Vec<String> {
        self.files.lock().unwrap().iter().filter_map(|row| row.file_name.clone()).collect()
    }

    fn check(&self) -> StoreResult<()> {
        match self.fails.load(Ordering::Relaxed) {
            true => Err(Error::new(Kind::Unavailable, "secret words of the database")),
            false => Ok(()),
        }
    }

    fn sum(&self, of: impl Fn(&FileRow) -> bool) -> FileSum {
        let files = self.files.lock().unwrap();
        let sizes = files.iter().filter(|row| of(row)).map(|row| row.size);
        FileSum { files: sizes.clone().count() as u64, bytes: sizes.sum() }
    }
}

impl Desk for FakeDesk {
    fn files(&self, owner: &BareJid, after: Option<&FilePlace>, max: usize) -> StoreResult<Vec<FileRow>> {
        self.check()?;
        let files = self.files.lock().unwrap();
        let own = files.iter().filter(|row| row.owner.as_deref() == Some(owner.as_str()));
        let rest = own.filter(|row| after.is_none_or(|place| row.created < place.created));
        Ok(rest.take(max).cloned().collect())
    }

    fn find(&self, owner: &BareJid, key: &FileKey) -> StoreResult<Option<FileRow>> {
        self.check()?;
        let files = self.files.lock().unwrap();
        let mut own = files.iter().filter(|row| row.owner.as_deref() == Some(owner.as_str()));
        Ok(own.find(|row| row.key().as_ref() == Some(key)).cloned())
    }

    fn delete(&self, owner: &BareJid, key: &FileKey) -> StoreResult<bool> {
        let found = self.find(owner, key)?.is_some();
        self.files.lock().unwrap().retain(|row| !found || row.key().as_ref() != Some(key));
        Ok(found)
    }

    fn delete_all(&self, owner: &BareJid, until: Timestamp) -> StoreResult<DeletedAll> {
        self.check()?;
        let mut files = self.files.lock().unwrap();
        let before = files.len();
        files.retain(|row| row.owner.as_deref() != Some(owner.as_str()) || row.created > until);
        Ok(DeletedAll { files: (before - files.len()) as u64, more: false })
    }

    fn usage(&self, owner: &BareJid) -> StoreResult<Usage> {
        self.check()?;
        let uploads = self.sum(|row| row.owner.as_deref() == Some(owner.as_str()));
        Ok(Usage { uploads, uploads_limit: Some(1 << 20), ..Usage::default() })
    }

    fn total(&self) -> StoreResult<Total> {
        self.check()?;
        let uploads = self.sum(|_| true);
        let upload_users = vec![("alice@example.org".to_owned(), uploads)];
        Ok(Total { uploads, upload_users, ..Total::default() })
    }

    fn block(&self, user: &BareJid, by: &BareJid) -> StoreResult<bool> {
        self.check()?;
        let mut blocks = self.blocks.lock().unwrap();
        let is_new = blocks.iter().all(|block| block.jid != *user);
        if is_new {
            let since = Timestamp::from_micros(NOW);
            blocks.push(Block { jid: user.clone(), since, by: by.clone() });
        }
        Ok(is_new)
    }

    fn unblock(&self, user: &BareJid) -> StoreResult<bool> {
        let mut blocks = self.blocks.lock().unwrap();
        let before = blocks.len();
        blocks.retain(|block| block.jid != *user);
        Ok(blocks.len() < before)
    }

    fn blocked(&self) -> StoreResult<Vec<Block>> {
        self.check()?;
        Ok(self.blocks.lock().unwrap().clone())
    }
}

struct NoSlots;

impl Slots for NoSlots {
    fn is_enabled(&self) -> bool {
        false
    }

    fn max_size(&self) -> u64 {
        0
    }

    fn decide_from_memory(&self, _: &SlotRequest) -> Result<Option<Slot>, SlotRefusal> {
        Ok(None)
    }

    fn grant(&self, _: SlotRequest) -> Result<Slot, SlotRefusal> {
        unreachable!("there are none")
    }
}

/// Never asked over HTTP.
struct NoService;

impl Service for NoService {
    fn serve(self: Arc<Self>, _: Exchange) {}
}

struct Frozen;

impl Clock for Frozen {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(NOW)
    }
}

/// A component in front of a real gate, with an administrator `admin@example.org`.
pub(super) struct DeskTest {
    pub component: Component,
    pub desk: Arc<FakeDesk>,
    pub gate: Arc<SharedGate<u32>>,
    pub inbox: Inbox,
    _server: Server,
}

impl DeskTest {
    pub fn new(desk: FakeDesk) -> Self {
        let (outbox, inbox) = xmpp::channel();
        let workers = ResumeQueue::new().unwrap();
        let listen = Listen { address: ([127, 0, 0, 1], 0).into(), tls: false, optional: false, keys: "" };
        let settings = http::Settings { listen: vec![listen], threads: 8, ..http::Settings::default() };
        let server = Server::start(settings, workers.clone(), Arc::new(NoService)).unwrap();
        let desk = Arc::new(desk);
        let clock: Arc<dyn Clock> = Arc::new(Frozen);
        let gate =
            SharedGate::new(gate_settings(), Arc::clone(&clock), outbox.clone(), Box::new(|_: u32, _| {}));
        let gate = Arc::new(gate);
        let services = Services { slots: Arc::new(NoSlots), desk: Arc::clone(&desk) as _, clock };
        let settings = Settings {
            admins: vec!["admin@example.org".parse().unwrap()],
            endpoint: Some("https://media.example.org".to_owned()),
        };
        let component = Component::new(Arc::clone(&gate) as _, services, settings, outbox, workers, 8);
        component.event(Link::Component, LinkEvent::Up("media.example.org".parse().unwrap()));
        Self { component, desk, gate, inbox, _server: server }
    }

    pub fn send(&self, stanza: Element) {
        self.component.event(Link::Component, LinkEvent::Stanza(stanza));
    }

    /// The next stanza that is sent.
    pub fn sent(&self) -> Element {
        let start = Instant::now();
        loop {
            if let Some((link, stanza)) = self.inbox.take() {
                assert_eq!(link, Link::Component);
                return stanza;
            }
            assert!(start.elapsed() < PATIENCE, "nothing is sent");
            std::thread::yield_now();
        }
    }
}

fn gate_settings() -> access::Settings {
    access::Settings {
        domains: vec!["example.org".parse().unwrap()],
        reply_timeout: Duration::from_secs(30),
        cache_ttl: Duration::from_secs(30),
        confirm_stanza: ConfirmStanza::Message,
        confirm_address: ConfirmAddress::Full,
        pending_per_user: 8,
        pending_per_address: 256,
        pending_total: 1024,
        lookups_per_address: 64,
        lookups_total: 1024,
        endpoint: None,
        upload_size: None,
        service_name: "example.org".parse().unwrap(),
        nodes: NodeNames::default(),
    }
}

/// An IQ of this type from a client to the component.
pub(super) fn iq(kind: &str, from: &str, child: Element) -> Element {
    let iq = Element::new("iq", ns::CLIENT).with("type", kind).with("id", "i");
    iq.with("from", from).with("to", "media.example.org").with_child(child)
}
