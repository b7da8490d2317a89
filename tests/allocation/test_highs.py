"""What we rely on HiGHS for."""

from __future__ import annotations

import highspy
import pytest


def test_presolve_keeps_the_optimum() -> None:
    """HiGHS 1.14.0 answers 15, as optimal: ERGO-Code/HiGHS issues 3043 and 3073, mended in 1.15.0 by 2961. About one of
    a thousand small allocation problems came out wrong with it."""
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    x = highs.addVariable(ub=10, obj=2)
    z = highs.addIntegral(ub=10, obj=3)
    highs.addConstr(x + z >= 4.5)
    highs.run()
    assert highs.getInfo().objective_function_value == pytest.approx(9), (
        f"HiGHS {highs.version()} calls optimal what is not; install highspy 1.15.1"
    )
