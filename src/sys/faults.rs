//! Faults in the calls of [`super::fs`], for tests: one at a time, and on the thread that asks for it only.

use std::cell::Cell;
use std::io::{self, Write};

use rustix::io::Errno;

use super::fs::FsCall;

/// The failure of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing of it is done.
    Error(Errno),
    /// Half is written, the rest is not. Only writes count.
    Torn(Errno),
    /// It is written in many small parts. Only writes count.
    Short,
}

#[derive(Clone, Copy, Default)]
struct Plan {
    /// Calls to come before the fault, and the fault.
    fault: Option<(usize, Fault)>,
    /// The fault of the write that is under way.
    write: Option<Fault>,
    /// Where it happened.
    kind: Option<FsCall>,
    /// A kind of calls, and how many there were.
    counted: Option<(FsCall, usize)>,
}

thread_local! {
    static PLAN: Cell<Plan> = const { Cell::new(Plan { fault: None, write: None, kind: None, counted: None }) };
}

/// Does this with a fault at the call of this number, counted from 0; the call that failed, if there were so many.
pub fn at<T>(number: usize, fault: Fault, work: impl FnOnce() -> T) -> (T, Option<FsCall>) {
    PLAN.set(Plan { fault: Some((number, fault)), ..Plan::default() });
    let done = work();
    (done, PLAN.take().kind)
}

/// Does this; how many calls of this kind it makes.
pub fn count<T>(kind: FsCall, work: impl FnOnce() -> T) -> (T, usize) {
    PLAN.set(Plan { counted: Some((kind, 0)), ..Plan::default() });
    let done = work();
    (done, PLAN.take().counted.map_or(0, |(_, count)| count))
}

/// Counts a call, and fails if it is the one.
pub(super) fn strike(kind: FsCall) -> io::Result<()> {
    let mut plan = PLAN.get();
    plan.write = None;
    if let Some((counted, count)) = &mut plan.counted {
        *count += usize::from(*counted == kind);
    }
    let struck = match plan.fault {
        Some((_, Fault::Torn(_) | Fault::Short)) if kind != FsCall::Write => None,
        Some((0, fault)) => {
            plan = Plan { fault: None, write: Some(fault), kind: Some(kind), ..plan };
            Some(fault)
        }
        Some((left, fault)) => {
            plan.fault = Some((left - 1, fault));
            None
        }
        None => None,
    };
    PLAN.set(plan);
    match struck {
        Some(Fault::Error(errno)) => Err(errno.into()),
        _ => Ok(()),
    }
}

/// A file that is written to as the fault says.
pub(super) struct Faulty<'a>(pub(super) &'a mut std::fs::File);

impl Write for Faulty<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut plan = PLAN.get();
        match plan.write {
            Some(Fault::Torn(errno)) => {
                plan.write = Some(Fault::Error(errno));
                PLAN.set(plan);
                self.0.write(&bytes[..bytes.len().div_ceil(2)])
            }
            Some(Fault::Error(errno)) => Err(errno.into()),
            Some(Fault::Short) => self.0.write(&bytes[..bytes.len().min(3)]),
            None => self.0.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
