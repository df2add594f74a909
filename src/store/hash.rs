//! The hash of an upload. For a large, fast upload it takes about as long as all else, so a thread of its own hashes while the
//! next bytes come and are written.

use std::io;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::{hex, limits};

/// How the bytes of an upload are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-1, which the checksums of media are, and SHA-256 beside it.
    Sha1AndSha256,
    /// SHA-256 alone.
    Sha256,
}

/// The hashes of all bytes, in lower-case hexadecimal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Digests {
    /// That of the only algorithm, or of the first.
    pub first: String,
    /// The SHA-256.
    pub sha256: String,
}

/// A hash of the bytes so far.
#[derive(Clone)]
enum Hash {
    Both(Sha1, Sha256),
    Sha256(Sha256),
}

impl Hash {
    fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha1AndSha256 => Self::Both(Sha1::new(), Sha256::new()),
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Both(sha1, sha256) => {
                sha1.update(bytes);
                sha256.update(bytes);
            }
            Self::Sha256(hash) => hash.update(bytes),
        }
    }

    fn finish(self) -> Digests {
        match self {
            Self::Both(sha1, sha256) => {
                Digests { first: hex::encode(&sha1.finalize()), sha256: hex::encode(&sha256.finalize()) }
            }
            Self::Sha256(hash) => {
                let sha256 = hex::encode(&hash.finalize());
                Digests { first: sha256.clone(), sha256 }
            }
        }
    }
}

/// The threads that may hash; cheap to clone. Where uploads keep all processors busy, more threads would only cost.
#[derive(Clone)]
pub(super) struct Helpers {
    max: usize,
    /// Bytes that an upload hashes on its own thread before it asks for another one.
    spared: u64,
    /// How long a thread waits for the next block.
    patience: Duration,
    busy: Arc<AtomicUsize>,
}

impl Helpers {
    /// One for every two processors.
    pub(super) fn new() -> Self {
        let processors = thread::available_parallelism().map_or(0, NonZero::get);
        let (spared, patience) = (limits::HASHED_HERE, limits::HASH_PATIENCE);
        Self { max: processors / 2, spared, patience, busy: Arc::default() }
    }

