"""A local Ray, shared by all tests that need one: it takes seconds to start."""

import importlib.util
from collections.abc import Iterator

import pytest

from relic_rl.runtime import ray_cluster
from relic_rl.runtime.ray_cluster import Cluster


@pytest.fixture(scope="session")
def local_ray() -> Iterator[Cluster]:
    if importlib.util.find_spec("ray") is None:  # not importorskip: join() imports it, its way
        pytest.skip("the extra `ray` is not installed")
    cluster = ray_cluster.join("local", cpus=2)
    yield cluster
    cluster.close()
