//! A response whose beginning must be fetched first. Until then the exchange is parked, and holds no thread. It is given up
//! if its client hangs up.

use std::sync::{Arc, Mutex, Weak};

use super::Exchange;
use crate::http::lock::lock;
use crate::http::message::response::Response;
use crate::remote::{Fetched, NotFetched, OnFetched};

/// Answers instead of a response that could not be fetched.
pub(super) type Refuse = Box<dyn FnOnce(Exchange, NotFetched) + Send>;

struct Waiting {
    exchange: Exchange,
    response: Response,
    refuse: Refuse,
}

/// `None` after the block has come or the client has hung up.
type Place = Mutex<Option<Waiting>>;

/// Parks an exchange until `fetch` has called back.
pub(super) fn park(
    mut exchange: Exchange,
    response: Response,
    refuse: Refuse,
    fetch: impl FnOnce(OnFetched),
) {
    exchange.note_parked();
    let resumed = exchange.shared.resumed.clone();
    let place = Arc::new(Place::default());
    {
        let mut waiting = lock(&place);
        watch(&place, &mut exchange);
        *waiting = Some(Waiting { exchange, response, refuse });
    }
    fetch(Box::new(move |fetched| {
        resumed.run(move || {
            let waiting = lock(&place).take();
            if let Some(waiting) = waiting {
                waiting.resume(fetched);
            }
        });
    }));
}

impl Waiting {
    fn resume(self, fetched: Fetched) {
        let Self { mut exchange, mut response, refuse } = self;
        exchange.note_resumed();
        match fetched {
            Ok(block) => {
                response.give(block);
                exchange.finish(response, true);
            }
            Err(error) => refuse(exchange, error),
        }
    }
}

fn watch(place: &Arc<Place>, exchange: &mut Exchange) {
    let place = Arc::downgrade(place);
    exchange.watch(move || give_up(&place));
}

/// Gives up if the client has hung up.
fn give_up(place: &Weak<Place>) {
    let Some(place) = place.upgrade() else { return };
    let abandoned = {
        let mut waiting = lock(&place);
        let abandoned = waiting.take_if(|waiting| waiting.exchange.is_abandoned());
        if let Some(waiting) = &mut *waiting {
            watch(&place, &mut waiting.exchange);
        }
        abandoned
    };
    if let Some(waiting) = abandoned {
        waiting.exchange.abandon();
    }
}
