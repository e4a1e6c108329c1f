"""Memory that a step frees is not cleared anew for the next one, and goes back to the system behind the trial."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource, torch
from trainables.system.heap import kept_heap

def resident():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) * 1024

def faults_of_steps():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        gradients = [torch.ones(12, 1024, 1024) for _ in range(3)]  # 48 MiB each
        del gradients
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if {kept}:
    with kept_heap():
        faults_of_steps()
        print(faults_of_steps())
        print(resident())
    print(resident())
else:
    faults_of_steps()
    print(faults_of_steps())
"""


def numbers(kept: bool, **environment: str) -> list[int]:
    command = [sys.executable, "-c", PROGRAM.format(kept=kept)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**environment})
    return [int(line) for line in done.stdout.split()]


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs the C library of Linux")


def test_blocks_that_are_freed_and_taken_again_are_not_cleared_anew() -> None:
    (without,), (kept, inside, behind) = numbers(False), numbers(True)
    assert without > 100  # even where the system's pages are of 2 MiB
    assert kept < without / 4
    assert inside - behind > 100 * 2**20  # of the 144 MiB that are free


def test_sizes_that_the_environment_sets_stand() -> None:
    (by_environment,) = numbers(False, MALLOC_MMAP_THRESHOLD_="65536", MALLOC_TRIM_THRESHOLD_="65536")
    (kept, _, _) = numbers(True, MALLOC_MMAP_THRESHOLD_="65536", MALLOC_TRIM_THRESHOLD_="65536")
    assert kept > by_environment / 2
