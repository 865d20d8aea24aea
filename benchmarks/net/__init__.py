"""What signing, agreement and transport cost: `python -m benchmarks.net`."""
