"""Where trials run: `local`, side by side on this machine."""
