"""Faces, the virtual studio; later: calibration, multi-view and photometric stereo, displacement, proxy."""
