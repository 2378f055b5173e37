ALTER TABLE ${database}.ledger
    DROP COLUMN IF EXISTS day_magnitudes,
    DROP COLUMN IF EXISTS day_sums,
    DROP COLUMN IF EXISTS sequence_repeats,
    DROP COLUMN IF EXISTS sequence_gaps;
