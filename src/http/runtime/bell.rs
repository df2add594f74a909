//! The bell that wakes the clock thread. Any thread rings it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::http::lock::lock;

/// Wakes the clock thread.
#[derive(Debug, Default)]
pub struct Bell {
    rung: Mutex<bool>,
    ringing: Condvar,
    /// Whether the clock thread looks only at deadlines, and wants to be told when a turn may be stuck.
    pub drowsy: AtomicBool,
}

impl Bell {
    /// Has the clock thread look at everything now.
    pub fn ring(&self) {
        *lock(&self.rung) = true;
        self.ringing.notify_one();
    }

    /// Has it look at the turns, unless it does so already.
    pub fn ring_if_drowsy(&self) {
        if self.drowsy.load(Ordering::SeqCst) && self.drowsy.swap(false, Ordering::SeqCst) {
            self.ring();
        }
    }

    /// Waits for the bell, at most until then.
    pub fn wait(&self, until: Option<Instant>) {
        let mut rung = lock(&self.rung);
        while !std::mem::take(&mut *rung) {
            rung = match until.map(|time| time.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return,
                Some(left) => self.ringing.wait_timeout(rung, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.ringing.wait(rung).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}
