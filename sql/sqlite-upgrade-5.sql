-- Version 5: the store's id, by which files and metadata know that they belong together, and the files that must go.
-- The server runs it in a transaction of its own.

INSERT INTO schema_version (version, "when", description) VALUES (5, unixepoch() * 1000000, 'tables store and removals');

-- Identity: the id that also begins the file .store in the storage root. The server writes it, once.
CREATE TABLE store (
    single INTEGER PRIMARY KEY CHECK (single = 1),
    id TEXT NOT NULL
) STRICT;

-- Removals: files that must go. The transaction that deletes the row of a media or a preview writes one for its file; it
-- is deleted when the file is gone.
CREATE TABLE removals (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    folder TEXT NOT NULL,              -- the channel, in whose directory the file is
    file TEXT NOT NULL,                -- its name there: the id of the media or the preview
    reason TEXT NOT NULL,              -- for the log
    since INTEGER NOT NULL DEFAULT (unixepoch() * 1000000),
    UNIQUE (folder, file)
) STRICT;
