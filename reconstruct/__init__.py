"""Calibration, stereo, photometric stereo, displacement; face models and the proxy of a picture; the virtual studio."""
