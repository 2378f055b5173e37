-- Distinct counts: keyed hashes come in, sketches stay. Each tier builds its own from the hashes of the block.

CREATE TABLE IF NOT EXISTS ${database}.distinct_landing
(
    materialization_version UInt16,
    metric LowCardinality(String),
    series_id UInt64,
    entry UInt8 COMMENT 'finest tier: 0 = 10s, 1 = 1m, 2 = 1h, 3 = 1d',
    window DateTime('UTC') COMMENT 'start of the window of the entry tier',
    hash UInt64 COMMENT 'keyed hash of the value; person-level, never stored',
    topic LowCardinality(String),
    partition UInt16,
    block_from UInt64,
    block_to UInt64,
    region LowCardinality(String)
)
ENGINE = Null
COMMENT 'Blocks of hashes enter here, with insert_deduplication_token; nothing stays';

CREATE TABLE IF NOT EXISTS ${database}.distinct_10s
(
    materialization_version UInt16,
    metric LowCardinality(String),
    series_id UInt64,
    window DateTime('UTC') CODEC(DoubleDelta, LZ4),
    state AggregateFunction(uniqCombined64, UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY (materialization_version, toYYYYMMDD(window))
ORDER BY (materialization_version, metric, series_id, window)
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'Sketches of distinct values of 10 seconds; read the views, which merge them';

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.distinct_10s_feed TO ${database}.distinct_10s AS
SELECT
    materialization_version,
    metric,
    series_id,
    tier_window AS window,
    uniqCombined64State(hash) AS state
FROM
(
    SELECT materialization_version, metric, series_id, window AS tier_window, hash
    FROM ${database}.distinct_landing
    WHERE entry <= 0
)
GROUP BY materialization_version, metric, series_id, tier_window;

CREATE TABLE IF NOT EXISTS ${database}.distinct_1m
(
    materialization_version UInt16,
    metric LowCardinality(String),
    series_id UInt64,
    window DateTime('UTC') CODEC(DoubleDelta, LZ4),
    state AggregateFunction(uniqCombined64, UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY (materialization_version, toYYYYMMDD(window))
ORDER BY (materialization_version, metric, series_id, window)
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'Sketches of distinct values of 1 minute; read the views, which merge them';

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.distinct_1m_feed TO ${database}.distinct_1m AS
SELECT
    materialization_version,
    metric,
    series_id,
    tier_window AS window,
    uniqCombined64State(hash) AS state
FROM
(
    SELECT materialization_version, metric, series_id, toStartOfMinute(window) AS tier_window, hash
    FROM ${database}.distinct_landing
    WHERE entry <= 1
)
GROUP BY materialization_version, metric, series_id, tier_window;

CREATE TABLE IF NOT EXISTS ${database}.distinct_1h
(
    materialization_version UInt16,
    metric LowCardinality(String),
    series_id UInt64,
    window DateTime('UTC') CODEC(DoubleDelta, LZ4),
    state AggregateFunction(uniqCombined64, UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY (materialization_version, toYYYYMM(window))
ORDER BY (materialization_version, metric, series_id, window)
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'Sketches of distinct values of 1 hour; read the views, which merge them';

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.distinct_1h_feed TO ${database}.distinct_1h AS
SELECT
    materialization_version,
    metric,
    series_id,
    tier_window AS window,
    uniqCombined64State(hash) AS state
FROM
(
    SELECT materialization_version, metric, series_id, toStartOfHour(window) AS tier_window, hash
    FROM ${database}.distinct_landing
    WHERE entry <= 2
)
GROUP BY materialization_version, metric, series_id, tier_window;

CREATE TABLE IF NOT EXISTS ${database}.distinct_1d
(
    materialization_version UInt16,
    metric LowCardinality(String),
    series_id UInt64,
    window DateTime('UTC') CODEC(DoubleDelta, LZ4),
    state AggregateFunction(uniqCombined64, UInt64)
)
ENGINE = AggregatingMergeTree
PARTITION BY (materialization_version, toYYYYMM(window))
ORDER BY (materialization_version, metric, series_id, window)
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'Sketches of distinct values of 1 UTC day; read the views, which merge them';

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.distinct_1d_feed TO ${database}.distinct_1d AS
SELECT
    materialization_version,
    metric,
    series_id,
    tier_window AS window,
    uniqCombined64State(hash) AS state
FROM
(
    SELECT materialization_version, metric, series_id, toStartOfInterval(window, INTERVAL 1 DAY, 'UTC') AS tier_window, hash
    FROM ${database}.distinct_landing
    WHERE entry <= 3
)
GROUP BY materialization_version, metric, series_id, tier_window;
