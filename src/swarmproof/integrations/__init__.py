"""The guard inside other people's trainers: one small file for each, imported by name."""
