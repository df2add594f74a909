//! The meaning of errors of PostgreSQL.

use std::error::Error as _;
use std::io;

use crate::error::{Error, Kind};

/// The error of an operation.
#[expect(clippy::needless_pass_by_value, reason = "map_err gives the error away")]
pub(in crate::store) fn fault(cause: postgres::Error) -> Error {
    let kind = kind(&cause);
    match cause.as_db_error() {
        Some(error) => {
            let text = format!("PostgreSQL says: {error} (SQLSTATE {})", error.code().code());
            Error::new(kind, text)
        }
        None => Error::tls(kind, "PostgreSQL can't be used", &cause),
    }
}

/// The database did not answer in time.
pub(in crate::store) fn silence() -> Error {
    Error::new(Kind::Unavailable, "PostgreSQL did not answer in time, or its connection was lost")
}

fn kind(error: &postgres::Error) -> Kind {
    let Some(code) = error.code() else {
        let io = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
        return if error.is_closed() || io.is_some() { Kind::Unavailable } else { Kind::Failure };
    };
    kind_of(code.code())
}

/// By the classes and codes of appendix A of PostgreSQL's manual.
fn kind_of(code: &str) -> Kind {
    match code {
        // disk_full
        "53100" => Kind::Full,
        // query_canceled (statement_timeout), admin and crash shutdown, cannot_connect_now, lock_not_available,
        // idle_in_transaction_session_timeout, read_only_sql_transaction (a standby)
        "57014" | "57P01" | "57P02" | "57P03" | "55P03" | "25P03" | "25006" => Kind::Unavailable,
        // untranslatable_character: the database's encoding lacks it
        "22P05" => Kind::Untranslatable,
        // data_corrupted, index_corrupted, character_not_in_repertoire
        "XX001" | "XX002" | "22021" => Kind::Corrupt,
        // connection exception, transaction rollback (deadlock), insufficient resources
        _ if ["08", "40", "53"].iter().any(|class| code.starts_with(class)) => Kind::Unavailable,
        _ => Kind::Failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_say_who_must_act() {
        assert_eq!(kind_of("53300"), Kind::Unavailable);
        assert_eq!(kind_of("53100"), Kind::Full);
        assert_eq!(kind_of("40P01"), Kind::Unavailable);
        assert_eq!(kind_of("28P01"), Kind::Failure);
        assert_eq!(kind_of("42P01"), Kind::Failure);
        assert_eq!(kind_of("XX002"), Kind::Corrupt);
        assert_eq!(kind_of("22P05"), Kind::Untranslatable);
    }
}
