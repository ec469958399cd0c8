"""A KeyboardInterrupt wherever CPython may raise one, one place after the other.

CPython looks for signals when a Python function begins, when a call into C comes back, and when
a loop jumps back. `sys.setprofile` is called at the first two of these, and what it raises comes
out of the very call; `sys.settrace` shows the third. (A line tracer would also raise between the
body of a `with` and its exit, where no signal is ever looked for.)
"""

from __future__ import annotations

import dis
import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["interrupted"]


def interrupted(
    at: int, act: Callable[[], object], *, spared: frozenset[str] = frozenset()
) -> bool:
    """Run `act` and break into it at its `at`-th place; whether it came to that.

    Within functions named in `spared`, nothing happens: who repairs is not broken into as well.
    """
    left, within, broken = at, 0, False

    def strike() -> None:
        nonlocal left, broken
        left -= 1
        if left < 0:
            sys.setprofile(None)
            sys.settrace(None)
            broken = True
            raise KeyboardInterrupt

    def on_call(frame: FrameType, event: str, _arg: object) -> None:
        nonlocal within
        if frame.f_code.co_name in spared and event in ("call", "return"):
            within += 1 if event == "call" else -1
        elif not within and event in ("call", "c_return") and frame.f_code is not here:
            strike()

    def on_opcode(frame: FrameType, event: str, _arg: object) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode" and not within:
            name = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            if name.startswith("JUMP_BACKWARD") and not name.endswith("NO_INTERRUPT"):
                strike()
        return on_opcode

    here = sys._getframe().f_code
    collecting = gc.isenabled()
    gc.disable()  # or somebody else's `__del__` would be broken into
    sys.settrace(on_opcode)
    sys.setprofile(on_call)
    try:
        act()
    except KeyboardInterrupt:
        if not broken:
            raise
    finally:
        sys.setprofile(None)
        sys.settrace(None)
        if collecting:
            gc.enable()
    return broken
