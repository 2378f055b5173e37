ALTER TABLE ${database}.ledger DROP COLUMN IF EXISTS events;
DROP VIEW IF EXISTS ${database}.events_blocks_feed;
DROP VIEW IF EXISTS ${database}.events_feed;
DROP TABLE IF EXISTS ${database}.events;
DROP TABLE IF EXISTS ${database}.events_landing;
