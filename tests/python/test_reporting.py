"""reporting.py: words that depend on numbers."""

from caffe_ext.reporting import pluralize


def test_amounts() -> None:
    assert pluralize(1, "image") == "1 image"
    assert pluralize(0, "image") == "0 images"
    assert pluralize(1000, "noisy copy", "noisy copies") == "1,000 noisy copies"
