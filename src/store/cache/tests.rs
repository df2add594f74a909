use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::*;
use crate::error::{Error, Kind};
use crate::remote::{Fetched, FileBlock, NotFetched, RemoteFile, RemotePart};
use crate::store::files::{FetchError, Part};
use crate::sys::faults::{self, Fault};
use crate::testing::{Random, Scratch};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);
const BLOCK: u64 = 100;

/// A store in memory.
#[derive(Default)]
struct Far {
    files: Mutex<HashMap<String, Vec<u8>>>,
    /// The parts that were asked for: key, first byte.
    asked: Mutex<Vec<(String, u64)>>,
    mood: Mutex<Mood>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mood {
    #[default]
    Well,
    /// It does not answer for now.
    Silent,
    Fails,
    /// It breaks off without an error.
    SendsTooFew,
    SendsTooMany,
    Panics,
    /// It stands still when it has sent this part of what was asked for.
    Stops(usize),
}

impl Far {
    fn put(&self, key: &str, bytes: u64) -> Vec<u8> {
        let mut random = Random::new(bytes + 1);
        let bytes: Vec<u8> = (0..bytes).map(|_| random.byte()).collect();
        self.files.lock().unwrap().insert(key.to_owned(), bytes.clone());
        bytes
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
        self.changed.notify_all();
    }

    fn asked(&self) -> Vec<(String, u64)> {
        self.asked.lock().unwrap().clone()
    }

    /// Its mood, when it is another one.
    fn mood_but(&self, this: impl Fn(&mut Mood) -> bool) -> Mood {
        *self.changed.wait_while(self.mood.lock().unwrap(), this).unwrap()
    }
}

impl BlockSource for Far {
    fn fetch(&self, part: &Part, sink: &mut dyn Write) -> std::result::Result<(), FetchError> {
        self.asked.lock().unwrap().push((part.key.to_owned(), part.range.start));
        let mut mood = self.mood_but(|mood| *mood == Mood::Silent);
        let file = self.files.lock().unwrap().get(part.key).cloned();
        let file = file.filter(|file| file.len() as u64 == part.size).ok_or(FetchError::Missing)?;
        let mut bytes = &file[part.range.start as usize..part.range.end as usize];
        let mut more: &[u8] = &[];
        let failed = |cause| FetchError::Failed(Error::io("can't write", cause));
        if let Mood::Stops(count) = mood {
            sink.write_all(&bytes[..count]).map_err(failed)?;
            bytes = &bytes[count..];
            mood = self.mood_but(|mood| matches!(mood, Mood::Stops(_)));
        }
        match mood {
            Mood::Well | Mood::Silent | Mood::Stops(_) => {}
            Mood::Fails => return Err(Error::new(Kind::Unavailable, "no luck").into()),
            Mood::SendsTooFew => bytes = &bytes[..bytes.len() - 1],
            Mood::SendsTooMany => more = &[0],
            Mood::Panics => panic!("on purpose"),
        }
        bytes.chunks(17).chain([more]).try_for_each(|some| sink.write_all(some)).map_err(failed)
    }
}

struct Bench {
    far: Arc<Far>,
    cache: BlockCache,
    scratch: Scratch,
}

fn bounds(total: u64) -> Bounds {
    let (wait, queued) = (PATIENCE, PATIENCE);
    let (block, step, copies) = (BLOCK, BLOCK, total);
    Bounds { block, step, total, spare: 0, copies, fetchers: 2, wanted: 1000, waiting: 100, wait, queued }
}

impl Bench {
    fn new(bounds: Bounds) -> Self {
        let (far, scratch) = (Arc::new(Far::default()), Scratch::new());
        let cache = BlockCache::open_with(scratch.path(), Arc::clone(&far) as _, bounds).unwrap();
        Self { far, cache, scratch }
    }

