"""Read: what Prometheus knows of each feature, as counts over disjoint windows."""