    fn take(&self) -> Option<Permit> {
        let more = |busy| (busy < self.max).then_some(busy + 1);
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

/// Hashes bytes in their order.
pub(super) struct Hasher {
    state: State,
    /// Bytes to come before a thread is asked for.
    spared: u64,
    helpers: Helpers,
}

enum State {
    Here(Hash),
    Apart(Apart),
}

impl Hasher {
    pub(super) fn new(algorithm: Algorithm, helpers: Helpers) -> Self {
        Self { state: State::Here(Hash::new(algorithm)), spared: helpers.spared, helpers }
    }

    /// Hashes these bytes, at once or soon.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.settle(bytes.len());
        match &mut self.state {
            State::Here(hash) => hash.update(bytes),
            State::Apart(apart) => apart.update(bytes),
        }
    }

    /// Decides which thread hashes so many more bytes.
    fn settle(&mut self, more: usize) {
        self.spared = self.spared.saturating_sub(more as u64);
        self.state = match std::mem::replace(&mut self.state, State::Here(Hash::new(Algorithm::Sha256))) {
            State::Apart(apart) if apart.thread.is_finished() => {
                self.spared = self.helpers.spared;
                State::Here(apart.finish())
            }
            State::Here(hash) if self.spared == 0 => match self.helpers.take() {
                Some(permit) => {
                    self.spared = self.helpers.spared;
                    Apart::begin(hash.clone(), permit, self.helpers.patience)
                        .inspect_err(|error| log::debug!("can't start a thread to hash an upload: {error}"))
                        .map_or(State::Here(hash), State::Apart)
                }
                None => State::Here(hash),
            },
            state => state,
        };
    }

    /// The hashes of all that was hashed.
    pub(super) fn finish(self) -> Digests {
        match self.state {
            State::Here(hash) => hash.finish(),
            State::Apart(apart) => apart.finish().finish(),
        }
    }
}

/// A thread that hashes, and the blocks that go to it and come back. It ends by itself when this is dropped, or when no block
/// comes for long: a slow upload needs none, and another may.
struct Apart {
    /// The bytes that are not handed over yet.
    block: Vec<u8>,
    full: Sender<Vec<u8>>,
    empty: Receiver<Vec<u8>>,
    thread: JoinHandle<(Hash, Receiver<Vec<u8>>)>,
}

impl Apart {
    /// A thread that continues this hash. Fails if the system can't start one.
    fn begin(mut hash: Hash, permit: Permit, patience: Duration) -> io::Result<Self> {
        let ((full, blocks), (done, empty)) = (channel::<Vec<u8>>(), channel());
        // The upload may have ended; then the block is dropped.
        let give_back = move |block| _ = done.send(block);
        give_back(Vec::new());
        let work = move || {
            let _permit = permit;
            while let Ok(mut block) = blocks.recv_timeout(patience) {
                hash.update(&block);
                block.clear();
                give_back(block);
            }
            (hash, blocks)
        };
        let thread = thread::Builder::new().name("hash".to_owned()).stack_size(limits::WORKER_STACK);
        Ok(Self { block: Vec::new(), full, empty, thread: thread.spawn(work)? })
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

    /// A thread that has ended gives nothing back; what it did not take, [`Apart::finish`] does.
    fn hand_over(&mut self) {
        let full = std::mem::replace(&mut self.block, self.empty.recv().unwrap_or_default());
        let _ = self.full.send(full);
    }

    /// Waits for the rest. A panic of the thread becomes one of the caller.
    fn finish(mut self) -> Hash {
        self.hand_over();
        drop(self.full);
        let (mut hash, left) = self.thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        left.iter().for_each(|block| hash.update(&block));
        hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_apart(hasher: &Hasher) -> bool {
        matches!(hasher.state, State::Apart(_))
    }

    const SPARED: usize = 100_000;
    const LONG: Duration = Duration::from_secs(60);

    fn helpers(max: usize, patience: Duration) -> Helpers {
        Helpers { max, spared: SPARED as u64, patience, busy: Arc::default() }
    }

    /// Bytes that differ from place to place.
    fn large() -> Vec<u8> {
        let length = SPARED + 3 * limits::HASH_BLOCK + 1;
        (0..length as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
    }

    #[test]
    fn the_hash_is_the_same_wherever_it_is_made() {
        let large = large();
        for length in [0, 1, SPARED, SPARED + 1, SPARED + limits::HASH_BLOCK, large.len()] {
            let content = &large[..length];
            let expected = Digests {
                first: hex::encode(&Sha1::digest(content)),
                sha256: hex::encode(&Sha256::digest(content)),
            };
            for step in [1000, 64 * 1024, limits::HASH_BLOCK, usize::MAX] {
                for helpers in [helpers(0, LONG), helpers(1, LONG), helpers(1, Duration::ZERO)] {
                    let may = helpers.max > 0 && length >= SPARED;
                    let stays = helpers.patience == LONG;
                    let mut hasher = Hasher::new(Algorithm::Sha1AndSha256, helpers);
                    content.chunks(step).for_each(|part| hasher.update(part));
                    assert!(!stays || is_apart(&hasher) == may, "{length} {step}");
                    assert_eq!(hasher.finish(), expected, "{length} {step}");
                }
            }
        }
    }

    #[test]
    fn sha_256_may_be_made_alone() {
        let large = large();
        let mut hasher = Hasher::new(Algorithm::Sha256, helpers(1, LONG));
        large.chunks(1000).for_each(|part| hasher.update(part));
        assert!(is_apart(&hasher));
        let expected = hex::encode(&Sha256::digest(&large));
        assert_eq!(hasher.finish(), Digests { first: expected.clone(), sha256: expected });
    }

    fn await_idle(helpers: &Helpers) {
        while helpers.busy.load(Ordering::Relaxed) > 0 {
            thread::yield_now();
        }
    }

    #[test]
    fn no_more_threads_hash_than_may() {
        let (large, helpers) = (large(), helpers(1, LONG));
        let mut hashers = [(); 3].map(|()| Hasher::new(Algorithm::Sha1AndSha256, helpers.clone()));
        hashers.iter_mut().for_each(|hasher| hasher.update(&large));
        assert_eq!(hashers.each_ref().map(is_apart), [true, false, false]);
        let [first, mut second, mut third] = hashers;
        // Not waited for, its thread ends nevertheless.
        drop(first);
        await_idle(&helpers);
        second.update(b"more");
        third.update(b"more");
        assert_eq!([&second, &third].map(is_apart), [true, false]);
        assert_eq!(second.finish(), third.finish());
        assert_eq!(helpers.busy.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_slow_upload_leaves_the_hash_thread_to_others() {
        let (large, helpers) = (large(), helpers(1, Duration::from_millis(1)));
        let [mut slow, mut other] = [(); 2].map(|()| Hasher::new(Algorithm::Sha1AndSha256, helpers.clone()));
        slow.update(&large);
        assert!(is_apart(&slow));
        await_idle(&helpers);
        other.update(&large);
        assert!(is_apart(&other));
        while is_apart(&slow) {
            slow.update(b"");
        }
        assert_eq!(slow.finish(), other.finish());
    }
}
