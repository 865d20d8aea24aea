"""The board: attack x guard x setting, sorted by the worst case, and entries that others send."""
