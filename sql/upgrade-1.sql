-- Version 1: media without a file extension; the schema knows its version.
BEGIN;

CREATE TABLE schema_version (
    version INTEGER PRIMARY KEY,
    "when" TIMESTAMP, -- UTC
    description TEXT
);
ALTER TABLE medias ALTER COLUMN fileExtension DROP NOT NULL;

INSERT INTO schema_version (version, "when", description)
VALUES (1, CURRENT_TIMESTAMP AT TIME ZONE 'UTC', 'fileExtension may be missing');

COMMIT;
