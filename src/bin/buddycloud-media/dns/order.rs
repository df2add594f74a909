//! The order in which the hosts of SRV records are tried (RFC 2782). Without I/O.

use super::Place;

/// An SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// Records of a lower one come first.
    pub priority: u16,
    /// The share of the clients, among records of one priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host; empty: there is no such service.
    pub target: String,
    /// Whether the connection begins with TLS (XEP-0368).
    pub direct_tls: bool,
}

impl Srv {
    /// The place that it names.
    pub fn into_place(self) -> Place {
        Place { host: self.target, port: self.port, direct_tls: self.direct_tls }
    }
}

/// The records by their priorities, and within a priority at random by their weights. Both kinds of records are ordered
/// together (XEP-0368 section 3).
pub fn ordered(mut records: Vec<Srv>, random: &mut dyn FnMut() -> u32) -> Vec<Srv> {
    // Those of weight 0 first, so that they can be chosen at all.
    records.sort_by_key(|record| (record.priority, record.weight));
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(first) = records.first() {
        let priority = first.priority;
        let count = records.iter().take_while(|record| record.priority == priority).count();
        let total: u64 = records[..count].iter().map(|record| u64::from(record.weight)).sum();
        let mut left = u64::from(random()) % (total + 1);
        let chosen = records[..count].iter().position(|record| {
            let weight = u64::from(record.weight);
            let is_here = left <= weight;
            left = left.saturating_sub(weight);
            is_here
        });
        ordered.push(records.remove(chosen.unwrap_or(count - 1)));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(priority: u16, weight: u16, target: &str) -> Srv {
        Srv { priority, weight, port: 5222, target: target.to_owned(), direct_tls: false }
    }

    fn order(records: &[Srv], mut random: impl FnMut() -> u32) -> String {
        ordered(records.to_vec(), &mut random).iter().map(|record| record.target.as_str()).collect()
    }

    #[test]
    fn a_lower_priority_comes_first() {
        let records = [record(20, 0, "c"), record(10, 0, "b"), record(0, 65535, "a")];
        for number in [0, 1, 77, u32::MAX] {
            assert_eq!(order(&records, || number), "abc");
        }
    }

    #[test]
    fn a_weight_is_a_share() {
        let records = [record(0, 10, "a"), record(0, 30, "b"), record(0, 0, "z"), record(1, 0, "x")];
        let mut first = [0; 3];
        for number in 0..41 {
            // The order of the sorted records is z, a, b: 0 is z, 1 to 10 a, 11 to 40 b.
            let order = order(&records, || number);
            assert!(order.ends_with('x') && order.len() == 4, "{order}");
            first["zab".find(&order[..1]).expect("one of them")] += 1;
        }
        assert_eq!(first, [1, 10, 30]);
    }
}
