-- Inbox: keys that workers told of, with what became of them and how a value looks. Filled by the ledger's own inserts; a
-- repeated entry changes nothing, which is why nothing is counted here.

ALTER TABLE ${database}.ledger
    ADD COLUMN IF NOT EXISTS noticed Array(Tuple(family String, key String, rule String, shape String)) COMMENT 'keys that its worker had not told of on this day',
    ADD COLUMN IF NOT EXISTS unnoticed UInt64 COMMENT 'keys for which there was no room; they are told of when they come again';

CREATE TABLE IF NOT EXISTS ${database}.key_inbox
(
    region LowCardinality(String),
    family LowCardinality(String) COMMENT 'metric or event',
    key String COMMENT 'label or field; its shape where it does not look like a name',
    rule LowCardinality(String) COMMENT 'what became of it; empty: its values just pass',
    first_seen SimpleAggregateFunction(min, DateTime64(3, 'UTC')),
    last_seen SimpleAggregateFunction(max, DateTime64(3, 'UTC')) COMMENT 'told of once a day by every worker',
    shapes SimpleAggregateFunction(groupUniqArrayArray(5), Array(String)) COMMENT 'how values look, without what they say'
)
ENGINE = AggregatingMergeTree
ORDER BY (region, family, key, rule)
COMMENT 'Keys by what became of them; group by region, family, key and rule';

CREATE MATERIALIZED VIEW IF NOT EXISTS ${database}.key_inbox_feed TO ${database}.key_inbox AS
SELECT
    region,
    note.1 AS family,
    note.2 AS key,
    note.3 AS rule,
    min(committed_at) AS first_seen,
    max(committed_at) AS last_seen,
    groupUniqArrayIf(5)(note.4, note.4 != '') AS shapes
FROM ${database}.ledger
ARRAY JOIN noticed AS note
GROUP BY region, family, key, rule;
