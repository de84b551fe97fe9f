-- What format 2 adds to format 1. Each statement is executed once, in the transaction of the upgrade.
ALTER TABLE quern_component ADD COLUMN deleted INTEGER NOT NULL DEFAULT 0;
UPDATE quern_component SET deleted = 1 WHERE name NOT IN (SELECT name FROM quern_component WHERE active);
CREATE TABLE quern_proc(component TEXT NOT NULL, proc TEXT NOT NULL, max_concurrency INTEGER, limits TEXT NOT NULL DEFAULT '{}', PRIMARY KEY(component, proc)) WITHOUT ROWID;
