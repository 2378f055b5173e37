ALTER TABLE ${database}.dead MODIFY ORDER BY (region, topic, incarnation, partition, offset, reason);
ALTER TABLE ${database}.dead
    DROP COLUMN IF EXISTS again,
    DROP COLUMN IF EXISTS sample,
    DROP COLUMN IF EXISTS which,
    DROP COLUMN IF EXISTS hash,
    DROP COLUMN IF EXISTS size,
    DROP COLUMN IF EXISTS service,
    DROP COLUMN IF EXISTS contract;
