-- Releases: what of a window may be shown where small groups are hidden, decided once.

CREATE TABLE IF NOT EXISTS ${database}.releases
(
    event LowCardinality(String),
    tier LowCardinality(String),
    window DateTime('UTC'),
    k UInt16 COMMENT 'what is shown is about so many contributors or more',
    contributors LowCardinality(String) COMMENT 'unique field that tells them apart',
    withheld UInt8 COMMENT '1: all cells together have fewer; nothing of the window is shown',
    shown Array(UInt64) COMMENT 'series that are shown, for ever; all others are in the remainder, those that come later too',
    hidden UInt64 COMMENT 'series that were in the remainder when it was decided',
    decided_at DateTime64(6, 'UTC')
)
ENGINE = MergeTree
ORDER BY (event, tier, window, decided_at)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'One row per window; the first one counts, and rows are never changed';