    /// The process ends and another begins.
    fn restarted(self, bounds: Bounds) -> Self {
        let Self { far, scratch, .. } = self;
        let cache = BlockCache::open_with(scratch.path(), Arc::clone(&far) as _, bounds).unwrap();
        Self { far, cache, scratch }
    }

    /// Bytes of the blocks on the disk, and the number of files that are no blocks.
    fn disk(&self) -> (u64, usize) {
        let entries = fs::read_dir(self.scratch.join(".blocks")).unwrap().map(|entry| entry.unwrap());
        let (mut bytes, mut others) = (0, 0);
        for entry in entries {
            match entry.file_name().to_str().unwrap() {
                "boot" => {}
                name if name.parse::<BlockName>().is_ok() => bytes += entry.metadata().unwrap().len(),
                _ => others += 1,
            }
        }
        (bytes, others)
    }

    fn block(&self, key: &str, size: u64, position: u64) -> Fetched {
        told(&asked(&self.cache.file(key, size), position))
    }
}

fn asked(file: &BlockFile, position: u64) -> Receiver<Fetched> {
    let (sender, receiver) = channel();
    file.fetch(position..position + 1, Box::new(move |fetched| sender.send(fetched).unwrap()));
    receiver
}

/// Waits for the complete block.
fn waits(file: &BlockFile, position: u64) -> Receiver<Fetched> {
    let (sender, receiver) = channel();
    let file = file.clone();
    thread::spawn(move || sender.send(file.wait(position, None)).unwrap());
    receiver
}

fn told(receiver: &Receiver<Fetched>) -> Fetched {
    receiver.recv_timeout(PATIENCE).expect("somebody tells")
}

/// The bytes of a complete block.
fn bytes_of(block: &FileBlock) -> Vec<u8> {
    assert_eq!(block.readable(), block.bytes());
    let mut bytes = vec![0; (block.bytes().end - block.bytes().start) as usize];
    block.file().read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(block.file().read_at(&mut [0], bytes.len() as u64).unwrap(), 0);
    bytes
}

/// What has come of a block.
fn begun_of(block: &FileBlock) -> Vec<u8> {
    let mut bytes = vec![0; (block.readable().end - block.readable().start) as usize];
    block.file().read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        thread::yield_now();
    }
}

#[test]
fn every_part_of_a_file_is_read_as_it_was_stored() {
    for step in [BLOCK, 30, 1] {
        every_part_is_read(Bounds { step, ..bounds(1000) });
    }
}

fn every_part_is_read(bounds: Bounds) {
    let bench = Bench::new(bounds);
    let mut random = Random::new(11);
    for size in [0, 1, 99, 100, 101, 199, 200, 201, 399, 400, 401, 777, 1000] {
        let (key, stored) = (format!("k/{size}"), bench.far.put(&format!("k/{size}"), size));
        let file = bench.cache.file(&key, size);
        let mut whole = Vec::new();
        (&*file.whole(None).unwrap()).read_to_end(&mut whole).unwrap();
        assert!(whole == stored, "{size}");
        let mut beginning = Vec::new();
        (&*file.beginning(None).unwrap()).read_to_end(&mut beginning).unwrap();
        assert!(beginning == stored[..size.min(BLOCK) as usize], "{size}");
        for _ in 0..20 {
            let start = random.below(size as usize + 1);
            let end = start + random.below(size as usize + 1 - start);
            let mut part = RemotePart::new(Arc::new(file.clone()), start as u64..end as u64);
            let mut read = Vec::new();
            while part.left() > 0 {
                let Some((file, range)) = part.open() else {
                    let (sender, receiver) = channel();
                    part.fetch()(Box::new(move |fetched| sender.send(fetched).unwrap()));
                    part.give(told(&receiver).unwrap());
                    continue;
                };
                let step = (range.end - range.start).min(random.below(70) as u64 + 1);
                let mut some = vec![0; step as usize];
                file.read_exact_at(&mut some, range.start).unwrap();
                read.extend(some);
                part.advance(step);
            }
            assert!(read == stored[start..end], "{start}..{end} of {size}");
        }
    }
    assert!(bench.disk().0 <= 1000 && bench.cache.bytes() <= 1000);
}

