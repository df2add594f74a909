//! A buffer of bytes that were read and not used yet, or are to be sent.

/// Bytes that were read and not used yet, or are to be written. Costs nothing while it is empty.
#[derive(Debug, Default)]
pub struct Buffer {
    bytes: Vec<u8>,
    used: usize,
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, used: 0 }
    }
}

impl Buffer {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    pub fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Drops the first `count` bytes.
    pub fn consume(&mut self, count: usize) {
        self.used = (self.used + count).min(self.bytes.len());
        if self.is_empty() {
            (self.bytes, self.used) = (Vec::new(), 0);
        }
    }

    /// Takes the first `count` bytes out; without a copy if that is all.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        if self.used == 0 && count >= self.bytes.len() {
            return std::mem::take(&mut self.bytes);
        }
        let taken = self.bytes().get(..count).unwrap_or_default().to_vec();
        self.consume(count);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_is_used_up_from_its_front() {
        let mut input = Buffer::default();
        input.push(b"headbody");
        assert_eq!(input.take(4), b"head");
        input.consume(1);
        input.push(b"next");
        assert_eq!(input.bytes(), b"odynext");
        assert_eq!(input.take(3), b"ody");
        assert_eq!((input.take(4), input.is_empty()), (b"next".to_vec(), true));
        input.consume(9);
        assert_eq!(input.bytes.capacity(), 0);
    }
}
