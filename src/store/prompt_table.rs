//! Requests for a confirmation that one node hands to the node that asks the users, on PostgreSQL alone. Called by the thread
//! `cluster`, on its own connection.
//!
//! All times are those of the database's clock. New prompts, hang-ups and decisions are told to the other nodes by a
//! [`Notice`], in the same transaction. Each step of a confirmed request is one statement without a transaction around it: one round trip.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use super::engine::{Change, Session};
use super::notice::{CHANNEL, Notice};
use super::postgres::{DedicatedConnection, notify};
use super::value::{Row, Value, values};
use crate::error::{Error, Kind, Result};
use crate::model::{Method, PromptDecision, PromptId, Refusal, SharedPrompt, StoredPrompt};

/// The rows of table `prompts`. Every call ends within [`CLUSTER_ANSWER`](crate::limits::CLUSTER_ANSWER).
pub trait PromptTable {
    /// Stores prompts of this node; gives the row of each. A repeated call stores nothing.
    fn ask(&mut self, node: &str, prompts: &[SharedPrompt]) -> Result<Vec<PromptId>>;

    /// At most `max` undecided prompts whose deadline is not over, the oldest first: those that were not sent or are abandoned,
    /// without the ones that are known to be abandoned.
    fn fresh(&mut self, abandoned: &[PromptId], max: usize) -> Result<Vec<StoredPrompt>>;

    /// The same of those that are not among the known ones, and of the abandoned ones of those that wait.
    fn undecided(
        &mut self,
        known: &[PromptId],
        waiting: &[PromptId],
        max: usize,
    ) -> Result<Vec<StoredPrompt>>;

    /// The holder of this stream has sent prompts, and decides others: no prompt may be in both lists. Only the first decision about a prompt counts. `false`:
    /// the node holds the stream no longer, and nothing is stored.
    fn hand_back(
        &mut self,
        stream: &StreamEpoch,
        sent: &[PromptId],
        decisions: &[(PromptId, PromptDecision)],
    ) -> Result<bool>;

    /// Removes the prompts whose decisions this node has taken, and gives the decisions about all others of this node.
    fn decided(&mut self, node: &str, taken: &[PromptId]) -> Result<Vec<(PromptId, PromptDecision)>>;

    /// Which of these prompts exist, and how they are decided.
    fn decisions(&mut self, prompts: &[PromptId]) -> Result<Vec<(PromptId, Option<PromptDecision>)>>;

    /// The clients of these prompts' requests have hung up.
    fn abandon(&mut self, prompts: &[PromptId]) -> Result<()>;

    /// Marks the prompts of this node as abandoned after its restart.
    fn abandon_of_node(&mut self, node: &str) -> Result<()>;

    /// Removes the prompts whose deadline was over a minute ago; gives how many.
    fn sweep(&mut self) -> Result<u64>;
}

/// A component's stream as one node holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEpoch {
    /// The component's address.
    pub component: String,
    /// Grows each time that a node takes the stream.
    pub epoch: i64,
}

/// $1 node, $2 prompts as JSON, $3 channel, $4 notice. A row that is stored already is set to what it is, so that its number
/// is returned; that of an attempt whose end was unknown may have been committed after this statement began.
const ASK: &str = "WITH stored AS (INSERT INTO prompts (node, asked, stanza_id, thread, form, \"transaction\", method, url, \
         deed, source, client, origin, shown, ends_by_bounce, deadline) \
     SELECT $1, r.asked, r.stanza_id, r.thread, r.form, r.\"transaction\", r.method, r.url, r.deed, r.source, \
         r.client, r.origin, r.shown, r.ends_by_bounce, now() + r.micros * INTERVAL '1 microsecond' \
     FROM json_to_recordset(CAST(CAST($2 AS TEXT) AS JSON)) AS r (asked TEXT, stanza_id TEXT, thread TEXT, form TEXT, \
         \"transaction\" TEXT, method TEXT, url TEXT, deed TEXT, source TEXT, client TEXT, origin BOOLEAN, shown BOOLEAN, \
         ends_by_bounce BOOLEAN, micros BIGINT) \
     ON CONFLICT (stanza_id) DO UPDATE SET node = prompts.node RETURNING id, stanza_id), \
     told AS (SELECT pg_notify($3, $4)) SELECT stored.id, stored.stanza_id FROM stored, told";

