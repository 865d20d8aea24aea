"""Side by side with peers, in one run, as medians of ratios: `make bench`."""
