"""Kafka in, Kafka out: admit, scrub, roll up, commit."""
