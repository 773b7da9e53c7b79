"""Landmark network, Emotion-Net, expression dictionary, DFDN: networks, training, inference, detailed mesh."""
