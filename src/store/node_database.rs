//! A database of the tests' PostgreSQL server, for tests of connections that nodes have outside the pool.

use super::postgres_server::{self, Server};
use super::{DedicatedConnection, DedicatedConnections, PostgresSettings, Schema};

/// A new database with our tables.
pub(super) struct NodeDatabase<'a> {
    server: &'a Server,
    name: String,
    connections: DedicatedConnections,
}

impl NodeDatabase<'static> {
    pub(super) fn new() -> Self {
        Self::on(postgres_server::shared())
    }
}

impl<'a> NodeDatabase<'a> {
    /// The same on another server.
    pub(super) fn on(server: &'a Server) -> Self {
        let name = server.new_database();
        let settings = PostgresSettings::for_test(server.port(), &name);
        Schema::connect(&settings).unwrap().setup().unwrap();
        Self { server, name, connections: DedicatedConnections::new(&settings) }
    }

    /// A connection as a node has it.
    pub(super) fn session(&self) -> DedicatedConnection {
        self.connections.open().unwrap()
    }

    /// A connection of the test's own.
    pub(super) fn client(&self) -> postgres::Client {
        self.server.client(&self.name)
    }
}
