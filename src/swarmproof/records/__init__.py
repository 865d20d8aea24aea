"""The files that a run writes to disk, and the functions that read them."""
