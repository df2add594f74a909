//! Tickets: a user confirms once, and a ticket then reads a channel, or posts to it, for a while. A ticket is a token
//! that holds all of this; nothing is stored. The threads that serve HTTP issue and verify tickets, the housekeeper
//! looks after their keys, and a command revokes them.

mod service;
mod ticket;

pub use service::{TicketFault, TicketService, revoke_all, revoke_of};
pub use ticket::{Scope, TICKETS, Ticket, expiry};
