"""Engines run trials: `local` in parallel on this machine, `on_ray` on a Ray cluster."""
