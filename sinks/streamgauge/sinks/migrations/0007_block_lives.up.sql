-- Blocks say in which life of their topic they were cut, and how many parts they left: so it can be known whether a block
-- is in, and whether the tables still know its token.

ALTER TABLE ${database}.rollups_landing ADD COLUMN IF NOT EXISTS incarnation LowCardinality(String) COMMENT 'life of the topic: after it, offsets start anew';

ALTER TABLE ${database}.distinct_landing ADD COLUMN IF NOT EXISTS incarnation LowCardinality(String) COMMENT 'life of the topic: after it, offsets start anew';

ALTER TABLE ${database}.blocks
    ADD COLUMN IF NOT EXISTS incarnation LowCardinality(String) COMMENT 'life of the topic: after it, offsets start anew; empty in blocks of format 1',
    ADD COLUMN IF NOT EXISTS parts UInt32 COMMENT 'partitions of a tier that it touched, where these are most; 0: not counted';

ALTER TABLE ${database}.rollups_blocks_feed MODIFY QUERY SELECT
    region,
    topic,
    incarnation,
    partition,
    block_from,
    block_to,
    count() AS rows,
    sum(points_of_row) AS points,
    toUInt32(greatest(uniqExactIf(toDate(window), entry <= 1), uniqExact(toYYYYMM(window)))) AS parts,
    now64(3, 'UTC') AS inserted_at
FROM (SELECT region, topic, incarnation, partition, block_from, block_to, window, entry, count AS points_of_row FROM ${database}.rollups_landing)
GROUP BY region, topic, incarnation, partition, block_from, block_to;

ALTER TABLE ${database}.distinct_blocks_feed MODIFY QUERY SELECT
    region,
    topic,
    incarnation,
    partition,
    block_from,
    block_to,
    count() AS rows,
    count() AS points,
    toUInt32(greatest(uniqExactIf(toDate(window), entry <= 1), uniqExact(toYYYYMM(window)))) AS parts,
    now64(3, 'UTC') AS inserted_at
FROM ${database}.distinct_landing
GROUP BY region, topic, incarnation, partition, block_from, block_to;
