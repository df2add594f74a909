//! A window onto a body that is read in steps of bounded size.

use std::io::{ErrorKind, Read};

use super::Failure;
use crate::limits;
use crate::model::Refusal;

pub(super) struct Source<'a> {
    body: &'a mut dyn Read,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl<'a> Source<'a> {
    /// A window onto `lead` with `body` behind it.
    pub(super) fn new(body: &'a mut dyn Read, lead: &[u8]) -> Self {
        let mut buffer = vec![0; limits::FORM_WINDOW].into_boxed_slice();
        buffer[..lead.len()].copy_from_slice(lead);
        Self { body, buffer, start: 0, end: lead.len() }
    }

    /// The bytes that were read and not yet consumed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Consumes the first `count` bytes.
    pub(super) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.end - self.start);
        self.start += count;
    }

    /// Reads more; false at the body's end. Refuses a body whose indivisible part (a name, a delimiter, a head) fills
    /// the window.
    pub(super) fn fill(&mut self) -> Result<bool, Failure> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            return Err(Refusal::BadForm.into());
        }
        loop {
            match self.body.read(&mut self.buffer[self.end..]) {
                Ok(count) => {
                    self.end += count;
                    return Ok(count > 0);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::body(error)),
            }
        }
    }

    /// Hands out the bytes before the next stop in pieces, and consumes them and the stop. Returns the stop;
    /// `None` at the body's end.
    pub(super) fn until(
        &mut self,
        find: impl Fn(&[u8]) -> Option<usize>,
        mut piece: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<Option<u8>, Failure> {
        loop {
            let bytes = self.bytes();
            if let Some(at) = find(bytes) {
                let stop = bytes[at];
                piece(&bytes[..at])?;
                self.consume(at + 1);
                return Ok(Some(stop));
            }
            piece(bytes)?;
            self.consume(bytes.len());
            if !self.fill()? {
                return Ok(None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_full_window_is_refused() {
        let mut body = io::repeat(b'x');
        let mut source = Source::new(&mut body, b"lead");
        assert!(source.fill().unwrap());
        assert!(source.bytes().starts_with(b"leadxx"));
        while source.bytes().len() < limits::FORM_WINDOW {
            assert!(source.fill().unwrap());
        }
        assert!(matches!(source.fill(), Err(Failure::Refused(Refusal::BadForm))));
        source.consume(1);
        assert!(source.fill().unwrap());
    }

    #[test]
    fn an_interrupted_read_is_repeated() {
        struct Interrupted(bool);
        impl Read for Interrupted {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0 = !self.0;
                if self.0 {
                    return Err(ErrorKind::Interrupted.into());
                }
                buffer[0] = b'x';
                Ok(1)
            }
        }
        let mut body = Interrupted(false);
        let mut source = Source::new(&mut body, b"");
        assert!(source.fill().unwrap());
        assert_eq!(source.bytes(), b"x");
    }
}
