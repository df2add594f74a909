//! Unguessable ids.

use crate::hex;

/// 128 random bits as 32 lower-case hexadecimal digits, for stanza ids and threads.
///
/// # Panics
/// If the kernel gives no random numbers.
pub fn hex_id() -> String {
    let mut random = [0; 16];
    getrandom::fill(&mut random).expect("the kernel gives random numbers");
    hex::encode(&random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_hexadecimal_and_differ() {
        let ids: std::collections::HashSet<_> = (0..1000).map(|_| hex_id()).collect();
        assert_eq!(ids.len(), 1000);
        let hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        assert!(ids.iter().all(|id| id.len() == 32 && id.chars().all(hex)));
    }
}
