"""Every method of both papers, measured side by side; `python benchmarks/evidence`."""