/// The ids of stanzas of a JSON array. Statements name rows by these ids, never by numbers: PostgreSQL gives the same
/// numbers again after a crash, and a user's reply must not decide about the row of another.
macro_rules! ids_of {
    ($parameter:literal) => {
        concat!("SELECT json_array_elements_text(CAST(CAST(", $parameter, " AS TEXT) AS JSON))")
    };
}

/// The same as an array, by which an index finds rows.
macro_rules! listed {
    ($parameter:literal) => {
        concat!("ARRAY(", ids_of!($parameter), ")")
    };
}

/// A query of undecided prompts whose deadline is not over, the oldest first: the condition that they meet besides, and after
/// the semicolon the parameter that limits their number.
macro_rules! read_prompts {
    ($($condition:expr),+; $number:literal) => {
        concat!(
            "SELECT id, CAST(EXTRACT(EPOCH FROM now() - begun) * 1000000 AS BIGINT), \
             CASE WHEN sent_epoch IS NULL THEN 0 ELSE 1 END, CAST(abandoned AS INTEGER), asked, stanza_id, thread, \
             form, \"transaction\", method, url, deed, source, client, CAST(origin AS INTEGER), \
             CAST(shown AS INTEGER), CAST(ends_by_bounce AS INTEGER), \
             CAST(EXTRACT(EPOCH FROM deadline - now()) * 1000000 AS BIGINT) \
             FROM prompts WHERE decision IS NULL AND deadline > now() AND (",
            $($condition),+,
            ") ORDER BY id LIMIT ",
            $number
        )
    };
}

/// $1 prompts that are known to be abandoned, $2 number.
const FRESH: &str =
    read_prompts!("(sent_epoch IS NULL OR abandoned) AND stanza_id NOT IN (", ids_of!("$1"), ")"; "$2");

/// $1 known prompts, looked up in a hash table, $2 waiting ones, $3 number.
const UNDECIDED: &str = read_prompts!(
    "stanza_id NOT IN (", ids_of!("$1"), ") OR abandoned AND stanza_id = ANY(", listed!("$2"), ")"; "$3"
);

/// Whether the node still holds the stream. It locks nothing: a holder that freezes in the middle of a transaction must
/// not keep the next one from taking the stream. $1 component, $2 epoch.
macro_rules! holds {
    () => {
        "EXISTS (SELECT FROM stream_holder WHERE jid = $1 AND epoch = $2)"
    };
}

/// One statement changes a row once. $1 component, $2 epoch, $3 decisions as JSON, $4 channel,
/// $5 notice, $6 sent prompts. Gives 1 if the node holds the stream.
const HAND_BACK: &str = concat!(
    "WITH decided AS (UPDATE prompts SET decision = r.decision \
     FROM json_to_recordset(CAST(CAST($3 AS TEXT) AS JSON)) AS r (stanza_id TEXT, decision TEXT) \
     WHERE prompts.stanza_id = r.stanza_id AND prompts.decision IS NULL AND ",
    holds!(),
    " RETURNING 1), sent AS (UPDATE prompts SET sent_epoch = $2 WHERE sent_epoch IS NULL AND stanza_id = ANY(",
    listed!("$6"),
    ") AND ",
    holds!(),
    "), told AS (SELECT pg_notify($4, $5) WHERE EXISTS (SELECT FROM decided)) \
     SELECT CASE WHEN count(*) > 0 OR ",
    holds!(),
    " THEN 1 ELSE 0 END FROM told"
);

/// $1 prompts.
const DECISIONS: &str =
    concat!("SELECT id, stanza_id, decision FROM prompts WHERE stanza_id = ANY(", listed!("$1"), ")");

/// Both parts see the rows as they were before. $1 node, $2 prompts whose decisions were taken.
const DECIDED: &str = concat!(
    "WITH removed AS (DELETE FROM prompts WHERE decision IS NOT NULL AND stanza_id = ANY(",
    listed!("$2"),
    ")) SELECT id, stanza_id, decision FROM prompts \
     WHERE node = $1 AND decision IS NOT NULL AND stanza_id NOT IN (",
    ids_of!("$2"),
    ")"
);

/// $1 prompts.
const ABANDON: &str = concat!(
    "UPDATE prompts SET abandoned = true WHERE decision IS NULL AND stanza_id = ANY(",
    listed!("$1"),
    ")"
);

/// Removes the decided rows of requests whose clients have hung up. $1 prompts.
const REMOVE_DECIDED: &str =
    concat!("DELETE FROM prompts WHERE decision IS NOT NULL AND stanza_id = ANY(", listed!("$1"), ")");

/// $1 node.
const ABANDON_OF_NODE: &str =
    "UPDATE prompts SET abandoned = true WHERE decision IS NULL AND NOT abandoned AND node = $1";

