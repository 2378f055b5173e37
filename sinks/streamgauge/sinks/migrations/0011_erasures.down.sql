DROP TABLE IF EXISTS ${database}.erasure_tokens;
DROP TABLE IF EXISTS ${database}.erasures;
