"""Kafka in, ClickHouse out: intent, insert with a token, commit; migrations and views."""
