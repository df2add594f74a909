//! Databases that are not in UTF-8: they can't hold every text.

use postgres::Client;

use super::fault::fault;
use crate::error::Result;

/// A warning about the encoding of the database; `None` if it is UTF-8.
pub(in crate::store) fn encoding_advice(client: &mut Client) -> Result<Option<String>> {
    let encoding: String =
        client.query_one("SELECT current_setting('server_encoding')", &[]).map_err(fault)?.get(0);
    let consequence = match encoding.as_str() {
        "UTF8" => return Ok(None),
        "SQL_ASCII" => "rows whose texts other programs wrote in another encoding are not served",
        _ => "texts with characters that it lacks, such as emoji, are refused with 422",
    };
    Ok(Some(format!(
        "the encoding of the database is {encoding}, not UTF8: {consequence}; to change that, make a database with \
         ENCODING 'UTF8' and copy the tables with pg_dump and psql"
    )))
}
