"""The tests marked `cuda`, run without a GPU: on the simulated device, each in its own process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    "tests",
    [
        "tests/simulated_cuda",
        "tests/agents/test_devices.py",
        "tests/agents",
        "tests/relic_rl",
        "tests/system/test_devices.py",
    ],
)
def test_the_tests_that_need_a_gpu_pass_on_a_simulated_one(tests: str) -> None:
    if sys.platform != "linux":
        pytest.skip("the simulated device is built for Linux only")
    compiler = os.environ.get("CXX", "g++")
    if subprocess.run(["which", compiler], capture_output=True, check=False).returncode:
        pytest.skip(f"no C++ compiler ({compiler}) to build the simulated device with")
    apart = ["--ignore", "tests/agents/test_devices.py"] if tests == "tests/agents" else []

    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-m", "cuda", "-q", "-n", "0"),
            *("-p", "no:cacheprovider", tests, *apart),
        ],
        cwd=ROOT,
        env=os.environ | {"RELIC_RL_TEST_CUDA": "simulated", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout.splitlines()[-1])
