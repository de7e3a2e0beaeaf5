"""Making datasets: `edm2lite data convert`, `encode` and `check`."""
