DROP TABLE IF EXISTS ${database}.releases;
