-- Version 6: the table uploads, for files that are sent by slot (XEP-0363); its sums in the table usage; the table secrets.
BEGIN;

-- First, so that a second run fails before it changes anything.
INSERT INTO schema_version (version, "when", description)
VALUES (6, CURRENT_TIMESTAMP AT TIME ZONE 'UTC', 'tables uploads and secrets');

-- The row of a file that is gone stays as long as its slot could be used again. It is emptied: file, path, owner,
-- fileName, mimeType and sha256 are NULL, and fileSize is 0.
CREATE TABLE uploads (
    id TEXT PRIMARY KEY,                                 -- of the URL; of an external slot the hash of its path
    path TEXT,                                           -- of an external slot
    file TEXT UNIQUE,                                    -- the name of the file below .uploads
    owner TEXT,                                          -- the uploader's bare JID, where it is known
    fileName TEXT,
    mimeType TEXT,
    fileSize BIGINT NOT NULL,                            -- bytes
    sha256 TEXT,                                         -- lower-case hexadecimal
    purpose TEXT NOT NULL,                               -- message, profile, ephemeral or permanent
    created TIMESTAMP NOT NULL,
    expires TIMESTAMP,                                   -- NULL: never
    slotEnds TIMESTAMP                                   -- when the slot can't be used any more; NULL: never
);
CREATE INDEX uploads_expires_idx ON uploads (expires, id) WHERE file IS NOT NULL AND expires IS NOT NULL;
CREATE INDEX uploads_emptied_idx ON uploads (slotEnds) WHERE file IS NULL AND slotEnds IS NOT NULL;
CREATE INDEX uploads_owner_idx ON uploads (owner, purpose, created, id) WHERE owner IS NOT NULL;
CREATE INDEX uploads_owner_expires_idx ON uploads (owner, expires) WHERE owner IS NOT NULL AND expires IS NOT NULL;

-- The sums of table usage that a row belongs to. Those of upload-day are of ten minutes each, numbered from 1970.
CREATE FUNCTION upload_sums(owner TEXT, purpose TEXT, created TIMESTAMP, OUT kind TEXT, OUT name TEXT)
    RETURNS SETOF RECORD LANGUAGE SQL IMMUTABLE AS $$
    SELECT 'upload-total', ''
    UNION ALL SELECT 'upload-user', owner WHERE owner IS NOT NULL
    UNION ALL SELECT 'upload-' || purpose, owner WHERE owner IS NOT NULL
    UNION ALL SELECT 'upload-day', owner || ' ' || CAST(floor(extract(epoch FROM created) / 600) AS BIGINT)
        WHERE owner IS NOT NULL
$$;

-- As before for media; those of uploads are new.
CREATE OR REPLACE VIEW usage_counted (kind, name, part, files, bytes) AS
    SELECT sums.kind, sums.name, ascii(right(id, 1)) % 16, COUNT(*),
        CAST(SUM(textSize + LEAST(GREATEST(fileSize, 0), 1125899906842624)) AS BIGINT)
    FROM medias, LATERAL (VALUES ('channel', entityId), ('total', ''), ('user', author)) AS sums (kind, name)
    GROUP BY 1, 2, 3
    UNION ALL
    SELECT sums.kind, sums.name, ascii(right(id, 1)) % 16, COUNT(*), CAST(SUM(fileSize) AS BIGINT)
    FROM uploads, LATERAL upload_sums(owner, purpose, created) AS sums
    WHERE file IS NOT NULL GROUP BY 1, 2, 3;

-- As the triggers of medias: all sums of a statement change in the order of kind, name and part, so that no two statements
-- wait for each other.
CREATE FUNCTION usage_of_uploads_inserted() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO usage AS kept (kind, name, part, files, bytes)
    SELECT sums.kind, sums.name, ascii(right(id, 1)) % 16, COUNT(*), SUM(fileSize)
    FROM inserted, LATERAL upload_sums(owner, purpose, created) AS sums
    WHERE file IS NOT NULL
    GROUP BY 1, 2, 3 ORDER BY sums.kind COLLATE "C", sums.name COLLATE "C", 3
    ON CONFLICT (kind, name, part) DO UPDATE SET files = kept.files + EXCLUDED.files, bytes = kept.bytes + EXCLUDED.bytes;
    RETURN NULL;
