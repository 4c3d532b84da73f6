"""Yardsticks that are programs of their own: the jobs on Renoir."""

import os
import subprocess
import sys


def build(repository):
    """Renoir is under the LGPL: what is linked with it is a project of its own, with its own lock file."""
    target = os.environ.get("CARGO_TARGET_DIR", os.path.join(repository, "target"))
    manifest = os.path.join(repository, "tests", "benchmarks", "Cargo.toml")
    command = ["cargo", "build", "--locked", "--quiet", "--release", "--manifest-path", manifest, "--target-dir", target]
    subprocess.run(command, cwd=repository, stdout=sys.stderr, check=True)
