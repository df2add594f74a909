//! The threads of the edge, and what happens to a connection next.

pub mod edge;
pub mod entrance;
pub mod events;
pub mod front;
pub mod workers;
