"""What several tests share."""

import resource
import time
import zlib
from pathlib import Path

import jax
import matplotlib as mpl
import pytest
from compilations import compilations
from sklearn.datasets import load_iris
from xdist.scheduler import LoadScopeScheduling

from jaxml import landscape, staircase
from jaxml.landscape.operators import validation

mpl.use("agg")


LIMIT = 2.0
"""CPU seconds that the call of a fast test may take, what it compiles first included."""
MARGIN = 10.0
"""How much longer a slow or busy processor may take before the test fails."""


def pytest_addoption(parser):
    parser.addoption("--third", type=int, help="of the slow tests only this third: 0, 1 or 2")


WALKED = {
    "tests/cli/test_runs.py",
    "tests/report/test_report.py",
    "tests/studies/test_staircase.py",
}
"""They share a staircase, and so a worker."""


class ByModule(LoadScopeScheduling):
    """A module's tests on one worker, which makes its fixtures and compiles its programs once."""

    def _split_scope(self, nodeid):
        module = nodeid.partition("::")[0]
        return "walked" if module in WALKED else module


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return ByModule(config, log)


def pytest_collection_modifyitems(config, items):
    """Leaves two thirds of the slow tests to other runs; which is a test's own."""
    third = config.getoption("--third")
    if third is None:
        return

    def later(item):
        return item.get_closest_marker("slow") and zlib.crc32(item.nodeid.encode()) % 3 != third

    config.hook.pytest_deselected(items=[item for item in items if later(item)])
    items[:] = [item for item in items if not later(item)]


def cpu_seconds():
    """Of this process and of those it has waited for: another's work here does not count."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Fails a fast test that is not fast."""
    begin = cpu_seconds()
    result = yield
    seconds = cpu_seconds() - begin
    if not item.get_closest_marker("slow") and not item.get_closest_marker("oracle"):
        item.user_properties.append(("cpu_seconds", seconds))
        if seconds > LIMIT * MARGIN:
            pytest.fail(f"{seconds:.1f} s of CPU time, {LIMIT} are meant: mark it slow", False)
    return result


def pytest_terminal_summary(terminalreporter):
    """Names the fast tests that take longer than is meant."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    seconds = {report.nodeid: dict(report.user_properties).get("cpu_seconds", 0.0)
               for report in reports if report.when == "call"}  # fmt: skip
    long = sorted((name for name in seconds if seconds[name] > LIMIT), key=seconds.get)
    if long:
        terminalreporter.section(f"fast tests of more than {LIMIT} s of CPU time")
        for name in reversed(long):
            terminalreporter.line(f"{seconds[name]:5.1f} {name}")


def pytest_configure(config):
    """Keeps what XLA compiles from one run of the tests to the next, in pytest's own cache.

    Not for the processes that tests start: a program read back says so on standard error.
    """
    jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("jax")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture(autouse=True, scope="module")
def _few_mappings():
    """Drops compiled functions before Linux's 65,530 memory mappings a process are used up.

    Each executable keeps several; the compiler is killed by the one too many.
    """
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and len(maps.read_bytes().splitlines()) > 30_000:
        jax.clear_caches()


@pytest.fixture(scope="session")
def iris():
    """Fisher's irises: 150 flowers, 4 features to unit scale, 3 classes."""
    x, y = load_iris(return_X_y=True)
    return {"x": ((x - x.mean(0)) / x.std(0)).astype("float32"), "y": y.astype("int32")}


@pytest.fixture(scope="session")
def walk_and_compilations(iris):
    """A staircase of two widths, and how often each program was compiled and the loss read."""
    readings = []

    def read(loss, params, original=validation._read):
        readings.append(loss)
        return original(loss, params)

    with pytest.MonkeyPatch.context() as patch, compilations() as counts:
        patch.setattr(validation, "_read", read)
        walk = staircase.walk(iris, [1, 2], l2=1e-3, seeds=3, steps=300, searches=4)
    return walk, counts, len(readings)


@pytest.fixture(scope="session")
def walked(walk_and_compilations):
    """A staircase of two widths."""
    return walk_and_compilations[0]


@pytest.fixture(scope="session")
def explored():
    """The neighbourhood of a point of the course's surface (1 − w₁w₂)²."""
    return landscape.explore(lambda w: (1 - w[0] * w[1]) ** 2, [0.1, -0.2], searches=5)


@pytest.fixture
def x64():
    """float64 arrays exist, and are the default, within the test."""
    with jax.enable_x64(True):
        yield
