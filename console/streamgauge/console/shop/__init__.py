"""Shop: the demo's web shop, one process per region. Its services are real; its customers are generated from a seed."""
