"""The network that comes with mesoface: what it is, and that it sees wrinkles of a person it has never met."""

import numpy as np
import pytest

from mesoface.dataset.virtual_faces import VirtualFaceOptions, virtual_pictures
from mesoface.model.dfdn_checkpoint import SHIPPED
from mesoface.model.dfdn_model import load_dfdn
from mesoface.model.synthesis import synthesize
from mesoface.reconstruct.detail_truth import band
from mesoface.reconstruct.face_load import load_face_model
from mesoface.reconstruct.uv_charts import uv_charts

STRANGER = 7001
"""Trained on people of 1001-1044."""


def test_it_is_small_enough_to_ship_and_says_what_it_knows():
    assert SHIPPED.stat().st_size < 40e6
    about = load_dfdn().about
    assert about.face_model == "procedural" and about.map_size == 1024 and about.patch_px == 256
    assert "virtual" in about.trained_on and about.steps > 1000


@pytest.mark.slow
def test_it_finds_the_wrinkles_of_a_stranger():
    network = load_dfdn()
    model, size = load_face_model("procedural"), network.about.map_size
    charts = uv_charts(model, size)
    options = VirtualFaceOptions(size=size, lights=1, pixel_mm=(0.3, 0.31))
    (picture,) = virtual_pictures(model, charts, STRANGER, "brow_raise", options)
    found = synthesize(network, picture.wild.texture_srgb / 255.0, picture.wild.valid, picture.wild.region)
    maps = picture.maps
    judged = maps.valid & found.valid
    ours, true = (
        band(field, judged, 1.0, 8.0, maps.texel_mm)[judged].astype(np.float64)
        for field in (found.displacement_mm, maps.displacement_mm)
    )
    zero = float(np.sqrt(np.mean(true**2)))
    error = float(np.sqrt(np.mean((ours - true) ** 2)))
    assert zero > 0.02
    assert error < 0.9 * zero
    assert np.corrcoef(ours, true)[0, 1] > 0.5
