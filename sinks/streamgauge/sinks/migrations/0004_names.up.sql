-- Names: labels of series, declared metrics, and which materialization version of a metric is current.

CREATE TABLE IF NOT EXISTS ${database}.series
(
    family LowCardinality(String) COMMENT 'event or metric that the series belongs to',
    series_id UInt64,
    labels Map(String, String) CODEC(ZSTD(1)) COMMENT 'declared and canonical labels',
    inserted_at DateTime('UTC') DEFAULT now(),
    service LowCardinality(String) MATERIALIZED labels['service'],
    environment LowCardinality(String) MATERIALIZED labels['environment'],
    version LowCardinality(String) MATERIALIZED labels['version'],
    instance LowCardinality(String) MATERIALIZED labels['instance'],
    region LowCardinality(String) MATERIALIZED labels['region'],
    country LowCardinality(String) MATERIALIZED labels['country'],
    tenant LowCardinality(String) MATERIALIZED labels['tenant'],
    segment LowCardinality(String) MATERIALIZED labels['segment'],
    operation LowCardinality(String) MATERIALIZED labels['operation'],
    status LowCardinality(String) MATERIALIZED labels['status'],
    error_type LowCardinality(String) MATERIALIZED labels['error_type']
)
ENGINE = ReplacingMergeTree(inserted_at)
ORDER BY (family, series_id)
COMMENT 'Labels of each series; may hold one twice, so join it with ANY';

CREATE TABLE IF NOT EXISTS ${database}.metrics
(
    metric String,
    family String,
    type LowCardinality(String) COMMENT 'counter, gauge or histogram',
    unit LowCardinality(String),
    labels Array(String),
    entry UInt8 COMMENT 'finest tier: 0 = 10s, 1 = 1m, 2 = 1h, 3 = 1d',
    kind LowCardinality(String) COMMENT 'metric, event or distinct',
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(inserted_at)
ORDER BY metric
COMMENT 'What is declared; read with FINAL';

CREATE TABLE IF NOT EXISTS ${database}.versions
(
    metric String COMMENT 'empty: every metric',
    from_window DateTime('UTC') COMMENT 'start of a UTC day',
    to_window DateTime('UTC') COMMENT 'start of the UTC day after the last',
    version UInt16,
    inserted_at DateTime64(3, 'UTC') DEFAULT now64(3)
)
ENGINE = ReplacingMergeTree(inserted_at)
ORDER BY (metric, from_window, to_window, version)
COMMENT 'Where another materialization version than 1 is current; the highest wins; views are made from it';
