//! Slots for uploads (XEP-0363), as the media server's own code grants them, beside a server that shares its database.

use std::path::Path;
use std::sync::Arc;

use media_server::clock::SystemClock;
use media_server::config::{Config, Database, Places};
use media_server::store::{Engine, Postgres, Sqlite, Store, UploadDirectory, Uploads};
use media_server::uploads::{Settings, Slot, SlotRefusal, SlotRequest, Slots, Stores, UploadService};

/// Grants slots for a server, with its settings.
pub struct Granter(UploadService);

impl Granter {
    /// For the server with this configuration, behind this endpoint.
    pub fn new(configuration: &Path, endpoint: &str) -> Self {
        let places = Places::standard(Some(configuration.to_owned()), None);
        let source = places.read(|_| Ok(Vec::new())).expect("the server reads it, too");
        let (config, _) = Config::read(&source).expect("the server reads it, too");
        let service = match &config.database {
            Database::Sqlite(path) => service(&config, Store::new(Sqlite::new(path, false)), endpoint),
            Database::Postgres(settings) => {
                let engine = Postgres::new(settings).expect("the server uses it, too");
                service(&config, Store::new(engine), endpoint)
            }
        };
        service.open();
        Self(service)
    }

    /// The reply to a request.
    pub fn ask(&self, request: SlotRequest) -> Result<Slot, SlotRefusal> {
        self.0.grant(request)
    }

    /// A slot for a message of so many bytes.
    pub fn slot(&self, name: &str, size: usize, mime_type: &str) -> Slot {
        self.ask(request(name, size, mime_type)).expect("there is a slot")
    }
}

fn service<E: Engine>(config: &Config, store: Store<E>, endpoint: &str) -> UploadService {
    let (root, store) = (&config.storage.root, Arc::new(store));
    let stores = Stores {
        table: Arc::clone(&store) as _,
        blocks: Arc::clone(&store) as _,
        secrets: store,
        files: Arc::new(UploadDirectory::open(root, false).expect("the storage is there")),
        incoming: Uploads::open(root, false).expect("the storage takes files"),
    };
    let settings = Settings { enabled: true, endpoint: endpoint.to_owned(), ..config.uploads.clone() };
    UploadService::new(stores, Arc::new(SystemClock), settings)
}

/// A request for such a slot.
pub fn request(name: &str, size: usize, mime_type: &str) -> SlotRequest {
    SlotRequest {
        owner: "alice@example.org".parse().expect("it is an address"),
        name: name.to_owned(),
        size: size as u64,
        content_type: Some(mime_type.to_owned()),
        purpose: None,
        expire_before: None,
    }
}
