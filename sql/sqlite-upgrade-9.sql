-- Version 9: the tables by which several nodes share a database are PostgreSQL's alone.
-- The server runs it in a transaction of its own.

INSERT INTO schema_version (version, "when", description)
VALUES (9, unixepoch() * 1000000, 'tables of several nodes, in PostgreSQL alone');
