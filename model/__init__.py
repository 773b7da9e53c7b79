"""Emotion-Net, expression dictionary, DFDN. Empty until the model issues land."""
