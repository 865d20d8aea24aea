"""What is measured without a run: thresholds, a judge, what poison is worth."""
