//! Responses with files that lie in another place, while that is slow and while it fails.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};

use super::https::{connect, https};
use super::*;
use crate::metrics::Route;
use crate::remote::{FileBlock, NotFetched, OnFetched, RemoteFile};
use crate::testing::{Random, Scratch};

/// A file in another place, whose blocks come when the test says so.
struct Far {
    data: Vec<u8>,
    block: u64,
    state: Mutex<State>,
    opened: AtomicUsize,
}

#[derive(Default)]
struct State {
    local: HashMap<u64, FileBlock>,
    /// The positions that are waited for.
    waiting: Vec<(u64, OnFetched)>,
    ahead: Vec<u64>,
    /// Whether blocks come by themselves.
    is_near: bool,
}

impl fmt::Debug for Far {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.data.len())
    }
}

impl Far {
    fn new(size: usize, block: u64) -> Arc<Self> {
        let mut random = Random::new(size as u64 + 1);
        let data = (0..size).map(|_| random.byte()).collect();
        Arc::new(Self { data, block, state: Mutex::default(), opened: AtomicUsize::new(0) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn block(&self, number: u64) -> FileBlock {
        self.begun(number, self.block)
    }

    /// A block of which so many bytes have come.
    fn begun(&self, number: u64, count: u64) -> FileBlock {
        let scratch = Scratch::new();
        let bytes = number * self.block..self.size().min((number + 1) * self.block);
        let come = bytes.start as usize..bytes.end.min(bytes.start + count) as usize;
        std::fs::write(scratch.join("block"), &self.data[come]).unwrap();
        FileBlock::begun(Arc::new(File::open(scratch.join("block")).unwrap()), bytes, count)
    }

    fn told(&self, number: u64, fetched: &Result<FileBlock, NotFetched>) {
        let mut waiting = std::mem::take(&mut self.state().waiting);
        let is_told = |position: u64| match fetched {
            Ok(block) => block.readable().contains(&position),
            Err(_) => position / self.block == number,
        };
        let (mine, others): (Vec<_>, Vec<_>) =
            waiting.drain(..).partition(|(position, _)| is_told(*position));
        self.state().waiting.extend(others);
        mine.into_iter().for_each(|(_, then)| then(fetched.clone()));
    }

    /// The block of this number is there.
    fn comes(&self, number: u64) {
        self.begins(number, self.block);
    }

    /// So many bytes of the block of this number are there.
    fn begins(&self, number: u64, count: u64) {
        let block = self.begun(number, count);
        self.state().local.insert(number, block.clone());
        self.told(number, &Ok(block));
    }

    fn fails(&self, number: u64, error: NotFetched) {
        self.told(number, &Err(error));
    }

    fn evict(&self, number: u64) {
        self.state().local.remove(&number);
    }

    /// How many wait for the block of this number.
    fn waiting(&self, number: u64) -> usize {
        self.state().waiting.iter().filter(|(position, _)| position / self.block == number).count()
    }
}

impl RemoteFile for Far {
    fn size(&self) -> u64 {
        self.data.len() as u64
    }

    fn local(&self, position: u64) -> Option<FileBlock> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        let block = self.state().local.get(&(position / self.block)).cloned();
        block.filter(|block| block.readable().contains(&position))
    }

    fn fetch(&self, bytes: Range<u64>, then: OnFetched) {
        let number = bytes.start / self.block;
        let mut state = self.state();
        if (number + 1) * self.block < bytes.end {
            state.ahead.push(number + 1);
        }
        let local = state.local.get(&number).filter(|block| block.readable().contains(&bytes.start)).cloned();
        match local.or_else(|| state.is_near.then(|| self.block(number))) {
            Some(block) => {
                drop(state);
                then(Ok(block));
            }
            None => state.waiting.push((bytes.start, then)),
        }
    }

    fn fetch_ahead(&self, position: u64) {
        self.state().ahead.push(position / self.block);
    }
}

/// A server of this file. `/part/START/END` is a part of it, `/near` has no file.
fn serving(settings: Settings, far: &Arc<Far>) -> Server {
    let far = Arc::clone(far);
    start(settings, move |exchange| {
        let mut path = exchange.path().split('/').skip(1);
        let first = path.next();
        let mut number = || path.next().and_then(|number| number.parse().ok()).unwrap_or_default();
        let part = match first {
            Some("near") => return exchange.answer(Response::bytes(200, "text/plain", b"near".to_vec())),
            Some("unmodified") => {
                return exchange.answer(Response::remote(304, Arc::clone(&far) as _, 0..far.size()));
            }
            Some("refusing") => {
                return exchange.answer_or(
                    Response::remote(200, Arc::clone(&far) as _, 0..far.size()),
                    |exchange, error| {
                        let text = format!("{error:?} {}", exchange.path()).into_bytes();
                        exchange.answer(Response::bytes(502, "text/plain", text));
                    },
                );
            }
            Some("part") => number()..number(),
            _ => 0..far.size(),
        };
        exchange.answer(Response::remote(200, Arc::clone(&far) as _, part));
    })
}

#[test]
fn no_thread_waits_for_a_block() {
    const READERS: usize = 20;
    let far = Far::new(700_000, 300_000);
    let server = serving(settings(), &far);
    let monitor = server.monitor();
    let mut readers: Vec<Peer> = (0..READERS).map(|_| Peer::to(&server)).collect();
    readers.iter_mut().for_each(|peer| {
        peer.send("GET /all HTTP/1.1\r\nHost: h\r\n\r\n");
    });
    for number in 0..3 {
        eventually("all wait for the block", || far.waiting(number) == READERS);
        let activity = monitor.activity();
        assert_eq!((activity.turns, activity.left.0, activity.deferred), (1, 0, 0));
        assert_eq!(activity.half_sent, if number == 0 { 0 } else { READERS });
        assert_eq!(Peer::to(&server).get("/near").text(), "near");
        far.comes(number);
    }
    for mut peer in readers {
        assert!(peer.answer().body == far.data);
        assert_eq!(peer.get("/near").status, 200);
    }
    assert_eq!(monitor.activity().half_sent, 0);
    let ahead = far.state().ahead.clone();
    assert!(ahead.contains(&1) && ahead.contains(&2) && !ahead.contains(&3), "{ahead:?}");
}

#[test]
fn a_file_whose_first_block_cannot_be_fetched_is_refused() {
    let far = Far::new(1000, 300);
    let server = serving(settings(), &far);
    let mut peer = Peer::to(&server);
    for (error, status) in [(NotFetched::Failed, 503), (NotFetched::Busy, 503), (NotFetched::Missing, 404)] {
        peer.send("GET /all HTTP/1.1\r\nHost: h\r\n\r\n");
        eventually("it waits", || far.waiting(0) == 1);
        far.fails(0, error);
        let answer = peer.answer();
        assert_eq!(answer.status, status, "{error:?}");
        assert_eq!(answer.head.contains("Retry-After: "), status == 503, "{}", answer.head);
    }
    peer.send("GET /refusing HTTP/1.1\r\nHost: h\r\n\r\n");
    eventually("it waits", || far.waiting(0) == 1);
    far.fails(0, NotFetched::Failed);
    assert_eq!(peer.answer().text(), "Failed /refusing");
    far.state().is_near = true;
    assert!(peer.get("/all").body == far.data);
}

#[test]
fn a_block_that_fails_later_cuts_the_connection() {
    let far = Far::new(1000, 300);
    let server = serving(settings(), &far);
    far.comes(0);
    let mut peer = Peer::to(&server);
    let (status, _, length) = peer.send("GET /all HTTP/1.1\r\nHost: h\r\n\r\n").head();
    eventually("it waits", || far.waiting(1) == 1);
    far.fails(1, NotFetched::Failed);
    let mut body = Vec::new();
    peer.0.read_to_end(&mut body).unwrap();
    assert!((status, length) == (200, 1000) && body == far.data[..300]);
    let monitor = server.monitor();
    let none = monitor.requests().of(Route::None);
    eventually("it is counted", || none.sent.get() == 300 && server.connections() == 0);
}

#[test]
fn a_response_goes_on_while_its_block_comes() {
    let far = Far::new(1_000_000, 900_000);
    let server = serving(settings(), &far);
    let mut peer = Peer::to(&server);
    peer.send("GET /part/1000/950000 HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut come = 1000;
    for count in [1001, 1002, 100_000, 100_001, 899_999] {
        eventually("it waits", || far.waiting(0) == 1);
        far.begins(0, count);
        if come == 1000 {
            let (status, _, length) = peer.head();
            assert_eq!((status, length), (200, 949_000));
        }
        let mut some = vec![0; count as usize - come];
        peer.0.read_exact(&mut some).unwrap();
        assert!(some == far.data[come..count as usize], "{come}..{count}");
        come = count as usize;
    }
    eventually("it waits", || far.waiting(0) == 1);
    far.comes(0);
    eventually("it waits for the next block", || far.waiting(1) == 1);
    far.comes(1);
    let mut rest = vec![0; 950_000 - come];
    peer.0.read_exact(&mut rest).unwrap();
    assert!(rest == far.data[come..950_000]);
    assert_eq!(peer.get("/near").text(), "near");
}

#[test]
fn a_block_that_fails_half_way_cuts_the_connection() {
    let far = Far::new(1000, 800);
    let server = serving(settings(), &far);
    for (number, come) in [(0, 500), (1, 900)] {
        let mut peer = Peer::to(&server);
        far.begins(number, come - number * 800);
        let (status, _, length) = peer.send("GET /all HTTP/1.1\r\nHost: h\r\n\r\n").head();
        eventually("it waits", || far.waiting(number) == 1);
        far.fails(number, NotFetched::Failed);
        let mut body = Vec::new();
        peer.0.read_to_end(&mut body).unwrap();
        assert!((status, length) == (200, 1000) && body == far.data[..come as usize]);
        far.comes(number);
    }
    assert!(Peer::to(&server).get("/all").body == far.data);
}

/// Its response rests, and neither the block nor other responses wait for it.
#[test]
fn a_client_that_takes_nothing_delays_no_block_that_comes() {
    const SIZE: usize = 32 * 1024 * 1024;
    let far = Far::new(SIZE, SIZE as u64);
    let server = serving(settings(), &far);
    let (mut slow, mut fast) = (Peer::to(&server), Peer::to(&server));
    for peer in [&mut slow, &mut fast] {
        peer.send("GET /all HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    eventually("both wait", || far.waiting(0) == 2);
    far.begins(0, SIZE as u64 - 1);
    assert_eq!(fast.head().0, 200);
    let mut body = vec![0; SIZE - 1];
    fast.0.read_exact(&mut body).unwrap();
    eventually("it waits alone", || far.waiting(0) == 1);
    far.comes(0);
    fast.0.read_exact(&mut body[..1]).unwrap();
    assert_eq!(body[0], far.data[SIZE - 1]);
    assert!(slow.answer().body == far.data);
}

#[test]
fn heads_and_unmodified_files_fetch_nothing() {
    let far = Far::new(1000, 300);
    let server = serving(settings(), &far);
    let mut peer = Peer::to(&server);
    let (status, _, length) = peer.send("HEAD /all HTTP/1.1\r\nHost: h\r\n\r\n").head();
    assert_eq!((status, length), (200, 1000));
    assert_eq!(peer.get("/unmodified").status, 304);
    assert_eq!(peer.get("/part/500/500").body, b"");
    assert_eq!(far.opened.load(Ordering::Relaxed), 0);
    assert!(far.state().waiting.is_empty());
}

#[test]
fn parts_of_files_of_any_size_arrive_as_they_are_stored() {
    const BLOCK: u64 = 40_000;
    let mut random = Random::new(5);
    for size in [1, 39_999, 40_000, 40_001, 79_999, 80_000, 80_001, 250_000] {
        let far = Far::new(size, BLOCK);
        let (plain, tls) = (serving(settings(), &far), serving(https(), &far));
        let mut plain = Peer::to(&plain);
        let mut tls_peer = connect(&tls);
        for number in 0..size as u64 / BLOCK + 1 {
            // Some are there, and some must be fetched.
            if number * BLOCK < size as u64 && random.below(2) == 0 {
                far.comes(number);
            }
        }
        far.state().is_near = true;
        for round in 0..12 {
            let (start, end) = match round {
                0 => (0, size),
                _ => {
                    let start = random.below(size);
                    (start, start + 1 + random.below(size - start))
                }
            };
            let request = format!("GET /part/{start}/{end} HTTP/1.1\r\nHost: h\r\n\r\n");
            assert!(plain.send(&request).answer().body == far.data[start..end], "{start}..{end} of {size}");
            tls_peer.get_mut().write_all(request.as_bytes()).unwrap();
            assert!(read_answer(&mut tls_peer).body == far.data[start..end], "{start}..{end} of {size}");
        }
    }
}

#[test]
fn a_client_that_leaves_is_given_up() {
    let far = Far::new(1000, 300);
    let server = serving(settings(), &far);
    let mut peer = Peer::to(&server);
    peer.send("GET /all HTTP/1.1\r\nHost: h\r\n\r\n");
    eventually("it waits", || far.waiting(0) == 1);
    drop(peer);
    eventually("it is given up", || server.connections() == 0);
    let monitor = server.monitor();
    assert!(monitor.requests().of(Route::None).statuses().eq([(499, 1)]));
    far.comes(0);
    let mut peer = Peer::to(&server);
    peer.send("GET /all HTTP/1.1\r\nHost: h\r\n\r\n").head();
    eventually("it waits", || far.waiting(1) == 1);
    drop(peer);
    far.comes(1);
    far.comes(2);
    eventually("it is found out", || server.connections() == 0);
    assert_eq!(Peer::to(&server).get("/near").text(), "near");
}

#[test]
fn a_client_that_only_ends_its_half_is_answered() {
    let far = Far::new(1000, 300);
    let server = serving(settings(), &far);
    let mut peer = Peer::to(&server);
    peer.send("GET /all HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").end_writing();
    eventually("it waits", || far.waiting(0) == 1);
    let (status, ..) = peer.head();
    assert_eq!(status, 100, "it is asked whether it is there");
    (0..4).for_each(|number| far.comes(number));
    assert!(peer.answer().body == far.data);
}

#[test]
fn a_block_that_goes_while_it_is_sent_is_sent_to_its_end() {
    const BLOCK: u64 = 16 * 1024 * 1024;
    let far = Far::new(BLOCK as usize + 1000, BLOCK);
    let server = serving(settings(), &far);
    far.comes(0);
    let mut peer = Peer::to(&server);
    let (.., length) = peer.send("GET /all HTTP/1.1\r\nHost: h\r\n\r\n").head();
    eventually("it rests", || server.monitor().activity().half_sent == 1);
    far.evict(0);
    far.comes(1);
    let mut body = vec![0; length];
    peer.0.read_exact(&mut body).unwrap();
    assert!(body == far.data);
    assert_eq!(far.waiting(0), 0, "it was open");
}

#[test]
fn a_client_that_stands_still_keeps_no_block() {
    const BLOCK: u64 = 16 * 1024 * 1024;
    let far = Far::new(BLOCK as usize, BLOCK);
    let pace = Clocks { idle: Duration::from_secs(8), min_rate: 0, grace: Duration::from_secs(60) };
    let server = serving(Settings { pace, ..settings() }, &far);
    far.comes(0);
    let mut peer = Peer::to(&server);
    let (.., length) = peer.send("GET /all HTTP/1.1\r\nHost: h\r\n\r\n").head();
    let opened = || far.opened.load(Ordering::Relaxed);
    eventually("it rests", || server.monitor().activity().half_sent == 1);
    // It is closed after a try that sends nothing, and the next try opens it again.
    let before = opened();
    eventually("it is opened again", || opened() > before);
    far.evict(0);
    eventually("it is fetched again", || far.waiting(0) == 1);
    far.comes(0);
    let mut body = vec![0; length];
    peer.0.read_exact(&mut body).unwrap();
    assert!(body == far.data);
}
