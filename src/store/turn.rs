//! Turns: who waits longest is next.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Something that one thread at a time may do. SQLite lets writers poll for their lock, with pauses, so that whoever comes
/// back at once has it again; those of this process take turns instead.
#[derive(Default)]
pub(super) struct Turns {
    queue: Mutex<Queue>,
    moved: Condvar,
}

#[derive(Default)]
struct Queue {
    /// The first has its turn.
    tickets: VecDeque<u64>,
    next: u64,
}

/// Ends with it.
pub(super) struct Turn<'a>(&'a Turns);

impl Turns {
    /// Waits for its turn, for so long at most.
    pub(super) fn take(&self, wait: Duration) -> Option<Turn<'_>> {
        let deadline = Instant::now() + wait;
        let mut queue = self.lock();
        let ticket = queue.next;
        queue.next += 1;
        queue.tickets.push_back(ticket);
        while queue.tickets.front() != Some(&ticket) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                queue.tickets.retain(|other| *other != ticket);
                return None;
            }
            queue = self.moved.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(Turn(self))
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().tickets.pop_front();
        self.0.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn each_has_its_turn_in_the_order_of_coming() {
        let (turns, served) = (Turns::default(), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            let first = turns.take(LONG).unwrap();
            for number in 1..=5 {
                let (turns, served) = (&turns, &served);
                scope.spawn(move || {
                    let _turn = turns.take(LONG).unwrap();
                    served.lock().unwrap().push(number);
                });
                while turns.lock().tickets.len() <= number {
                    thread::yield_now();
                }
            }
            drop(first);
        });
        assert_eq!(served.into_inner().unwrap(), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn who_has_waited_long_enough_leaves_the_queue() {
        let turns = Turns::default();
        let first = turns.take(Duration::ZERO).unwrap();
        assert!(turns.take(Duration::from_millis(1)).is_none());
        drop(first);
        drop(turns.take(Duration::ZERO).unwrap());
        assert!(turns.lock().tickets.is_empty());
    }

    #[test]
    fn only_one_has_its_turn() {
        let (turns, inside) = (Turns::default(), AtomicU32::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let _turn = turns.take(LONG).unwrap();
                        assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
                        inside.fetch_sub(1, Ordering::Relaxed);
                    }
                });
            }
        });
    }
}
