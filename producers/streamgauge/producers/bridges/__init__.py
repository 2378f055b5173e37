"""Bridges: other libraries' telemetry through a producer. Each module needs its library, and loads nothing else."""
