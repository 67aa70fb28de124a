"""Clusters for tests: a real one of this machine, and a stand-in for Ray whose workers are objects
of this process.

Items and results are pickled, as they are on their way to another machine.
"""

import pickle
import random
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMALL = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}


class Call:
    """A remote call. It is made when its result is asked for."""

    def __init__(self, function, given):
        self.function, self.given = function, given


class RayError(Exception):
    """Ray's own error."""


class RayTaskError(RayError):
    """An error of the function itself."""

    def __init__(self, cause):
        self.cause = cause


class PooledRay:
    """Ray as far as a pool needs it.

    ``dying``: the numbers of the workers that die with their next item. ``leaving``: the machines
    that are gone when that happens. ``done``: the worker and
    the item of every call. ``names``: the machines, which may change.
    """

    class exceptions:  # noqa: N801 - as Ray has it
        RayError = RayError

    def __init__(self, names=("one", "two")):
        self.order = random.Random(0)
        self.names, self.made, self.killed, self.done, self.dying = list(names), [], [], [], set()
        self.leaving = set()

    def nodes(self):
        resources = {"CPU": 1}
        return [
            {"NodeID": name, "Alive": True, "Resources": resources, "NodeName": name}
            for name in self.names
        ]

    def wait(self, references, num_returns, timeout):
        chosen = self.order.choice(references)  # no order is promised
        return [chosen], [each for each in references if each is not chosen]

    def get(self, reference):
        try:
            return reference.function(*reference.given)
        except RayError:
            raise
        except Exception as error:
            raise RayTaskError(error) from error

    def kill(self, actor):
        self.killed.append(actor)

    def actor_class(self, ray, kind, seat):
        number = len(self.made)

        class Handle:
            def __init__(self, *given):
                self.actor = kind(*given)
                self.begin, self.do = Method(self.actor.begin), Method(self._do)

            def _do(self, item):
                if number in ray.dying:
                    ray.names = [name for name in ray.names if name not in ray.leaving]
                    raise RayError("the actor died: out of memory")
                ray.done.append((number, item))
                return pickle.loads(pickle.dumps(self.actor.do(pickle.loads(pickle.dumps(item)))))

        def remote(*given):
            handle = Handle(*given)
            self.made.append((seat, handle))
            return handle

        return type("Remote", (), {"remote": staticmethod(remote)})


class Method:
    """A method of a worker's handle."""

    def __init__(self, function):
        self.function = function

    def remote(self, *given):
        return Call(self.function, given)


@pytest.fixture
def pooled(monkeypatch):
    """A cluster of two machines in this process."""
    from hcache import ray_cluster, ray_pool

    here = PooledRay()

    @contextmanager
    def session(address):
        yield here

    monkeypatch.setattr(ray_pool, "session", session)
    monkeypatch.setattr(ray_pool, "actor_class", here.actor_class)
    monkeypatch.setattr(ray_pool, "LOOK", 0.0)
    monkeypatch.setattr(ray_pool, "WAIT", 0.0)
    monkeypatch.setattr(ray_cluster, "require_ray", lambda: here)
    monkeypatch.setattr("hcache.cli.readers.require_ray", lambda: here)
    return here


@pytest.fixture
def cluster(monkeypatch):
    """A cluster whose first machine computes nothing; it is gone after the test."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")  # of what others have on this machine
    monkeypatch.setenv("RAY_worker_niceness", "0")  # 15 by default: beside other work it starves
    made = Cluster(initialize_head=True, head_node_args={**SMALL, "num_cpus": 0})
    try:
        yield made
    finally:
        import ray

        ray.shutdown()
        made.shutdown()
