"""Figures of the dataset card that are computed from those of single scans."""

import numpy as np
import pytest

from mesoface.flows.dataset_card import pooled_agreement


def test_pooled_agreement_is_that_of_all_texels_together():
    rng = np.random.default_rng(5)
    truths = [scale * rng.standard_normal(4000) for scale in (12.0, 30.0, 75.0)]
    founds = [0.85 * truth + 6 * rng.standard_normal(4000) for truth in truths]

    def facts(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
        product = float(found @ truth)
        return {
            "gain": product / float(truth @ truth),
            "correlation": product / float(np.sqrt((found @ found) * (truth @ truth))),
            "error_um": float(np.sqrt(np.mean((found - truth) ** 2))),
            "true_um": float(np.sqrt(np.mean(truth**2))),
        }

    whole = facts(np.concatenate(founds), np.concatenate(truths))
    found = pooled_agreement([facts(a, b) for a, b in zip(founds, truths, strict=True)])
    assert found == pytest.approx((whole["gain"], whole["correlation"], whole["error_um"]), rel=1e-9)
    assert found[1] > max(facts(founds[0], truths[0])["correlation"], 0.9)