#[test]
fn a_block_is_fetched_once_for_all_who_wait_for_it() {
    let bench = Bench::new(bounds(1000));
    let stored = bench.far.put("a", 150);
    bench.far.set(Mood::Silent);
    let file = bench.cache.file("a", 150);
    let waiters: Vec<_> = (0..50).map(|_| asked(&file, 3)).collect();
    let threads: Vec<_> = (0..5)
        .map(|_| {
            let file = file.clone();
            thread::spawn(move || bytes_of(&told(&asked(&file, 99)).unwrap()))
        })
        .collect();
    bench.far.set(Mood::Well);
    for waiter in &waiters {
        assert!(bytes_of(&told(waiter).unwrap()) == stored[..100]);
    }
    threads.into_iter().for_each(|thread| assert!(thread.join().unwrap() == stored[..100]));
    assert!(file.local(0).is_some() && file.local(100).is_none() && file.local(150).is_none());
    assert_eq!(bench.far.asked(), [("a".to_owned(), 0)]);
}

#[test]
fn what_has_come_of_a_block_is_read_and_its_last_bytes_when_it_is_right() {
    let bench = Bench::new(Bounds { step: 30, ..bounds(1000) });
    let stored = bench.far.put("a", 250);
    bench.far.set(Mood::Stops(65));
    let file = bench.cache.file("a", 250);
    let (whole, begun) = (waits(&file, 100), told(&asked(&file, 107)).unwrap());
    eventually("a thread waits", || bench.cache.0.waiting.load(std::sync::atomic::Ordering::Relaxed) == 1);
    assert_eq!((begun.bytes(), begun.readable()), (100..200, 100..165));
    assert!(begun_of(&begun) == stored[100..165]);
    assert_eq!(told(&asked(&file, 164)).unwrap().readable(), 100..165, "it has come already");
    assert!(file.local(164).is_some() && file.local(165).is_none() && file.kept(100).is_none());
    let mut part = RemotePart::new(Arc::new(file.clone()), 120..200);
    assert_eq!(part.open().map(|(_, range)| range), Some(20..65));
    part.advance(45);
    assert!(part.open().is_none());
    let (sender, receiver) = channel();
    part.fetch()(Box::new(move |fetched| sender.send(fetched).unwrap()));
    assert_eq!(bench.disk(), (0, 1));
    bench.far.set(Mood::Well);
    let rest = told(&receiver).unwrap();
    assert!(rest.readable().contains(&165) && begun_of(&rest) == stored[100..rest.readable().end as usize]);
    assert!(bytes_of(&told(&whole).unwrap()) == stored[100..200], "it waits for the whole block");
    eventually("it is kept", || file.kept(100).is_some());
    assert!(bytes_of(&told(&asked(&file, 199)).unwrap()) == stored[100..200]);
    assert!(begun_of(&begun) == stored[100..165], "the reader reads on");
}

