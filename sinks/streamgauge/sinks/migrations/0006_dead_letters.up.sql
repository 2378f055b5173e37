-- Dead letters that can be looked at and replayed: what recognises the raw message, which rows of it, and what may be shown.

ALTER TABLE ${database}.dead
    ADD COLUMN IF NOT EXISTS contract UInt64 COMMENT 'version of the contract of the event',
    ADD COLUMN IF NOT EXISTS service LowCardinality(String) COMMENT 'who sent it',
    ADD COLUMN IF NOT EXISTS size UInt64 COMMENT 'bytes of the raw message',
    ADD COLUMN IF NOT EXISTS hash String COMMENT 'keyed hash of the raw message; empty in letters of releases that wrote none',
    ADD COLUMN IF NOT EXISTS which String COMMENT 'refused rows of the batch, packed; empty: the whole message',
    ADD COLUMN IF NOT EXISTS sample String COMMENT 'a few refused rows as JSON: declared fields, cleaned',
    ADD COLUMN IF NOT EXISTS again UInt64 COMMENT 'offset of the replayed copy that was refused; 0: not a replay',
    MODIFY ORDER BY (region, topic, incarnation, partition, offset, reason, again);
