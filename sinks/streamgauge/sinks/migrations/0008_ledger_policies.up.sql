-- Ledger: by which versions of privacy policies the points of a transaction were cleaned.

ALTER TABLE ${database}.ledger ADD COLUMN IF NOT EXISTS policies Array(LowCardinality(String)) COMMENT 'versions of the privacy policies that applied';
