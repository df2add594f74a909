-- Version 2: the configuration may be kept in the database. The table outlives drop-schema.sql.
BEGIN;

CREATE TABLE IF NOT EXISTS "configuration" (
    "key" TEXT NOT NULL,
    "value" TEXT NOT NULL,
    "updated" TIMESTAMP -- UTC
);

INSERT INTO schema_version (version, "when", description)
VALUES (2, CURRENT_TIMESTAMP AT TIME ZONE 'UTC', 'table configuration');

COMMIT;