/// The bytes that came are right, and no reader takes them for the whole block.
#[test]
fn a_store_that_fails_half_way_leaves_nothing_and_is_asked_again() {
    let bench = Bench::new(Bounds { step: 1, ..bounds(1000) });
    let stored = bench.far.put("a", 100);
    let file = bench.cache.file("a", 100);
    for (number, mood) in
        [Mood::Fails, Mood::SendsTooFew, Mood::SendsTooMany, Mood::Panics].into_iter().enumerate()
    {
        bench.far.set(Mood::Stops(65));
        let begun = told(&asked(&file, 0)).unwrap();
        let (next, last) = (asked(&file, 65), asked(&file, 99));
        bench.far.set(mood);
        assert_eq!(told(&last).unwrap_err(), NotFetched::Failed, "{mood:?}");
        match told(&next) {
            Ok(more) => assert!(stored[..99].starts_with(&begun_of(&more)), "{mood:?}"),
            Err(error) => assert_eq!(error, NotFetched::Failed, "{mood:?}"),
        }
        assert!(begun_of(&begun) == stored[..65], "{mood:?}");
        assert_eq!((bench.disk().0, bench.cache.bytes()), (0, 0), "{mood:?}");
        assert!(file.local(0).is_none() && bench.cache.state().failed == number as u64 + 1, "{mood:?}");
    }
    bench.far.set(Mood::Well);
    assert!(bytes_of(&told(&asked(&file, 99)).unwrap()) == stored);
}

#[test]
fn a_reader_that_stands_still_holds_no_fetch() {
    let bench = Bench::new(Bounds { step: 30, fetchers: 1, ..bounds(1000) });
    let (stored, _) = (bench.far.put("a", 100), bench.far.put("b", 100));
    bench.far.set(Mood::Stops(50));
    let file = bench.cache.file("a", 100);
    let mut part = RemotePart::new(Arc::new(file.clone()), 0..100);
    part.give(told(&asked(&file, 0)).unwrap());
    bench.far.set(Mood::Well);
    eventually("the block is complete", || file.kept(0).is_some());
    told(&asked(&bench.cache.file("b", 100), 0)).unwrap();
    let (opened, range) = part.open().unwrap();
    let mut read = vec![0; 50];
    opened.read_exact_at(&mut read, 0).unwrap();
    assert!(range == (0..50) && read == stored[..50]);
    part.advance(50);
    assert_eq!(part.open().map(|(_, range)| range), Some(50..100));
}

#[test]
fn the_next_block_is_fetched_ahead_and_only_the_next() {
    let bench = Bench::new(bounds(1000));
    bench.far.put("a", 450);
    let file = bench.cache.file("a", 450);
    let (sender, receiver) = channel();
    file.fetch(50..450, Box::new(move |fetched| sender.send(fetched).unwrap()));
    told(&receiver).unwrap();
    eventually("the next one comes", || file.local(100).is_some());
    let mut part = RemotePart::new(Arc::new(file.clone()), 100..300);
    assert!(part.open().is_some());
    eventually("and the one after that", || file.local(200).is_some());
    assert!(part.open().is_some());
    part.advance(150);
    assert_eq!(part.open().map(|(_, range)| range), Some(50..100));
    assert_eq!(bench.far.asked().len(), 3, "nothing behind the end of the part");
}

#[test]
fn the_least_recently_used_block_goes_and_its_readers_read_on() {
    let bench = Bench::new(bounds(300));
    let stored = bench.far.put("a", 300);
    bench.far.put("b", 100);
    for position in [0, 100, 200] {
        bench.block("a", 300, position).unwrap();
    }
    let file = bench.cache.file("a", 300);
    let (open, used) = (file.local(100).unwrap(), file.local(0).is_some());
    // The third of them.
    bench.block("b", 100, 0).unwrap();
    assert!(used && file.local(200).is_none() && file.local(0).is_some());
    bench.block("a", 300, 200).unwrap();
    assert!(file.local(100).is_none());
    assert!(bytes_of(&open) == stored[100..200], "it is open all the same");
    assert_eq!((bench.disk(), bench.cache.bytes()), ((300, 0), 300));
}

#[test]
fn the_next_block_finds_room() {
    let bench = Bench::new(Bounds { spare: 60, ..bounds(300) });
    bench.far.put("a", 300);
    for position in [0, 100] {
        bench.block("a", 300, position).unwrap();
    }
    assert_eq!(bench.cache.bytes(), 200, "another one has room");
    bench.block("a", 300, 200).unwrap();
    eventually("there is room again", || bench.disk() == (200, 0));
    assert!(bench.cache.file("a", 300).local(0).is_none());
}

