-- Ledger: sums of values, so that an edited row is seen; and what was recognised by the numbers of batches.

ALTER TABLE ${database}.ledger
    ADD COLUMN IF NOT EXISTS sequence_gaps UInt64 COMMENT 'batches that never came, reported with this transaction',
    ADD COLUMN IF NOT EXISTS sequence_repeats UInt64 COMMENT 'batches that had come before and added nothing',
    ADD COLUMN IF NOT EXISTS day_sums Array(Float64) COMMENT 'sum of all values, parallel to days',
    ADD COLUMN IF NOT EXISTS day_magnitudes Array(Float64) COMMENT 'sum of the magnitudes of what was added; infinite: not known';
