"""The paper's figures and its table, each a TOML of a scale: which trials, and what must hold."""
