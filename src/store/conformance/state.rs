//! The schema's version and the store's id.

use std::sync::Barrier;

use super::{Bench, ROOM, media};
use crate::model::Quotas;
use crate::store::{CURRENT, DatabaseState, StoreId, refuse_newer};

pub(in crate::store) fn the_version_of_the_schema_is_told(bench: &impl Bench) {
    let store = bench.store();
    assert_eq!(store.schema_version().unwrap(), Some(CURRENT));
    bench.execute("INSERT INTO schema_version (version) VALUES (99)");
    let version = store.schema_version().unwrap();
    assert_eq!(version, Some(99));
    assert!(refuse_newer(version).unwrap_err().to_string().contains("newer program"));
    bench.execute("DROP TABLE schema_version");
    assert_eq!(store.schema_version().unwrap(), Some(0));
}

pub(in crate::store) fn a_store_gets_one_id_once(bench: &impl Bench) {
    let store = bench.store();
    let state = || store.store_state().unwrap();
    assert_eq!(state(), DatabaseState { version: Some(CURRENT), id: None, has_media: false });
    let barrier = Barrier::new(4);
    let set = || {
        barrier.wait();
        store.set_store_id(&StoreId::random()).unwrap()
    };
    let given: Vec<StoreId> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(set)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(given.iter().all(|id| *id == given[0]), "{given:?}");
    store.insert(&media(ROOM, "a", 1), false, Quotas::NONE).unwrap();
    let expected = DatabaseState { version: Some(CURRENT), id: Some(given[0].clone()), has_media: true };
    assert_eq!(state(), expected);
    bench.execute("UPDATE store SET id = 'odd'");
    assert_eq!(store.store_state().unwrap_err().kind(), crate::error::Kind::Corrupt);
}
