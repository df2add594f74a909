-- Removes the schema of any version, with everything in it; the table configuration stays.
BEGIN;

DROP VIEW IF EXISTS usage_counted;
DROP TABLE IF EXISTS usage;
DROP TABLE IF EXISTS store;
DROP TABLE IF EXISTS removals;
DROP TABLE IF EXISTS uploads;
DROP TABLE IF EXISTS secrets;
DROP TABLE IF EXISTS blocks;
DROP TABLE IF EXISTS epochs;
DROP TABLE IF EXISTS stream_holder;
DROP TABLE IF EXISTS prompts;
DROP TABLE IF EXISTS chores;
DROP TABLE IF EXISTS previews;
DROP TABLE IF EXISTS avatars;
DROP TABLE IF EXISTS medias;
DROP TABLE IF EXISTS schema_version;
DROP FUNCTION IF EXISTS usage_of_inserted();
DROP FUNCTION IF EXISTS usage_of_deleted();
DROP FUNCTION IF EXISTS usage_of_updated();
DROP FUNCTION IF EXISTS usage_of_nothing();
DROP FUNCTION IF EXISTS usage_of_uploads_inserted();
DROP FUNCTION IF EXISTS usage_of_uploads_deleted();
DROP FUNCTION IF EXISTS usage_of_uploads_updated();
DROP FUNCTION IF EXISTS usage_of_no_uploads();
DROP FUNCTION IF EXISTS upload_sums(TEXT, TEXT, TIMESTAMP);

COMMIT;