const SWEEP: &str = "DELETE FROM prompts WHERE deadline < now() - INTERVAL '1 minute'";

impl PromptTable for DedicatedConnection {
    fn ask(&mut self, node: &str, prompts: &[SharedPrompt]) -> Result<Vec<PromptId>> {
        let parameters =
            values![node, json(prompts.iter().map(AskedRow::from))?, CHANNEL, Notice::Prompts.name()];
        let rows = self.run(move |session| session.rows(ASK, &parameters))?;
        in_order(prompts, rows)
    }

    fn fresh(&mut self, abandoned: &[PromptId], max: usize) -> Result<Vec<StoredPrompt>> {
        let parameters = values![list(abandoned)?, max];
        self.run(move |session| stored_prompts(session, FRESH, &parameters))
    }

    fn undecided(
        &mut self,
        known: &[PromptId],
        waiting: &[PromptId],
        max: usize,
    ) -> Result<Vec<StoredPrompt>> {
        let parameters = values![list(known)?, list(waiting)?, max];
        self.run(move |session| stored_prompts(session, UNDECIDED, &parameters))
    }

    fn hand_back(
        &mut self,
        stream: &StreamEpoch,
        sent: &[PromptId],
        decisions: &[(PromptId, PromptDecision)],
    ) -> Result<bool> {
        let decided = decisions
            .iter()
            .map(|(row, decision)| DecidedRow { stanza_id: &row.stanza_id, decision: name_of(decision) });
        let parameters = values![
            stream.component.as_str(),
            stream.epoch,
            json(decided)?,
            CHANNEL,
            Notice::Decisions.name(),
            list(sent)?
        ];
        self.run(move |session| {
            let holds = session.row(HAND_BACK, &parameters)?.map(Row::single::<i64>);
            Ok(holds.transpose()? == Some(1))
        })
    }

    fn decided(&mut self, node: &str, taken: &[PromptId]) -> Result<Vec<(PromptId, PromptDecision)>> {
        let parameters = values![node, list(taken)?];
        let rows = self.run(move |session| decisions(session, DECIDED, &parameters))?;
        Ok(rows.into_iter().filter_map(|(id, decision)| Some((id, decision?))).collect())
    }

    fn decisions(&mut self, prompts: &[PromptId]) -> Result<Vec<(PromptId, Option<PromptDecision>)>> {
        let parameters = values![list(prompts)?];
        self.run(move |session| decisions(session, DECISIONS, &parameters))
    }

    fn abandon(&mut self, prompts: &[PromptId]) -> Result<()> {
        let parameters = values![list(prompts)?];
        self.transact(move |session| {
            session.execute(REMOVE_DECIDED, &parameters)?;
            abandon(session, ABANDON, &parameters).map(Change::Commit)
        })
    }

    fn abandon_of_node(&mut self, node: &str) -> Result<()> {
        let parameters = values![node];
        self.transact(move |session| abandon(session, ABANDON_OF_NODE, &parameters).map(Change::Commit))
    }

    fn sweep(&mut self) -> Result<u64> {
        self.run(|session| session.execute(SWEEP, &[]))
    }
}

fn stored_prompts(session: &mut dyn Session, sql: &str, parameters: &[Value]) -> Result<Vec<StoredPrompt>> {
    Ok(session.rows(sql, parameters)?.into_iter().filter_map(readable).collect())
}

fn decisions(
    session: &mut dyn Session,
    sql: &str,
    parameters: &[Value],
) -> Result<Vec<(PromptId, Option<PromptDecision>)>> {
    let decision = |mut row: Row| {
        let id = PromptId { number: row.next()?, stanza_id: row.next()? };
        let decision: Option<String> = row.next()?;
        Ok((id, decision.map(|name| decision_of(&name))))
    };
    session.rows(sql, parameters)?.into_iter().map(decision).collect()
}

/// Abandons rows, and tells the holder, if there are any.
fn abandon(session: &mut dyn Session, sql: &str, parameters: &[Value]) -> Result<()> {
    if session.execute(sql, parameters)? > 0 { notify(session, Notice::Prompts) } else { Ok(()) }
}

fn list(rows: &[PromptId]) -> Result<String> {
    json(rows.iter().map(|row| row.stanza_id.as_str()))
}

