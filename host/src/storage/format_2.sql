-- What format 2 adds to format 1. Each statement is executed once, in the transaction of the upgrade.
ALTER TABLE quern_component ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0;
UPDATE quern_component SET deleted = 1 WHERE name NOT IN (SELECT name FROM quern_component WHERE active);
CREATE TABLE quern_proc(component TEXT NOT NULL, proc TEXT NOT NULL, max_concurrency INTEGER, limits TEXT NOT NULL DEFAULT '{}', PRIMARY KEY(component, proc)) WITHOUT ROWID;
CREATE TABLE quern_checkpoint(checkpoint_id INTEGER PRIMARY KEY AUTOINCREMENT, run_id INTEGER NOT NULL, shard INTEGER NOT NULL, name TEXT NOT NULL, file TEXT NOT NULL, sha256 TEXT NOT NULL, size_bytes INTEGER NOT NULL, created_us INTEGER NOT NULL);
CREATE INDEX quern_checkpoint_by_run ON quern_checkpoint(run_id, shard, name);
CREATE TABLE quern_startup(startup_id INTEGER PRIMARY KEY AUTOINCREMENT, proc TEXT NOT NULL, request TEXT NOT NULL, user TEXT NOT NULL, created_us INTEGER NOT NULL, last_run INTEGER, last_error TEXT);
CREATE TABLE quern_user(name TEXT PRIMARY KEY, is_role INTEGER NOT NULL, created_us INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE quern_grant(grantee TEXT NOT NULL, privilege TEXT NOT NULL, kind TEXT NOT NULL, object TEXT NOT NULL, grantable INTEGER NOT NULL, grantor TEXT NOT NULL, PRIMARY KEY(grantee, privilege, kind, object)) WITHOUT ROWID;
ALTER TABLE quern_run ADD COLUMN committing_us INTEGER;
ALTER TABLE quern_run ADD COLUMN component_owner TEXT NOT NULL DEFAULT 'owner';
ALTER TABLE quern_model ADD COLUMN table_id INTEGER;
UPDATE quern_model SET table_id = coalesce((SELECT table_id FROM ducklake_table t WHERE t.table_name = quern_model.table_name AND t.end_snapshot IS NULL), -1);
