"""Readers of other people's rollout files: one small file for each format.

Files are hostile or broken until shown otherwise. Nothing in them is executed, what is read at once
is bounded, and every problem is a ValueError of one line that names file, line and remedy.
"""
