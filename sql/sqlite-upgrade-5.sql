-- Version 5: the store's id, by which files and metadata know that they belong together.
-- The server runs it in a transaction of its own.

INSERT INTO schema_version (version, "when", description) VALUES (5, unixepoch() * 1000000, 'table store');

-- Identity: the id that also begins the file .store in the storage root. The server writes it, once.
CREATE TABLE store (
    single INTEGER PRIMARY KEY CHECK (single = 1),
    id TEXT NOT NULL
) STRICT;

-- Removals: files that must go.