END $$;

CREATE FUNCTION usage_of_uploads_deleted() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO usage AS kept (kind, name, part, files, bytes)
    SELECT sums.kind, sums.name, ascii(right(id, 1)) % 16, -COUNT(*), -SUM(fileSize)
    FROM deleted, LATERAL upload_sums(owner, purpose, created) AS sums
    WHERE file IS NOT NULL
    GROUP BY 1, 2, 3 ORDER BY sums.kind COLLATE "C", sums.name COLLATE "C", 3
    ON CONFLICT (kind, name, part) DO UPDATE SET files = kept.files + EXCLUDED.files, bytes = kept.bytes + EXCLUDED.bytes;
    -- The name of a user without uploads is not kept.
    DELETE FROM usage WHERE files = 0 AND bytes = 0 AND (kind, name) IN (
        SELECT sums.kind, sums.name FROM deleted, LATERAL upload_sums(owner, purpose, created) AS sums
        WHERE sums.kind <> 'upload-total');
    RETURN NULL;
END $$;

CREATE FUNCTION usage_of_uploads_updated() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    INSERT INTO usage AS kept (kind, name, part, files, bytes)
    SELECT sums.kind, sums.name, ascii(right(id, 1)) % 16, SUM(files), SUM(files * fileSize)
    FROM (SELECT 1 AS files, id, owner, purpose, created, fileSize FROM after_update WHERE file IS NOT NULL
        UNION ALL SELECT -1, id, owner, purpose, created, fileSize FROM before_update WHERE file IS NOT NULL) AS changes,
    LATERAL upload_sums(owner, purpose, created) AS sums
    GROUP BY 1, 2, 3 HAVING SUM(files) <> 0 OR SUM(files * fileSize) <> 0
    ORDER BY sums.kind COLLATE "C", sums.name COLLATE "C", 3
    ON CONFLICT (kind, name, part) DO UPDATE SET files = kept.files + EXCLUDED.files, bytes = kept.bytes + EXCLUDED.bytes;
    DELETE FROM usage WHERE files = 0 AND bytes = 0 AND (kind, name) IN (
        SELECT sums.kind, sums.name FROM before_update, LATERAL upload_sums(owner, purpose, created) AS sums
        WHERE sums.kind <> 'upload-total');
    RETURN NULL;
END $$;

CREATE FUNCTION usage_of_no_uploads() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM usage WHERE kind LIKE 'upload-%';
    RETURN NULL;
END $$;

-- It emptied the whole table, which now has sums of others, too.
CREATE OR REPLACE FUNCTION usage_of_nothing() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM usage WHERE kind IN ('channel', 'total', 'user');
    RETURN NULL;
END $$;

CREATE TRIGGER upload_usage_insert AFTER INSERT ON uploads REFERENCING NEW TABLE AS inserted
    FOR EACH STATEMENT EXECUTE FUNCTION usage_of_uploads_inserted();
CREATE TRIGGER upload_usage_delete AFTER DELETE ON uploads REFERENCING OLD TABLE AS deleted
    FOR EACH STATEMENT EXECUTE FUNCTION usage_of_uploads_deleted();
CREATE TRIGGER upload_usage_update AFTER UPDATE ON uploads REFERENCING OLD TABLE AS before_update NEW TABLE AS after_update
    FOR EACH STATEMENT EXECUTE FUNCTION usage_of_uploads_updated();
CREATE TRIGGER upload_usage_truncate AFTER TRUNCATE ON uploads
    FOR EACH STATEMENT EXECUTE FUNCTION usage_of_no_uploads();

-- The keys of tokens. Each kind of token has keys of its own, one for each day.
CREATE TABLE secrets (
    kind TEXT NOT NULL,                                  -- slot
    id BIGINT NOT NULL,                                  -- the day, counted from 1970
    secret TEXT NOT NULL,                                -- 32 bytes, hexadecimal
    PRIMARY KEY (kind, id)
);

COMMIT;
