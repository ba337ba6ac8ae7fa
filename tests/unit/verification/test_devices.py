"""`tiecli/verification/devices.py`: where gradients are computed, and what is said where that cannot be."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tiecli.errors import UsageError
from tiecli.verification.devices import choose_device, float64

jax = pytest.importorskip("jax", reason="jax comes with the extra `verify`")


def run_with_devices(count: int, code: str) -> str:
    """Runs code where jax finds so many devices."""
    environment = {**os.environ, "XLA_FLAGS": f"--xla_force_host_platform_device_count={count}", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", f"from tiecli.verification.devices import *\n{code}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_one_device_is_named_with_its_precision() -> None:
    """A CPU's kind is its platform, and is not said twice."""
    assert run_with_devices(1, "print(choose_device('cpu').describe())") == "cpu:0, float64"


def test_all_local_devices_form_the_mesh_unless_fewer_are_wanted() -> None:
    """`2x2` are four."""
    code = "print(*(choose_device('cpu', mesh).describe() for mesh in (None, '4', '2x2', '1')), sep='; ')"
    assert run_with_devices(8, code).split("; ") == [
        "cpu:0 (8 devices, mesh 8), float64",
        "cpu:0 (4 devices, mesh 4), float64",
        "cpu:0 (4 devices, mesh 2x2), float64",
        "cpu:0, float64",
    ]


@pytest.mark.parametrize("mesh", ["", "0", "x", "2x", "-1", "4x0", "2 x 2", "99999999999"])
def test_a_mesh_is_numbers(mesh: str) -> None:
    """Anything else is refused by name."""
    with pytest.raises(UsageError, match=f"`{mesh}` is no mesh"):
        choose_device("cpu", mesh)


def test_a_mesh_takes_no_more_devices_than_there_are() -> None:
    """Both numbers are said."""
    with pytest.raises(UsageError, match=r"a mesh 3x1000 takes 3000 devices, and jax finds \d+ here, of kind cpu"):
        choose_device("cpu", "3x1000")


def test_unknown_devices_are_refused() -> None:
    """With those that there could be."""
    with pytest.raises(UsageError, match="`npu` is no kind of device: expected cpu, gpu, tpu"):
        choose_device("npu")


def test_a_device_that_is_not_there_is_refused() -> None:
    """With those that there are."""
    if any(device.platform == "tpu" for device in jax.devices()):
        pytest.skip("there is a TPU")
    with pytest.raises(UsageError, match="jax finds no tpu here, only "):
        choose_device("tpu")


def test_without_jax_the_command_that_brings_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, and the hint to type."""
    monkeypatch.setitem(sys.modules, "jax", None)

    with pytest.raises(UsageError, match="verify computes gradients with jax, which is not installed here") as caught:
        choose_device()

    assert "pip install 'tiecli[verify]'" in caught.value.hints[0]


def test_float64_holds_inside_only() -> None:
    """The caller's own jax stays as it was."""
    before = jax.numpy.ones(1).dtype

    with float64():
        assert jax.numpy.ones(1).dtype == "float64"

    assert jax.numpy.ones(1).dtype == before
