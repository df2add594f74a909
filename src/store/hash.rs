//! The SHA-1 of an upload. Of a large one it takes about as long as all else, so where a processor is left for it, a thread
//! makes it while the next bytes come and are written.

use std::io;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use sha1::{Digest, Sha1};

use crate::limits;

/// How many threads may hash; cheap to clone. Where all processors are busy with uploads, more of them would only cost.
#[derive(Clone)]
pub(super) struct Helpers {
    most: usize,
    /// Bytes of an upload that take none.
    spared: u64,
    busy: Arc<AtomicUsize>,
}

impl Helpers {
    /// One for every two processors.
    pub(super) fn new() -> Self {
        let processors = thread::available_parallelism().map_or(0, NonZero::get);
        Self { most: processors / 2, spared: limits::HASHED_HERE, busy: Arc::default() }
    }

    fn take(&self) -> Option<Permit> {
        let more = |busy| (busy < self.most).then_some(busy + 1);
        self.busy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Permit(Arc::clone(&self.busy)))
    }
}

/// Lets one thread hash.
struct Permit(Arc<AtomicUsize>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Hashes what it is given, in its order.
pub(super) struct Hasher {
    state: State,
    bytes: u64,
    helpers: Helpers,
}

enum State {
    Here(Sha1),
    Apart(Apart),
}

impl Hasher {
    pub(super) fn new(helpers: Helpers) -> Self {
        Self { state: State::Here(Sha1::new()), bytes: 0, helpers }
    }

    /// Hashes these bytes, at once or soon.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        if let State::Here(sha1) = &self.state
            && self.bytes > self.helpers.spared
            && let Some(permit) = self.helpers.take()
            && let Ok(apart) = Apart::begin(sha1.clone(), permit)
        {
            self.state = State::Apart(apart);
        }
        match &mut self.state {
            State::Here(sha1) => sha1.update(bytes),
            State::Apart(apart) => apart.update(bytes),
        }
    }

    /// The hash in lower-case hexadecimal.
    pub(super) fn finish(self) -> String {
        let sha1 = match self.state {
            State::Here(sha1) => sha1,
            State::Apart(apart) => apart.finish(),
        };
        sha1.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A thread that hashes, and the blocks that go to it and come back. Dropped, it ends by itself.
struct Apart {
    /// What is not handed over yet.
    block: Vec<u8>,
    full: Sender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
    thread: JoinHandle<Sha1>,
}

impl Apart {
    /// A thread that goes on with this. Fails if the system has none for us.
    fn begin(mut sha1: Sha1, permit: Permit) -> io::Result<Self> {
        let ((full, blocks), (done, empty)) = (channel::<Vec<u8>>(), channel());
        // Nobody is there to take it back once the upload has ended.
        let give_back = move |block| _ = done.send(block);
        give_back(Vec::new());
        let hash = move || {
            let _permit = permit;
            for mut block in blocks {
                sha1.update(&block);
                block.clear();
                give_back(block);
            }
            sha1
        };
        let thread = thread::Builder::new().name("hash".to_owned()).stack_size(limits::WORKER_STACK);
        Ok(Self { block: Vec::new(), full, empty, thread: thread.spawn(hash)? })
    }

    /// Waits where the thread is behind.
    fn update(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(limits::HASH_BLOCK) {
            if self.block.len() + part.len() > limits::HASH_BLOCK {
                self.hand_over();
            }
            self.block.reserve_exact(limits::HASH_BLOCK - self.block.len());
            self.block.extend_from_slice(part);
        }
    }

    /// A thread that has panicked takes nothing and gives nothing back, until [`Apart::finish`] tells.
    fn hand_over(&mut self) {
        let full = std::mem::replace(&mut self.block, self.empty.recv().unwrap_or_default());
        let _ = self.full.send(full);
    }

    /// Waits for the rest. A panic of the thread becomes one of the caller.
    fn finish(mut self) -> Sha1 {
        self.hand_over();
        drop(self.full);
        self.thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_apart(hasher: &Hasher) -> bool {
        matches!(hasher.state, State::Apart(_))
    }

    const SPARED: usize = 100_000;

    fn helpers(most: usize) -> Helpers {
        Helpers { most, spared: SPARED as u64, busy: Arc::default() }
    }

    /// Bytes that differ from place to place.
    fn large() -> Vec<u8> {
        let length = SPARED + 3 * limits::HASH_BLOCK + 1;
        (0..length as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
    }

    #[test]
    fn the_hash_is_the_same_wherever_it_is_made() {
        let large = large();
        let lengths = [0, 1, SPARED, SPARED + 1, SPARED + limits::HASH_BLOCK, large.len()];
        for (most, length) in [0, 1].into_iter().flat_map(|most| lengths.map(|length| (most, length))) {
            let content = &large[..length];
            let expected: String = Sha1::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
            for step in [1000, 64 * 1024, limits::HASH_BLOCK, usize::MAX] {
                let mut hasher = Hasher::new(helpers(most));
                content.chunks(step).for_each(|part| hasher.update(part));
                assert_eq!(is_apart(&hasher), most > 0 && length > SPARED, "{most} {length} {step}");
                assert_eq!(hasher.finish(), expected, "{most} {length} {step}");
            }
        }
    }

    #[test]
    fn no_more_threads_hash_than_may() {
        let (large, helpers) = (large(), helpers(1));
        let mut hashers = [(); 3].map(|()| Hasher::new(helpers.clone()));
        hashers.iter_mut().for_each(|hasher| hasher.update(&large));
        assert_eq!(hashers.each_ref().map(is_apart), [true, false, false]);
        let [first, mut second, mut third] = hashers;
        // Not waited for, its thread ends nevertheless.
        drop(first);
        while helpers.busy.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
        second.update(b"more");
        third.update(b"more");
        assert_eq!([&second, &third].map(is_apart), [true, false]);
        assert_eq!(second.finish(), third.finish());
        assert_eq!(helpers.busy.load(Ordering::Relaxed), 0);
    }
}
