"""Rig description and shot plan, cameras, trigger box, their simulators, takes, image checks, RAW to linear light."""
