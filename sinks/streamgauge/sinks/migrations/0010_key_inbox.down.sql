DROP VIEW IF EXISTS ${database}.key_inbox_feed;
DROP TABLE IF EXISTS ${database}.key_inbox;
ALTER TABLE ${database}.ledger DROP COLUMN IF EXISTS unnoticed, DROP COLUMN IF EXISTS noticed;
