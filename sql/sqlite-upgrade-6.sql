-- Version 6: the table uploads, for files that are sent by slot (XEP-0363); its sums in the table usage; the table secrets.
-- The server runs it in a transaction of its own.

INSERT INTO schema_version (version, "when", description)
VALUES (6, unixepoch() * 1000000, 'tables uploads and secrets');

-- The row of a file that is gone stays as long as its slot could be used again. It is emptied: file, path, owner,
-- fileName, mimeType and sha256 are NULL, and fileSize is 0.
CREATE TABLE uploads (
    id TEXT PRIMARY KEY NOT NULL,      -- of the URL; of an external slot the hash of its path
    path TEXT,                         -- of an external slot
    file TEXT UNIQUE,                  -- the name of the file below .uploads
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
CREATE INDEX uploads_expires_idx ON uploads (expires, id) WHERE file IS NOT NULL AND expires IS NOT NULL;
CREATE INDEX uploads_emptied_idx ON uploads (slotEnds) WHERE file IS NULL AND slotEnds IS NOT NULL;
CREATE INDEX uploads_owner_idx ON uploads (owner, purpose, created, id) WHERE owner IS NOT NULL;
CREATE INDEX uploads_owner_expires_idx ON uploads (owner, expires) WHERE owner IS NOT NULL AND expires IS NOT NULL;

-- The sums of table usage that the rows belong to. Those of upload-day are of ten minutes each, numbered from 1970.
CREATE VIEW upload_sums (id, kind, name, bytes) AS
    SELECT id, 'upload-total', '', fileSize FROM uploads WHERE file IS NOT NULL
    UNION ALL
    SELECT id, 'upload-user', owner, fileSize FROM uploads WHERE file IS NOT NULL AND owner IS NOT NULL
    UNION ALL
    SELECT id, 'upload-' || purpose, owner, fileSize FROM uploads WHERE file IS NOT NULL AND owner IS NOT NULL
    UNION ALL
    SELECT id, 'upload-day', owner || ' ' || (created / 600000000), fileSize
    FROM uploads WHERE file IS NOT NULL AND owner IS NOT NULL;

-- As before for media; those of uploads are new.
DROP VIEW usage_counted;
CREATE VIEW usage_counted (kind, name, part, files, bytes) AS
    SELECT 'channel', entityId, 0, COUNT(*), SUM(textSize + MIN(MAX(fileSize, 0), 1125899906842624)) FROM medias GROUP BY entityId
    UNION ALL
    SELECT 'total', '', 0, COUNT(*), SUM(textSize + MIN(MAX(fileSize, 0), 1125899906842624)) FROM medias HAVING COUNT(*) > 0
    UNION ALL
    SELECT 'user', author, 0, COUNT(*), SUM(textSize + MIN(MAX(fileSize, 0), 1125899906842624)) FROM medias GROUP BY author
    UNION ALL
    SELECT kind, name, 0, COUNT(*), SUM(bytes) FROM upload_sums GROUP BY kind, name;

CREATE TRIGGER upload_usage_insert AFTER INSERT ON uploads WHEN NEW.file IS NOT NULL BEGIN
    INSERT INTO usage (kind, name, part, files, bytes) SELECT kind, name, 0, 1, bytes FROM upload_sums WHERE id = NEW.id
    ON CONFLICT (kind, name, part) DO UPDATE SET files = files + excluded.files, bytes = bytes + excluded.bytes;
END;
-- Before, so that the sums of the row as it was can still be read.
CREATE TRIGGER upload_usage_delete BEFORE DELETE ON uploads WHEN OLD.file IS NOT NULL BEGIN
    INSERT INTO usage (kind, name, part, files, bytes) SELECT kind, name, 0, -1, -bytes FROM upload_sums WHERE id = OLD.id
    ON CONFLICT (kind, name, part) DO UPDATE SET files = files + excluded.files, bytes = bytes + excluded.bytes;
    -- The name of a user without uploads is not kept.
    DELETE FROM usage WHERE files = 0 AND bytes = 0 AND kind <> 'upload-total'
        AND (kind, name) IN (SELECT kind, name FROM upload_sums WHERE id = OLD.id);
END;
CREATE TRIGGER upload_usage_before_update BEFORE UPDATE ON uploads WHEN OLD.file IS NOT NULL BEGIN
    INSERT INTO usage (kind, name, part, files, bytes) SELECT kind, name, 0, -1, -bytes FROM upload_sums WHERE id = OLD.id
    ON CONFLICT (kind, name, part) DO UPDATE SET files = files + excluded.files, bytes = bytes + excluded.bytes;
    DELETE FROM usage WHERE files = 0 AND bytes = 0 AND kind <> 'upload-total'
        AND (kind, name) IN (SELECT kind, name FROM upload_sums WHERE id = OLD.id);
END;
CREATE TRIGGER upload_usage_update AFTER UPDATE ON uploads WHEN NEW.file IS NOT NULL BEGIN
    INSERT INTO usage (kind, name, part, files, bytes) SELECT kind, name, 0, 1, bytes FROM upload_sums WHERE id = NEW.id
    ON CONFLICT (kind, name, part) DO UPDATE SET files = files + excluded.files, bytes = bytes + excluded.bytes;
END;

-- The keys of tokens. Each kind of token has keys of its own, one for each day.
CREATE TABLE secrets (
    kind TEXT NOT NULL,                -- slot
    id INTEGER NOT NULL,               -- the day, counted from 1970
    secret TEXT NOT NULL,              -- 32 bytes, hexadecimal
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;
