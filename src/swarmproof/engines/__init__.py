"""Where trials run: `local`, side by side on this machine; `on_ray`, on a Ray cluster."""
