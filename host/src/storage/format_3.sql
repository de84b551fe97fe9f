-- What format 3 adds to format 2: where columns stay, what a run resumed, what was lost of its record.
CREATE TABLE quern_residency(table_id INTEGER PRIMARY KEY, residency TEXT NOT NULL);
ALTER TABLE quern_run ADD COLUMN resume INTEGER;
ALTER TABLE quern_run ADD COLUMN warning TEXT;