#[test]
fn blocks_on_their_way_count() {
    let bench = Bench::new(bounds(300));
    bench.far.put("a", 300);
    bench.far.put("b", 200);
    for position in [0, 100, 200] {
        bench.block("a", 300, position).unwrap();
    }
    bench.far.set(Mood::Silent);
    let file = bench.cache.file("b", 200);
    let waiters = [asked(&file, 0), asked(&file, 100)];
    eventually("both are asked for", || bench.far.asked().len() == 5);
    assert_eq!((bench.disk().0, bench.cache.bytes()), (100, 300));
    bench.far.set(Mood::Fails);
    waiters.iter().for_each(|waiter| assert_eq!(told(waiter).unwrap_err(), NotFetched::Failed));
    assert_eq!((bench.disk(), bench.cache.bytes()), ((100, 0), 100));
}

#[test]
fn a_store_that_fails_leaves_nothing_and_is_asked_again() {
    let bench = Bench::new(bounds(1000));
    let stored = bench.far.put("a", 150);
    for (mood, expected) in [
        (Mood::Fails, NotFetched::Failed),
        (Mood::SendsTooFew, NotFetched::Failed),
        (Mood::SendsTooMany, NotFetched::Failed),
        (Mood::Panics, NotFetched::Failed),
    ] {
        bench.far.set(mood);
        for position in [0, 100] {
            assert_eq!(bench.block("a", 150, position).unwrap_err(), expected, "{mood:?}");
        }
        assert_eq!((bench.disk().0, bench.cache.bytes()), (0, 0), "{mood:?}");
    }
    bench.far.set(Mood::Well);
    for (key, size) in [("b", 150), ("a", 149), ("a", 151)] {
        assert_eq!(bench.block(key, size, 0).unwrap_err(), NotFetched::Missing, "{key} {size}");
    }
    assert!(bytes_of(&bench.block("a", 150, 100).unwrap()) == stored[100..]);
    assert_eq!(bench.cache.file("a", 149).whole(None).unwrap_err(), NotFetched::Missing);
}

#[test]
fn a_removed_file_leaves_no_blocks() {
    let bench = Bench::new(bounds(1000));
    bench.far.put("a", 250);
    bench.far.put("b", 100);
    for (key, size, position) in [("a", 250, 0), ("a", 250, 200), ("b", 100, 0)] {
        bench.block(key, size, position).unwrap();
    }
    bench.far.set(Mood::Silent);
    let on_its_way = asked(&bench.cache.file("a", 250), 100);
    eventually("it is asked for", || bench.far.asked().len() == 4);
    bench.cache.forget("a");
    assert_eq!((bench.disk().0, bench.cache.bytes()), (100, 200));
    bench.far.set(Mood::Well);
    told(&on_its_way).unwrap();
    assert_eq!((bench.disk(), bench.cache.bytes()), ((100, 0), 100));
}

#[test]
fn blocks_outlive_the_process_but_not_a_start_of_the_machine() {
    let bench = Bench::new(bounds(1000));
    let stored = bench.far.put("a", 250);
    for position in [100, 0, 200] {
        bench.block("a", 250, position).unwrap();
    }
    // A crash leaves such a file.
    fs::write(bench.scratch.join(".blocks/fetching-7"), "half").unwrap();
    let bench = bench.restarted(bounds(1000));
    assert_eq!((bench.disk(), bench.cache.bytes()), ((250, 0), 250));
    let file = bench.cache.file("a", 250);
    assert!(bytes_of(&file.local(200).unwrap()) == stored[200..]);
    assert_eq!(bench.far.asked().len(), 3);
    bench.cache.forget("a");
    for position in [100, 0, 200] {
        bench.block("a", 250, position).unwrap();
    }
    let bench = bench.restarted(bounds(150));
    let file = bench.cache.file("a", 250);
    assert!(file.local(100).is_none() && file.local(0).is_some(), "the oldest goes");
    assert_eq!((bench.disk(), bench.cache.bytes()), ((150, 0), 150));
    fs::write(bench.scratch.join(".blocks/boot"), "another").unwrap();
    let bench = bench.restarted(bounds(1000));
    assert_eq!((bench.disk(), bench.cache.bytes()), ((0, 0), 0));
    let bench = bench.restarted(bounds(1000));
    bench.block("a", 250, 0).unwrap();
    assert_eq!(bench.restarted(bounds(1000)).cache.bytes(), 100);
}