/// The rows of these prompts, in the order of the prompts.
fn in_order(prompts: &[SharedPrompt], rows: Vec<Row>) -> Result<Vec<PromptId>> {
    let found = rows.into_iter().map(|mut row| Ok((row.next::<i64>()?, row.next::<String>()?)));
    let mut numbers: HashMap<String, i64> =
        found.map(|row: Result<_>| row.map(|(number, id)| (id, number))).collect::<Result<_>>()?;
    let missing = || Error::new(Kind::Failure, "a prompt was stored without a number");
    let row = |prompt: &SharedPrompt| {
        let (stanza_id, number) = numbers.remove_entry(&prompt.stanza_id).ok_or_else(missing)?;
        Ok(PromptId { number, stanza_id })
    };
    prompts.iter().map(row).collect()
}

/// A row as [`ASK`] reads it.
#[derive(Serialize)]
struct AskedRow<'a> {
    asked: String,
    stanza_id: &'a str,
    thread: &'a str,
    form: &'static str,
    transaction: &'a str,
    method: &'static str,
    url: &'a str,
    deed: &'a str,
    source: Option<&'a str>,
    client: Option<IpAddr>,
    origin: bool,
    shown: bool,
    ends_by_bounce: bool,
    micros: i64,
}

impl<'a> From<&'a SharedPrompt> for AskedRow<'a> {
    fn from(prompt: &'a SharedPrompt) -> Self {
        Self {
            asked: prompt.asked.to_string(),
            stanza_id: &prompt.stanza_id,
            thread: &prompt.thread,
            form: if prompt.by_iq { IQ } else { "message" },
            transaction: &prompt.transaction,
            method: prompt.method.name(),
            url: &prompt.url,
            deed: &prompt.deed,
            source: prompt.source.as_deref(),
            client: prompt.client,
            origin: prompt.has_origin,
            shown: prompt.shown,
            ends_by_bounce: prompt.ends_by_bounce,
            micros: i64::try_from(prompt.time.as_micros()).unwrap_or(i64::MAX),
        }
    }
}

/// A decision as [`HAND_BACK`] reads it.
#[derive(Serialize)]
struct DecidedRow<'a> {
    stanza_id: &'a str,
    decision: &'static str,
}

/// The rows as JSON.
fn json<T: Serialize>(rows: impl Iterator<Item = T>) -> Result<String> {
    let failed =
        |cause: serde_json::Error| Error::caused(Kind::Failure, "rows can't be written as JSON", cause);
    serde_json::to_string(&rows.collect::<Vec<_>>()).map_err(failed)
}

const IQ: &str = "iq";

/// A row that a node of another version may have written.
fn readable(row: Row) -> Option<StoredPrompt> {
    stored(row).map_err(|error| log::debug!("a row of the table prompts is ignored: {error}")).ok()
}

fn stored(mut row: Row) -> Result<StoredPrompt> {
    let (number, age) = (row.next()?, micros(&mut row)?);
    let (is_sent, is_abandoned) = (flag(&mut row)?, flag(&mut row)?);
    let prompt = SharedPrompt {
        asked: parsed(&row.next::<String>()?)?,
        stanza_id: row.next()?,
        thread: row.next()?,
        by_iq: row.next::<String>()? == IQ,
        transaction: row.next()?,
        method: Method::from_name(&row.next::<String>()?),
        url: row.next()?,
        deed: row.next()?,
        source: row.next()?,
        client: row.next::<Option<String>>()?.map(|client| parsed(&client)).transpose()?,
        has_origin: flag(&mut row)?,
        shown: flag(&mut row)?,
        ends_by_bounce: flag(&mut row)?,
        time: micros(&mut row)?,
    };
    Ok(StoredPrompt { number, prompt, age, is_sent, is_abandoned })
}

fn flag(row: &mut Row) -> Result<bool> {
    Ok(row.next::<i64>()? != 0)
}

/// A negative time counts as none.
fn micros(row: &mut Row) -> Result<Duration> {
    row.next::<u64>().map(Duration::from_micros)
}

fn parsed<T: std::str::FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_| Error::new(Kind::Corrupt, format!("{text:?} is not valid")))
}

const CONFIRMED: &str = "Confirmed";

fn name_of(decision: &PromptDecision) -> &'static str {
    decision.map_or_else(|refusal| refusal.row().name, |()| CONFIRMED)
}

/// A refusal that only another version knows does not count as a person's denial.
fn decision_of(name: &str) -> PromptDecision {
    if name == CONFIRMED {
        return Ok(());
    }
    let known = Refusal::ALL.iter().copied().find(|refusal| refusal.row().name == name);
    Err(known.unwrap_or(Refusal::NotConfirmed))
}

#[cfg(test)]
mod tests;
