-- Erasures: a receipt of every request of a person, and whom a request is about for as long as it runs.

CREATE TABLE IF NOT EXISTS ${database}.erasures
(
    id String COMMENT 'of the receipt',
    kind LowCardinality(String) COMMENT 'forget or export',
    state LowCardinality(String) COMMENT 'begun or done; what is begun is to be run again',
    revision UInt8 COMMENT '1 begun, 2 done',
    begun_at DateTime64(3, 'UTC'),
    at DateTime64(3, 'UTC') COMMENT 'of this state',
    region LowCardinality(String),
    field LowCardinality(String) COMMENT 'unique field that was searched',
    events Array(LowCardinality(String)) COMMENT 'events that were searched',
    tenants Array(String) COMMENT 'tenants that were searched',
    subjects UInt32 COMMENT 'how many values were given; never which',
    keys Array(LowCardinality(String)) COMMENT 'ids of the keys of pseudonyms that were asked',
    destroyed Array(LowCardinality(String)) COMMENT 'ids of destroyed keys: nobody is found under them',
    found Map(LowCardinality(String), UInt64) COMMENT 'rows by event when it began',
    deleted Map(LowCardinality(String), UInt64) COMMENT 'rows by event',
    left UInt64 COMMENT 'rows that were found when it was done; 0 after forget',
    old_parts UInt32 COMMENT 'parts from before, which the store removes from its disk by itself',
    detached_parts UInt32 COMMENT 'parts that somebody put aside: nothing is deleted there'
)
ENGINE = ReplacingMergeTree(revision)
ORDER BY (begun_at, id)
COMMENT 'Receipts of forget and export-subject; nothing of a person; read with FINAL';

CREATE TABLE IF NOT EXISTS ${database}.erasure_tokens
(
    receipt String,
    token String COMMENT 'pseudonym that is searched; person-level',
    at DateTime64(3, 'UTC')
)
ENGINE = Memory
COMMENT 'What a running request searches, so that no statement and no log holds it; in memory only, emptied afterwards';
