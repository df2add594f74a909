//! Some things at a time, with their results in order. The caller's thread takes the results.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

/// Does `work` for each job on up to `workers` threads, and passes each result to `sink` as soon as all before it have been.
pub fn in_order<J: Sync, T: Send>(
    jobs: &[J],
    workers: usize,
    work: impl Fn(&J) -> T + Sync,
    mut sink: impl FnMut(&J, T),
) {
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..workers.clamp(1, jobs.len().max(1)) {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                while let Some((number, job)) =
                    Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|n| Some((n, jobs.get(n)?)))
                {
                    // The receiver is there until all senders have gone.
                    let _ = sender.send((number, work(job)));
                }
            });
        }
        drop(sender);
        let mut waiting = BTreeMap::new();
        let mut due = 0;
        for (number, result) in results {
            waiting.insert(number, result);
            while let Some(result) = waiting.remove(&due) {
                sink(&jobs[due], result);
                due += 1;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn results_keep_the_order_of_the_jobs() {
        // The first job is done last: it waits for the other three.
        let barrier = Barrier::new(4);
        let mut results = Vec::new();
        let work = |job: &usize| {
            if *job < 4 {
                barrier.wait();
            }
            job * 10
        };
        in_order(&[0, 1, 2, 3, 4, 5], 4, work, |job, result| results.push((*job, result)));
        assert_eq!(results, [(0, 0), (1, 10), (2, 20), (3, 30), (4, 40), (5, 50)]);
        in_order(&[] as &[usize], 4, work, |_, _| panic!("there are no jobs"));
    }
}
