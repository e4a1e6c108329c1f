"""The tested versions are those of all packages that the project names, and they are inside its ranges."""

from __future__ import annotations

import importlib.metadata

import pytest
from packaging.utils import canonicalize_name

from tests.helpers import tested_versions as project
from trainables.system import tested_versions as tested


def test_each_package_of_the_project_has_a_tested_version_and_no_other_package_has() -> None:
    """``make versions`` writes them anew."""
    assert list(tested.versions()) == project.tested_names()


def test_each_tested_version_is_in_the_range_of_the_project() -> None:
    versions = tested.versions()
    named = [(each, versions.get(canonicalize_name(each.name))) for each in project.requirements()]
    outside = [f"{each} {version}" for each, version in named if version and version not in each.specifier]
    assert outside == []


def test_an_image_keeps_its_torch_and_newer_releases_of_a_major_version_are_taken() -> None:
    ranges = {each.name: each.specifier for each in project.requirements()}
    assert all(version in ranges["torch"] for version in ("2.11.0", "2.12.1+cu130", "2.99.0"))
    newer = {"transformers": "5.99.0", "accelerate": "1.99.0", "peft": "0.99.0"}
    assert all(version in ranges[name] for name, version in newer.items())


def test_a_build_of_the_tested_release_is_that_release() -> None:
    versions = tested.versions()
    assert tested.other_tested_version("torch", f"{versions['torch']}+cu130") is None
    assert tested.other_tested_version("torch", "2.11.0+cu126") == versions["torch"]
    assert tested.other_tested_version("huggingface_hub", "0.1") == versions["huggingface-hub"]
    assert tested.other_tested_version("six", "1.17") is None


def test_packages_of_other_versions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = tested.versions()

    def installed(name: str) -> str:
        if name == "bitsandbytes":
            raise importlib.metadata.PackageNotFoundError(name)
        return {"torch": "2.11.0", "peft": "0.19.0"}.get(name, versions[name])

    monkeypatch.setattr(importlib.metadata, "version", installed)
    assert tested.installed_otherwise(["torch", "peft", "bitsandbytes", "trl"]) == {
        "torch": (versions["torch"], "2.11.0"),
        "peft": (versions["peft"], "0.19.0"),
    }


def test_the_next_major_release_of_what_pages_stand_on_is_not_taken() -> None:
    """UIs of others broke when the frameworks below them changed."""
    ranges = {each.name: each.specifier for each in project.requirements()}
    assert not any("99.0" in ranges[name] for name in ("starlette", "uvicorn", "plotly", "pydantic"))
