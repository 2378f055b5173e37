-- Single events after scrubbing: one Null table takes every block, `events` keeps rows for a while, `blocks` knows the block.

CREATE TABLE IF NOT EXISTS ${database}.events_landing
(
    materialization_version UInt16,
    event LowCardinality(String),
    contract UInt32 COMMENT 'version of the contract',
    policy LowCardinality(String) COMMENT 'version of the privacy policy that cleaned the row',
    at DateTime64(3, 'UTC'),
    labels Map(LowCardinality(String), String) COMMENT 'context and dimensions, as in series',
    measures Map(LowCardinality(String), Float64),
    pseudonyms Map(LowCardinality(String), String) COMMENT 'tokens of unique fields; person-level',
    texts Map(LowCardinality(String), String) COMMENT 'free text after the detectors',
    topic LowCardinality(String),
    partition UInt16,
    block_from UInt64,
    block_to UInt64,
    region LowCardinality(String),
    incarnation LowCardinality(String) COMMENT 'life of the topic: after it, offsets start anew'
)
ENGINE = Null
COMMENT 'Blocks of single events enter here, with insert_deduplication_token; nothing stays';

CREATE TABLE IF NOT EXISTS ${database}.events
(
    materialization_version UInt16,
    event LowCardinality(String),
    contract UInt32 COMMENT 'version of the contract',
    policy LowCardinality(String) COMMENT 'version of the privacy policy that cleaned the row',
    at DateTime64(3, 'UTC') CODEC(DoubleDelta, LZ4),
    labels Map(LowCardinality(String), String) COMMENT 'context and dimensions, as in series' CODEC(ZSTD(1)),
    measures Map(LowCardinality(String), Float64) CODEC(ZSTD(1)),
    pseudonyms Map(LowCardinality(String), String) COMMENT 'tokens of unique fields; person-level' CODEC(ZSTD(1)),
    texts Map(LowCardinality(String), String) COMMENT 'free text after the detectors' CODEC(ZSTD(1)),
    INDEX by_pseudonym mapValues(pseudonyms) TYPE bloom_filter(0.001) GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY (materialization_version, toYYYYMMDD(at))
ORDER BY (materialization_version, event, at)
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'Single events of contracts that say store_events, after scrubbing; read the views <event>_events';

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.events_feed TO ${database}.events AS
SELECT
    materialization_version,
    event,
    contract,
    policy,
    at,
    labels,
    measures,
    pseudonyms,
    texts
FROM ${database}.events_landing;

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.events_blocks_feed TO ${database}.blocks AS
SELECT
    region,
    topic,
    incarnation,
    partition,
    block_from,
    block_to,
    count() AS rows,
    count() AS points,
    toUInt32(uniqExact(toDate(at))) AS parts,
    now64(3, 'UTC') AS inserted_at
FROM ${database}.events_landing
GROUP BY region, topic, incarnation, partition, block_from, block_to;

ALTER TABLE ${database}.ledger ADD COLUMN IF NOT EXISTS events UInt64 COMMENT 'rows that were sent on as single events';