#[test]
fn blocks_that_somebody_else_changed_are_fetched_again() {
    let bench = Bench::new(bounds(1000));
    let stored = bench.far.put("a", 100);
    for harm in ["cut", "removed"] {
        let block = || bench.cache.file("a", 100).local(0);
        bench.block("a", 100, 0).unwrap();
        let entries = fs::read_dir(bench.scratch.join(".blocks")).unwrap().map(|entry| entry.unwrap().path());
        let path = entries.filter(|path| !path.ends_with("boot")).last().unwrap();
        match harm {
            "cut" => File::options().write(true).open(path).unwrap().set_len(99).unwrap(),
            _ => fs::remove_file(path).unwrap(),
        }
        assert!(block().is_none());
        assert!(bytes_of(&bench.block("a", 100, 0).unwrap()) == stored, "{harm}");
        assert!(block().is_some() && bench.cache.bytes() == 100);
    }
}

/// A fault at every call of the file system, with blocks in the cache that can make room and without.
#[test]
fn a_disk_that_is_full_gets_room_from_the_cache() {
    for (others, step) in [(0, BLOCK), (3, BLOCK), (0, 30), (3, 30)] {
        for number in 0.. {
            let bench = Bench::new(Bounds { fetchers: 0, step, ..bounds(1000) });
            let stored = bench.far.put("a", 100);
            bench.far.put("b", 300);
            let other = bench.cache.file("b", 300);
            for number in 0..others {
                let waiter = asked(&other, number * 100);
                bench.cache.0.run_one();
                told(&waiter).unwrap();
            }
            let file = bench.cache.file("a", 100);
            let (first, waiter) = (asked(&file, 0), asked(&file, 99));
            let run = || bench.cache.0.run_one();
            let ((), failed) = faults::at(number, Fault::Error(Errno::NOSPC), run);
            let (first, fetched) = (told(&first), told(&waiter));
            first.into_iter().for_each(|begun| assert!(stored.starts_with(&begun_of(&begun))));
            let (bytes, left_over) = bench.disk();
            assert!(left_over == 0 && bytes == bench.cache.bytes(), "{failed:?} {others} {step}");
            match failed {
                None => {
                    assert!(bytes_of(&fetched.unwrap()) == stored);
                    break;
                }
                Some(_) if others > 0 => {
                    assert!(bytes_of(&fetched.unwrap()) == stored, "{failed:?}: there was room to be made");
                }
                Some(_) => {
                    assert_eq!(fetched.unwrap_err(), NotFetched::Failed, "{failed:?}");
                    let again = asked(&file, 99);
                    bench.cache.0.run_one();
                    assert!(bytes_of(&told(&again).unwrap()) == stored);
                }
            }
        }
    }
}

#[test]
fn torn_and_short_writes_leave_no_block_that_is_not_whole() {
    for fault in [Fault::Torn(Errno::NOSPC), Fault::Short, Fault::Torn(Errno::IO)] {
        for number in 0..6 {
            let bench = Bench::new(Bounds { fetchers: 0, ..bounds(1000) });
            let stored = bench.far.put("a", 100);
            let waiter = asked(&bench.cache.file("a", 100), 0);
            faults::at(number, fault, || bench.cache.0.run_one());
            match told(&waiter) {
                Ok(block) => assert!(bytes_of(&block) == stored),
                Err(error) => assert_eq!((error, bench.cache.bytes()), (NotFetched::Failed, 0)),
            }
            assert_eq!(bench.disk(), (bench.cache.bytes(), 0), "{fault:?} {number}");
        }
    }
}

