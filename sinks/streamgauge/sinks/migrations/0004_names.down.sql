DROP TABLE IF EXISTS ${database}.versions;
DROP TABLE IF EXISTS ${database}.metrics;
DROP TABLE IF EXISTS ${database}.series;
