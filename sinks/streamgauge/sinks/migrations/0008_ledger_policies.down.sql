ALTER TABLE ${database}.ledger DROP COLUMN IF EXISTS policies;
