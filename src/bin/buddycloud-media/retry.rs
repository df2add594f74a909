//! Attempts: which failures are tried again, after which pause, and the message about it.

use std::thread;
use std::time::Duration;

use media_server::limits;

use crate::console::Console;
use crate::exit::{Failure, Result};
use crate::http::Trouble;

/// The result of one attempt.
pub enum Attempt<T> {
    /// It is done.
    Done(T),
    /// The next one may succeed: after the pause that the server named, or after one that doubles each time.
    Again(Failure, Option<Duration>),
    /// The next one may succeed if one before was on its way: a server that restarts can't be reached for a moment.
    Unreachable(Failure),
    /// No other will succeed.
    Failed(Failure),
}

impl<T> Attempt<T> {
    /// The attempt that ended with this trouble.
    pub fn of(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Lost(_) => Self::Again(trouble.into_failure(), None),
            Trouble::Unreachable(_) => Self::Unreachable(trouble.into_failure()),
            Trouble::Tls(_) | Trouble::Fatal(_) => Self::Failed(trouble.into_failure()),
        }
    }
}

/// Makes attempts until one is done or fails for good; tells of each that is made again.
pub fn attempts<T>(what: &str, console: &Console, mut attempt: impl FnMut() -> Attempt<T>) -> Result<T> {
    let mut began = false;
    for number in 1.. {
        let (failure, named) = match attempt() {
            Attempt::Done(value) => return Ok(value),
            Attempt::Failed(failure) => return Err(failure.of(what)),
            Attempt::Unreachable(failure) if !began => return Err(failure.of(what)),
            Attempt::Unreachable(failure) => (failure, None),
            Attempt::Again(failure, named) => (failure, named),
        };
        began = true;
        let Some(pause) = pause(number, named) else { return Err(failure.of(what)) };
        if pause > Duration::ZERO {
            console.note(format!("{what}: {failure}; trying again in {} s", pause.as_secs_f32().ceil()));
        }
        thread::sleep(pause);
    }
    unreachable!("there are fewer attempts than numbers")
}

/// The pause behind this attempt; `None` behind the last.
fn pause(number: u32, named: Option<Duration>) -> Option<Duration> {
    if number >= limits::CLIENT_ATTEMPTS {
        return None;
    }
    let doubled = limits::CLIENT_PAUSE * 2_u32.pow(number - 1);
    Some(named.unwrap_or(doubled).min(limits::CLIENT_PAUSE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Options;
    use crate::exit::Exit;

    fn failure() -> Failure {
        Failure::new(Exit::NoService, "busy")
    }

    fn tried(mut attempt: impl FnMut(u32) -> Attempt<u32>) -> (Result<u32>, u32) {
        let console = Console::new(&Options { quiet: true, ..Options::default() });
        let mut count = 0;
        let result = attempts("it", &console, || {
            count += 1;
            attempt(count)
        });
        (result, count)
    }

    #[test]
    fn attempts_end_with_success_failure_or_the_last() {
        let now = Some(Duration::ZERO);
        assert_eq!(tried(|_| Attempt::Done(7)), (Ok(7), 1));
        assert_eq!(
            tried(|count| if count == 3 { Attempt::Done(7) } else { Attempt::Again(failure(), now) }),
            (Ok(7), 3)
        );
        assert_eq!(tried(|_| Attempt::Failed(failure())), (Err(failure().of("it")), 1));
        assert_eq!(
            tried(|_| Attempt::Again(failure(), now)),
            (Err(failure().of("it")), limits::CLIENT_ATTEMPTS)
        );
        assert_eq!(tried(|_| Attempt::Unreachable(failure())), (Err(failure().of("it")), 1));
    }

    #[test]
    fn pauses_double_unless_the_server_names_one() {
        let pauses: Vec<_> = (1..=limits::CLIENT_ATTEMPTS).map(|number| pause(number, None)).collect();
        let seconds = |number| Some(Duration::from_secs(number));
        assert_eq!(pauses, [seconds(1), seconds(2), seconds(4), seconds(8), None]);
        assert_eq!(pause(1, seconds(5)), seconds(5));
        assert_eq!(pause(1, seconds(86400)), Some(limits::CLIENT_PAUSE_MAX));
    }
}
