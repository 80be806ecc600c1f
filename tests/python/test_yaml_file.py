"""models/yaml_file.py: what is refused and read in the YAML files that people write."""

from pathlib import Path

import pytest

from caffe_ext.models.description import read_model
from caffe_ext.models.loadable_file import read_loadable
from caffe_ext.models.yaml_file import read_yaml


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("scale: 1\ncrop: 2\nscale: 3\n", "the key 'scale' is given twice, in lines 1 and 3"),
        ("smoothing: {sigma: 2, sigma: 3}\n", "the key 'sigma' is given twice, in line 1"),
        (
            "members:\n  - x.yaml\n  - crop: 1\n    crop: 1\n",
            "the key 'crop' is given twice, in lines 3 and 4",
        ),
    ],
)
def test_a_key_may_be_given_once(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"^{path}: {says}$"):
        read_loadable(path)


def test_what_is_wrong_with_yaml_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("a: [\nb: c: d\n")
    with pytest.raises(ValueError, match="is not YAML") as raised:
        read_model(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"classes: {'[' * 3000}{']' * 3000}", "is nested too deeply"),
        ("a: &a [1]\nclasses: *a", r"aliases \(\*name\) are not supported"),
        (f"classes: [{', '.join(['&a [x]', *['*a'] * 9])}]", "aliases"),
        ("<<: {scale: 1}\nname: x", r"merge keys \(<<\) are not supported"),
        (f"name: x\nscale: {'9' * 5000}", "the number in line 2 has more than 1,000 digits"),
        (f"scale: 0x{'f' * 5000}", "the number in line 1 has more than 1,000 digits"),
    ],
)
def test_yaml_that_takes_too_much_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "model.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"^{path} .*{says}"):
        read_model(path)


@pytest.mark.parametrize(
    ("text", "number"),
    [("1e-3", 0.001), ("1.0e2", 100), ("-2E+1", -20), (".5e1", 5), ("1.e0", 1), ("1.5", 1.5)],
)
def test_numbers_may_have_exponents(tmp_path: Path, text: str, number: float) -> None:
    path = tmp_path / "numbers.yaml"
    path.write_text(f"one: {text}\nquoted: '{text}'\n")
    assert read_yaml(path) == {"one": number, "quoted": text}
