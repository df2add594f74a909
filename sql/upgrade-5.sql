-- Version 5: the store's id, by which files and metadata know that they belong together.
BEGIN;

-- First, so that a second run fails before it changes anything.
INSERT INTO schema_version (version, "when", description)
VALUES (5, CURRENT_TIMESTAMP AT TIME ZONE 'UTC', 'table store');

-- Identity: the id that also begins the file .store in the storage root. The server writes it, once.
CREATE TABLE store (
    single INTEGER PRIMARY KEY CHECK (single = 1),
    id TEXT NOT NULL
);

-- Removals: files that must go.

COMMIT;
