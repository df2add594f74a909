-- Version 11: the index of the files of uploads leaves out the first two characters of their names; an index of decided
-- prompts.
BEGIN;

-- First, so that a second run fails before it changes anything.
INSERT INTO schema_version (version, "when", description)
VALUES (11, CURRENT_TIMESTAMP AT TIME ZONE 'UTC',
    'an index of the files of uploads by their times; an index of decided prompts');

-- The first two characters are random: the name of a directory. In the names of new files the time follows, so that uploads
-- of one time are close to each other in the index.
ALTER TABLE uploads DROP CONSTRAINT uploads_file_key;
CREATE UNIQUE INDEX uploads_file_idx ON uploads (substr(file, 3)) WHERE file IS NOT NULL;

-- A node reads the decisions about its prompts.
CREATE INDEX prompts_decided_idx ON prompts (node) WHERE decision IS NOT NULL;

COMMIT;
