"""The step between gathering and learning: verdicts, and their effect on advantages."""
