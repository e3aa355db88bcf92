# SPDX-License-Identifier: Apache-2.0
"""What the demo, the tests with a real guest and the benchmarks share: the network laboratory, a protected VM in
it, the load from outside, and the guest's console."""

import os
import pathlib
import shutil

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("LOCKSTEP_BUILD", TOP / "build/release"))


def fresh_logs(name):
    """An empty folder below build/ for the logs of the processes of a test."""
    folder = TOP / "build" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
