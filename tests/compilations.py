"""What jax compiles, for tests of how often it does."""

import collections
import contextlib

import jax


@contextlib.contextmanager
def compilations():
    """Counts the programs that are lowered within, by name, also those that a cache holds."""
    counts = collections.Counter()

    def on_event(event, duration, **about):
        del duration
        if event.endswith("/jaxpr_to_mlir_module_duration"):
            counts[about["fun_name"].removeprefix("jit(").removesuffix(")")] += 1

    jax.monitoring.register_event_duration_secs_listener(on_event)
    try:
        yield counts
    finally:
        jax.monitoring.unregister_event_duration_listener(on_event)
