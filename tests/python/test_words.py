"""Words that depend on numbers."""

from caffe_ext.words import amount


def test_amounts() -> None:
    assert amount(1, "image") == "1 image"
    assert amount(0, "image") == "0 images"
    assert amount(1000, "noisy copy", "noisy copies") == "1,000 noisy copies"
