"""Rig description, shot plan, RAW files; later: cameras, trigger box, sessions and takes."""
