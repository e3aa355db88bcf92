# SPDX-License-Identifier: Apache-2.0
"""Compares a guest's speed under Lockstep with QEMU's software emulation and with the bare CPU.

ways        where the guest's programs run: natively, under QEMU, under Lockstep, in a protected pair
workloads   what is run there, one row each
figures     what was measured; medians and ratios of it, kept in a JSON file
report      the tables and the goals
chart       the charts
"""

import pathlib
import sys

TOP = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / "tools"))