#[test]
fn too_many_that_wait_are_turned_away() {
    let bench = Bench::new(Bounds { fetchers: 1, wanted: 3, waiting: 1, ..bounds(10_000) });
    bench.far.put("a", 1000);
    bench.far.set(Mood::Silent);
    let file = bench.cache.file("a", 1000);
    let first = asked(&file, 0);
    eventually("one is being fetched", || bench.far.asked().len() == 1);
    let waiters: Vec<_> = (1..4).map(|number| asked(&file, number * 100)).collect();
    assert_eq!(told(&asked(&file, 400)).unwrap_err(), NotFetched::Busy);
    let joined = asked(&file, 350);
    let waiting = {
        let file = file.clone();
        thread::spawn(move || file.beginning(None).is_ok())
    };
    eventually("one thread waits", || bench.cache.0.waiting.load(std::sync::atomic::Ordering::Relaxed) == 1);
    assert_eq!(file.beginning(None).unwrap_err(), NotFetched::Busy);
    bench.far.set(Mood::Well);
    for waiter in waiters.iter().chain([&first, &joined]) {
        told(waiter).unwrap();
    }
    assert!(waiting.join().unwrap() && file.beginning(None).is_ok());
}

#[test]
fn a_slow_store_holds_no_thread_and_no_reader_for_ever() {
    let bench = Bench::new(Bounds {
        fetchers: 1,
        wait: Duration::from_millis(50),
        queued: Duration::ZERO,
        ..bounds(1000)
    });
    bench.far.put("a", 300);
    bench.far.set(Mood::Silent);
    let file = bench.cache.file("a", 300);
    let first = asked(&file, 0);
    eventually("it is being fetched", || bench.far.asked().len() == 1);
    let begun = Instant::now();
    assert_eq!(file.beginning(None).unwrap_err(), NotFetched::Failed, "a thread waits no longer");
    assert!(begun.elapsed() < PATIENCE);
    let (queued, ahead) = (asked(&file, 100), 200);
    file.fetch_ahead(ahead);
    bench.far.set(Mood::Well);
    told(&first).unwrap();
    assert_eq!(told(&queued).unwrap_err(), NotFetched::Busy, "it was queued for too long");
    eventually("nobody waits for the block ahead", || file.local(ahead).is_some());
    told(&asked(&file, 100)).unwrap();
    assert_eq!(bench.cache.bytes(), 300);
}

#[test]
fn a_block_that_is_waited_for_comes_before_those_ahead() {
    let bench = Bench::new(Bounds { fetchers: 1, ..bounds(10_000) });
    bench.far.put("a", 1000);
    bench.far.set(Mood::Silent);
    let file = bench.cache.file("a", 1000);
    let first = asked(&file, 0);
    eventually("it is being fetched", || bench.far.asked().len() == 1);
    for number in 1..5 {
        file.fetch_ahead(number * 100);
    }
    let waiters = [first, asked(&file, 500), asked(&file, 400)];
    bench.far.set(Mood::Well);
    waiters.iter().for_each(|waiter| drop(told(waiter).unwrap()));
    eventually("all are fetched", || bench.far.asked().len() == 6);
    let order: Vec<u64> = bench.far.asked().iter().map(|(_, start)| start / 100).collect();
    assert_eq!(order, [0, 5, 4, 1, 2, 3]);
}

