-- Rollups: one Null table takes every block, and each tier draws from it what it holds.
-- A row enters at its entry tier and counts in that tier and in every coarser one. All four views read the landing
-- table itself, so a block leaves one part per partition in each tier, and each tier recognises a repeat on its own.

CREATE TABLE IF NOT EXISTS ${database}.rollups_landing
(
    materialization_version UInt16,
    metric LowCardinality(String),
    series_id UInt64,
    entry UInt8 COMMENT 'finest tier: 0 = 10s, 1 = 1m, 2 = 1h, 3 = 1d',
    window DateTime('UTC') COMMENT 'start of the window of the entry tier',
    count UInt64,
    sum Float64,
    min Float64,
    max Float64,
    last_ms Int64 COMMENT 'instant of last, ms since the epoch; 0 without',
    last Float64,
    hist Array(UInt64) COMMENT '(bucket key + 32768) << 48 | count',
    topic LowCardinality(String),
    partition UInt16,
    block_from UInt64,
    block_to UInt64,
    region LowCardinality(String)
)
ENGINE = Null
COMMENT 'Blocks of partial rollups enter here, with insert_deduplication_token; nothing stays';

CREATE TABLE IF NOT EXISTS ${database}.rollups_10s
(
    materialization_version UInt16,
    metric LowCardinality(String),
    series_id UInt64,
    window DateTime('UTC') CODEC(DoubleDelta, LZ4),
    count SimpleAggregateFunction(sum, UInt64) CODEC(T64, LZ4),
    sum SimpleAggregateFunction(sum, Float64),
    min SimpleAggregateFunction(min, Float64),
    max SimpleAggregateFunction(max, Float64),
    last SimpleAggregateFunction(max, Tuple(ms Int64, value Float64)),
    hist SimpleAggregateFunction(sumMap, Map(Int16, UInt64)) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY (materialization_version, toYYYYMMDD(window))
ORDER BY (materialization_version, metric, series_id, window)
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'Partial rollups of 10 seconds; read the views, which add them up';

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.rollups_10s_feed TO ${database}.rollups_10s AS
SELECT
    materialization_version,
    metric,
    series_id,
    window AS window,
    count,
    sum,
    min,
    max,
    (last_ms, last) AS last,
    CAST(arrayMap(cell -> (toInt16(toInt32(bitShiftRight(cell, 48)) - 32768), bitAnd(cell, 281474976710655)), hist), 'Map(Int16, UInt64)') AS hist
FROM ${database}.rollups_landing
WHERE entry <= 0;

CREATE TABLE IF NOT EXISTS ${database}.rollups_1m
(
    materialization_version UInt16,
    metric LowCardinality(String),
    series_id UInt64,
    window DateTime('UTC') CODEC(DoubleDelta, LZ4),
    count SimpleAggregateFunction(sum, UInt64) CODEC(T64, LZ4),
    sum SimpleAggregateFunction(sum, Float64),
    min SimpleAggregateFunction(min, Float64),
    max SimpleAggregateFunction(max, Float64),
    last SimpleAggregateFunction(max, Tuple(ms Int64, value Float64)),
    hist SimpleAggregateFunction(sumMap, Map(Int16, UInt64)) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY (materialization_version, toYYYYMMDD(window))
ORDER BY (materialization_version, metric, series_id, window)
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'Partial rollups of 1 minute; read the views, which add them up';

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.rollups_1m_feed TO ${database}.rollups_1m AS
SELECT
    materialization_version,
    metric,
    series_id,
    toStartOfMinute(window) AS window,
    count,
    sum,
    min,
    max,
    (last_ms, last) AS last,
    CAST(arrayMap(cell -> (toInt16(toInt32(bitShiftRight(cell, 48)) - 32768), bitAnd(cell, 281474976710655)), hist), 'Map(Int16, UInt64)') AS hist
FROM ${database}.rollups_landing
WHERE entry <= 1;

CREATE TABLE IF NOT EXISTS ${database}.rollups_1h
(
    materialization_version UInt16,
    metric LowCardinality(String),
    series_id UInt64,
    window DateTime('UTC') CODEC(DoubleDelta, LZ4),
    count SimpleAggregateFunction(sum, UInt64) CODEC(T64, LZ4),
    sum SimpleAggregateFunction(sum, Float64),
    min SimpleAggregateFunction(min, Float64),
    max SimpleAggregateFunction(max, Float64),
    last SimpleAggregateFunction(max, Tuple(ms Int64, value Float64)),
    hist SimpleAggregateFunction(sumMap, Map(Int16, UInt64)) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY (materialization_version, toYYYYMM(window))
ORDER BY (materialization_version, metric, series_id, window)
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'Partial rollups of 1 hour; read the views, which add them up';

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.rollups_1h_feed TO ${database}.rollups_1h AS
SELECT
    materialization_version,
    metric,
    series_id,
    toStartOfHour(window) AS window,
    count,
    sum,
    min,
    max,
    (last_ms, last) AS last,
    CAST(arrayMap(cell -> (toInt16(toInt32(bitShiftRight(cell, 48)) - 32768), bitAnd(cell, 281474976710655)), hist), 'Map(Int16, UInt64)') AS hist
FROM ${database}.rollups_landing
WHERE entry <= 2;

CREATE TABLE IF NOT EXISTS ${database}.rollups_1d
(
    materialization_version UInt16,
    metric LowCardinality(String),
    series_id UInt64,
    window DateTime('UTC') CODEC(DoubleDelta, LZ4),
    count SimpleAggregateFunction(sum, UInt64) CODEC(T64, LZ4),
    sum SimpleAggregateFunction(sum, Float64),
    min SimpleAggregateFunction(min, Float64),
    max SimpleAggregateFunction(max, Float64),
    last SimpleAggregateFunction(max, Tuple(ms Int64, value Float64)),
    hist SimpleAggregateFunction(sumMap, Map(Int16, UInt64)) CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
PARTITION BY (materialization_version, toYYYYMM(window))
ORDER BY (materialization_version, metric, series_id, window)
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1, materialize_ttl_recalculate_only = 1
COMMENT 'Partial rollups of 1 UTC day; read the views, which add them up';

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.rollups_1d_feed TO ${database}.rollups_1d AS
SELECT
    materialization_version,
    metric,
    series_id,
    toStartOfInterval(window, INTERVAL 1 DAY, 'UTC') AS window,
    count,
    sum,
    min,
    max,
    (last_ms, last) AS last,
    CAST(arrayMap(cell -> (toInt16(toInt32(bitShiftRight(cell, 48)) - 32768), bitAnd(cell, 281474976710655)), hist), 'Map(Int16, UInt64)') AS hist
FROM ${database}.rollups_landing
WHERE entry <= 3;
