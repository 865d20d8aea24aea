"""The figures and the table of the paper. A TOML for each scale names trials and criteria."""
