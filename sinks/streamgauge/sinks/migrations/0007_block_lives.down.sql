ALTER TABLE ${database}.distinct_blocks_feed MODIFY QUERY SELECT
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

ALTER TABLE ${database}.rollups_blocks_feed MODIFY QUERY SELECT
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

ALTER TABLE ${database}.blocks DROP COLUMN IF EXISTS parts, DROP COLUMN IF EXISTS incarnation;

ALTER TABLE ${database}.distinct_landing DROP COLUMN IF EXISTS incarnation;

ALTER TABLE ${database}.rollups_landing DROP COLUMN IF EXISTS incarnation;
