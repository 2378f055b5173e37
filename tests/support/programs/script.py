"""A short script: it has ended before anything was due."""

from streamgauge.producers import Counter

Counter("calls", "", ["who"]).labels("main").inc(3)
