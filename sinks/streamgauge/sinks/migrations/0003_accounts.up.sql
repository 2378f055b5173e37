-- Accounts: which blocks are really in, what every transaction added, what was refused.

CREATE TABLE IF NOT EXISTS ${database}.blocks
(
    region LowCardinality(String),
    topic LowCardinality(String),
    partition UInt16,
    block_from UInt64 COMMENT 'first offset',
    block_to UInt64 COMMENT 'one after the last offset',
    rows UInt64,
    points UInt64,
    inserted_at DateTime64(3, 'UTC')
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(inserted_at)
ORDER BY (region, topic, partition, block_from)
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'One row per block that is in the store, written by the insert of the block itself';

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.rollups_blocks_feed TO ${database}.blocks AS
SELECT
    region,
    topic,
    partition,
    block_from,
    block_to,
    count() AS rows,
    sum(points_of_row) AS points,
    now64(3, 'UTC') AS inserted_at
FROM (SELECT region, topic, partition, block_from, block_to, count AS points_of_row FROM ${database}.rollups_landing)
GROUP BY region, topic, partition, block_from, block_to;

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.distinct_blocks_feed TO ${database}.blocks AS
SELECT
    region,
    topic,
    partition,
    block_from,
    block_to,
    count() AS rows,
    count() AS points,
    now64(3, 'UTC') AS inserted_at
FROM ${database}.distinct_landing
GROUP BY region, topic, partition, block_from, block_to;

CREATE TABLE IF NOT EXISTS ${database}.ledger
(
    region LowCardinality(String),
    topic LowCardinality(String),
    incarnation LowCardinality(String) COMMENT 'life of the topics: after it, offsets start anew',
    partition UInt16,
    offset_from UInt64,
    offset_to UInt64 COMMENT 'one after the last offset',
    messages UInt64,
    batches UInt64,
    points UInt64,
    refused_points UInt64,
    tiers Array(UInt8) COMMENT 'entry tiers, parallel to days and day_points',
    days Array(Date) COMMENT 'UTC days of the windows',
    day_points Array(UInt64),
    refused Map(String, UInt64) COMMENT 'points by reason',
    scrubbed Map(String, UInt64) COMMENT 'values by rule',
    skipped Map(String, UInt64) COMMENT 'late, repeated or missing batches and points by kind',
    min_window DateTime('UTC'),
    max_window DateTime('UTC'),
    committed_at DateTime64(3, 'UTC') COMMENT 'of the transaction, so that a repeated row falls into the same partition'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(committed_at)
ORDER BY (region, topic, incarnation, partition, offset_from)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'What every transaction of a processor added; read with FINAL';

CREATE TABLE IF NOT EXISTS ${database}.dead
(
    region LowCardinality(String),
    topic LowCardinality(String),
    incarnation LowCardinality(String) COMMENT 'life of the topics: after it, offsets start anew',
    partition UInt16,
    offset UInt64,
    reason LowCardinality(String),
    rows UInt64,
    event LowCardinality(String),
    detail String COMMENT 'never holds a raw value',
    at DateTime64(3, 'UTC')
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (region, topic, incarnation, partition, offset, reason)
SETTINGS ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'Refused batches and rows by reason; read with FINAL';
