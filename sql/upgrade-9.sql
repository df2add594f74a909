-- Version 9: the tables stream_holder, prompts and chores, by which several nodes share one database.
BEGIN;

-- First, so that a second run fails before it changes anything.
INSERT INTO schema_version (version, "when", description)
VALUES (9, CURRENT_TIMESTAMP AT TIME ZONE 'UTC', 'tables stream_holder, prompts and chores');

-- Which node holds the XMPP stream of a component. The lock is an advisory lock of that node's session; the row
-- tells the other nodes whose it is, and whether the holder is alive.
CREATE TABLE stream_holder (
    jid TEXT PRIMARY KEY,                                -- the component's
    node TEXT,                                           -- the holder's node.name; NULL: it has given the stream up
    pid INTEGER NOT NULL,                                -- the backend of the holder's session
    epoch BIGINT NOT NULL,                               -- one more each time that a node takes the stream
    beat TIMESTAMPTZ NOT NULL                            -- when the holder last said that it is alive
);

-- Requests that wait for a person's confirmation, or have just got it. Unlogged: none outlives a crash of PostgreSQL.
CREATE UNLOGGED TABLE prompts (
    id BIGSERIAL PRIMARY KEY,
    node TEXT NOT NULL,                                  -- the node that serves the request
    asked TEXT NOT NULL,                                 -- the JID that is asked, full or bare
    stanza_id TEXT NOT NULL,                             -- of the stanza that asks
    thread TEXT NOT NULL,                                -- of the message that asks
    form TEXT NOT NULL,                                  -- 'message' or 'iq'
    "transaction" TEXT NOT NULL,                         -- the id of XEP-0070 that the requester chose
    method TEXT NOT NULL,                                -- of the request
    url TEXT NOT NULL,                                   -- of the request
    deed TEXT NOT NULL,                                  -- what the request would do
    source TEXT,                                         -- the address or web page that the prompt names
    client TEXT,                                         -- the client's network
    origin BOOLEAN NOT NULL,                             -- whether a web page of another origin asked
    shown BOOLEAN NOT NULL,                              -- false: the request is silent
    ends_by_bounce BOOLEAN NOT NULL,                     -- whether an error reply ends it
    begun TIMESTAMPTZ NOT NULL DEFAULT now(),
    deadline TIMESTAMPTZ NOT NULL,
    sent_epoch BIGINT,                                   -- the epoch of the holder that sent it; NULL: not sent yet
    abandoned BOOLEAN NOT NULL DEFAULT false,            -- whether the client has hung up
    decision TEXT                                        -- NULL: not decided yet
);
-- A node that does not know whether a prompt was stored stores it again.
CREATE UNIQUE INDEX prompts_stanza_id_idx ON prompts (stanza_id);
CREATE INDEX prompts_undecided_idx ON prompts (id) WHERE decision IS NULL;

-- Chores of which one node at a time is enough, such as a walk of the store.
CREATE TABLE chores (
    name TEXT PRIMARY KEY,
    node TEXT NOT NULL,                                  -- the node that did it last
    begun TIMESTAMPTZ NOT NULL
);

COMMIT;
