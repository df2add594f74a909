-- Version 11: the index of the files of uploads leaves out the first two characters of their names.
-- The server runs it in a transaction of its own.

INSERT INTO schema_version (version, "when", description)
VALUES (11, unixepoch() * 1000000, 'an index of the files of uploads by their times');

-- The first two characters are random: the name of a directory. In the names of new files the time follows, so that uploads
-- of one time are close to each other in the index. The index of a UNIQUE column can't be dropped, so the table is made anew.
-- The views on it stay as they are.
PRAGMA legacy_alter_table = ON;
ALTER TABLE uploads RENAME TO uploads_10;
PRAGMA legacy_alter_table = OFF;
CREATE TABLE uploads (
    id TEXT PRIMARY KEY NOT NULL,      -- of the URL; of an external slot the hash of its path
    path TEXT,                         -- of an external slot
    file TEXT,                         -- the name of the file below .uploads
    owner TEXT,                        -- the uploader's bare JID, where it is known
    fileName TEXT,
    mimeType TEXT,
    fileSize INTEGER NOT NULL,         -- bytes
    sha256 TEXT,                       -- lower-case hexadecimal
    purpose TEXT NOT NULL,             -- message, profile, ephemeral or permanent
    created INTEGER NOT NULL,
    expires INTEGER,                   -- NULL: never
    slotEnds INTEGER                   -- when the slot can't be used any more; NULL: never
) STRICT;
INSERT INTO uploads (id, path, file, owner, fileName, mimeType, fileSize, sha256, purpose, created, expires, slotEnds)
    SELECT id, path, file, owner, fileName, mimeType, fileSize, sha256, purpose, created, expires, slotEnds
    FROM uploads_10 ORDER BY rowid;
-- Its indexes and triggers go with it.
DROP TABLE uploads_10;

CREATE UNIQUE INDEX uploads_file_idx ON uploads (substr(file, 3)) WHERE file IS NOT NULL;
-- As before.
CREATE INDEX uploads_expires_idx ON uploads (expires, id) WHERE file IS NOT NULL AND expires IS NOT NULL;
CREATE INDEX uploads_emptied_idx ON uploads (slotEnds) WHERE file IS NULL AND slotEnds IS NOT NULL;
CREATE INDEX uploads_owner_newest_idx ON uploads (owner, created DESC, id DESC)
    WHERE file IS NOT NULL AND owner IS NOT NULL;

-- The sums of upload_sums, by the values of the row: reading them from the view would look for the row once more for each.
CREATE TRIGGER upload_usage_insert AFTER INSERT ON uploads WHEN NEW.file IS NOT NULL BEGIN
    INSERT INTO usage (kind, name, part, files, bytes) SELECT column1, column2, 0, 1, NEW.fileSize FROM (VALUES
        ('upload-total', ''), ('upload-user', NEW.owner), ('upload-' || NEW.purpose, NEW.owner),
        ('upload-day', NEW.owner || ' ' || (NEW.created / 600000000))) WHERE column2 IS NOT NULL
    ON CONFLICT (kind, name, part) DO UPDATE SET files = files + excluded.files, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER upload_usage_delete AFTER DELETE ON uploads WHEN OLD.file IS NOT NULL BEGIN
    INSERT INTO usage (kind, name, part, files, bytes) SELECT column1, column2, 0, -1, -OLD.fileSize FROM (VALUES
        ('upload-total', ''), ('upload-user', OLD.owner), ('upload-' || OLD.purpose, OLD.owner),
        ('upload-day', OLD.owner || ' ' || (OLD.created / 600000000))) WHERE column2 IS NOT NULL
    ON CONFLICT (kind, name, part) DO UPDATE SET files = files + excluded.files, bytes = bytes + excluded.bytes;
    -- The name of a user without uploads is not kept.
    DELETE FROM usage WHERE files = 0 AND bytes = 0 AND (kind, name) IN (VALUES
        ('upload-user', OLD.owner), ('upload-' || OLD.purpose, OLD.owner),
        ('upload-day', OLD.owner || ' ' || (OLD.created / 600000000)));
END;
CREATE TRIGGER upload_usage_update_old AFTER UPDATE ON uploads WHEN OLD.file IS NOT NULL BEGIN
    INSERT INTO usage (kind, name, part, files, bytes) SELECT column1, column2, 0, -1, -OLD.fileSize FROM (VALUES
        ('upload-total', ''), ('upload-user', OLD.owner), ('upload-' || OLD.purpose, OLD.owner),
        ('upload-day', OLD.owner || ' ' || (OLD.created / 600000000))) WHERE column2 IS NOT NULL
    ON CONFLICT (kind, name, part) DO UPDATE SET files = files + excluded.files, bytes = bytes + excluded.bytes;
    DELETE FROM usage WHERE files = 0 AND bytes = 0 AND (kind, name) IN (VALUES
        ('upload-user', OLD.owner), ('upload-' || OLD.purpose, OLD.owner),
        ('upload-day', OLD.owner || ' ' || (OLD.created / 600000000)));
END;
CREATE TRIGGER upload_usage_update_new AFTER UPDATE ON uploads WHEN NEW.file IS NOT NULL BEGIN
    INSERT INTO usage (kind, name, part, files, bytes) SELECT column1, column2, 0, 1, NEW.fileSize FROM (VALUES
        ('upload-total', ''), ('upload-user', NEW.owner), ('upload-' || NEW.purpose, NEW.owner),
        ('upload-day', NEW.owner || ' ' || (NEW.created / 600000000))) WHERE column2 IS NOT NULL
    ON CONFLICT (kind, name, part) DO UPDATE SET files = files + excluded.files, bytes = bytes + excluded.bytes;
END;
