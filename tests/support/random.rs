//! Random choices that a seed repeats.

/// Numbers that follow from their seed (xorshift64).
pub struct Random(u64);

impl Random {
    /// Those of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// One below this bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % bound
    }

    /// One of these.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> Option<T> {
        let count = u64::try_from(from.len()).ok().filter(|count| *count > 0)?;
        from.get(usize::try_from(self.below(count)).ok()?).cloned()
    }

    /// Brings these into another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            let bound = u64::try_from(at + 1).expect("slices are shorter");
            items.swap(at, usize::try_from(self.below(bound)).expect("it is below the bound"));
        }
    }

    /// So many bytes.
    pub fn bytes(&mut self, count: u64) -> Vec<u8> {
        (0..count).map(|_| self.below(256).to_le_bytes()[0]).collect()
    }
}