#[test]
fn a_whole_file_takes_space_of_the_cache_while_it_is_open() {
    let bench = Bench::new(bounds(1000));
    bench.far.put("a", 500);
    bench.far.put("b", 1001);
    let whole = bench.cache.file("a", 500).whole(None).unwrap();
    assert_eq!((bench.cache.bytes(), bench.disk()), (1000, (500, 0)));
    drop(whole);
    assert_eq!(bench.cache.bytes(), 500);
    assert_eq!(bench.cache.file("b", 1001).whole(None).unwrap_err(), NotFetched::TooLarge);
    bench.far.set(Mood::Fails);
    bench.cache.forget("a");
    assert_eq!(bench.cache.file("a", 500).whole(None).unwrap_err(), NotFetched::Failed);
    assert_eq!((bench.cache.bytes(), bench.disk()), (0, (0, 0)));
}

#[test]
fn copies_of_whole_files_have_a_bound_of_their_own() {
    let bench = Bench::new(Bounds { copies: 500, ..bounds(1000) });
    for (key, size) in [("a", 300), ("b", 250), ("c", 501), ("small", 100)] {
        bench.far.put(key, size);
    }
    let whole = |key, size| bench.cache.file(key, size).whole(None);
    let first = whole("a", 300).unwrap();
    assert_eq!(whole("b", 250).unwrap_err(), NotFetched::Busy);
    assert_eq!(whole("c", 501).unwrap_err(), NotFetched::TooLarge);
    assert_eq!(bench.far.asked().len(), 3, "nothing is fetched in vain");
    whole("small", 100).expect("a block needs no copy");
    drop(first);
    let second = whole("b", 250).unwrap();
    assert!(bench.cache.bytes() <= 1000 && bench.disk().1 == 0, "the copy has no name");
    drop(second);
    assert_eq!(bench.cache.bytes(), bench.disk().0);
}

#[test]
fn a_copy_is_given_up_at_its_deadline() {
    let bench = Bench::new(bounds(1000));
    bench.far.put("a", 300);
    bench.block("a", 300, 0).unwrap();
    bench.far.set(Mood::Silent);
    let begun = Instant::now();
    let deadline = Some(begun + Duration::from_millis(50));
    assert_eq!(bench.cache.file("a", 300).whole(deadline).unwrap_err(), NotFetched::Failed);
    assert!(begun.elapsed() < PATIENCE);
    bench.far.set(Mood::Well);
    eventually("only blocks take room", || bench.cache.bytes() == bench.disk().0);
    assert_eq!(bench.disk().1, 0);
}

#[test]
fn reads_and_fetches_are_counted() {
    let bench = Bench::new(bounds(1000));
    bench.far.put("a", 250);
    let file = bench.cache.file("a", 250);
    let mut part = RemotePart::new(Arc::new(file.clone()), 0..250);
    assert!(part.open().is_none() && file.local(0).is_none());
    let (sender, receiver) = channel();
    part.fetch()(Box::new(move |fetched| sender.send(fetched).unwrap()));
    part.give(told(&receiver).unwrap());
    part.let_go();
    assert!(part.open().is_some(), "the block that was fetched for it is no hit");
    eventually("the next one comes", || file.local(100).is_some());
    part.advance(100);
    assert!(part.open().is_some());
    part.let_go();
    assert!(part.open().is_some(), "a block is counted once");
    file.wait(0, None).unwrap();
    eventually("the last one comes", || file.local(200).is_some());
    bench.far.put("b", 100);
    bench.far.set(Mood::SendsTooFew);
    bench.cache.file("b", 100).wait(0, None).unwrap_err();
    let expected =
        CacheState { hits: 2, misses: 2, failed: 1, fetched_bytes: 349, bytes: 250, max_bytes: 1000 };
    assert_eq!(bench.cache.state(), expected);
}

#[test]
fn a_root_that_is_missing_is_told() {
    let scratch = Scratch::new();
    let far = Arc::new(Far::default());
    let error = BlockCache::open(&scratch.join("none"), far, 0).err().unwrap();
    assert!(error.to_string().starts_with("can't open the cache "), "{error}");
}
