DROP TABLE IF EXISTS ${database}.dead;
DROP TABLE IF EXISTS ${database}.ledger;
DROP VIEW IF EXISTS ${database}.distinct_blocks_feed;
DROP VIEW IF EXISTS ${database}.rollups_blocks_feed;
DROP TABLE IF EXISTS ${database}.blocks;
