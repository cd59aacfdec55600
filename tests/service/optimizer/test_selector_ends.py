"""The search leaves no end of a front aside."""

from __future__ import annotations

from ConfigSpace import ConfigurationSpace, Float

from tests.service.optimizer.toy import make_optimizer


def test_a_search_that_begins_at_one_end_of_the_front_finds_the_other() -> None:
    space = ConfigurationSpace()
    space.add(Float("x", (0.001, 1.0), log=True))
    optimizer = make_optimizer(space=space, fidelity=None, n_trials=30, n_workers=1)
    found = []
    while (suggestion := optimizer.ask()) is not None:
        x = suggestion.config["x"]
        found.append(x)
        # On a logarithmic scale nine tenths of the front are a third of the space.
        optimizer.tell(suggestion, {"error": x, "energy": 1 - x})
    assert max(found) > 0.9
    assert sum(x > 0.5 for x in found) >= 5
