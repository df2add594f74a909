//! Makes an exchange of a complete head. Runs on a thread that holds a turn.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::access_line::AccessLine;
use super::{Exchange, Service};
use crate::http::connection::Connection;
use crate::http::message::head::Head;
use crate::http::message::response::Response;
use crate::http::runtime::flow;
use crate::http::runtime::shared::{Dispatch, Shared};
use crate::metrics::Route;
use crate::model::Refusal;

/// Hands exchanges to a service.
pub struct ToService(pub Arc<dyn Service>);

impl Dispatch for ToService {
    fn serve(&self, shared: &Arc<Shared>, mut connection: Box<Connection>) {
        match Head::parse(connection.take_head()) {
            Ok(head) => {
                let since = connection.since;
                let shown_path = self.0.shown_path(head.path());
                let mut exchange = Exchange::new(Arc::clone(shared), connection, head);
                exchange.note_shown_path(shown_path);
                let client = exchange.client();
                // Before anything that costs more than its head.
                if client.limited && !shared.rates.admit(client.address, since) {
                    return exchange.answer(Response::refusal(Refusal::TooFast));
                }
                Arc::clone(&self.0).serve(exchange);
            }
            Err(refusal) => flow::refuse(shared, connection, refusal),
        }
    }

    fn note_refusal(&self, shared: &Shared, client: IpAddr, refusal: Refusal, bytes: u64, since: Instant) {
        let status = refusal.row().status;
        shared.requests.of(Route::None).count(status);
        let (user, claimed, outcome) = (None, None, None);
        let line =
            AccessLine { client, user, claimed, outcome, method: "-", path: "-", status, bytes, since };
        line.log(shared.settings.access_level);
    }
}
