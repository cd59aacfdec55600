from __future__ import annotations

from service.analysis.payback import payback
from service.findings import PaybackDocument, PaybackNetwork
from service.ledger import Entry, Ledger
from service.schema import Trial
from tests.service.fakes import completed, full_trial, trial


def entry(cause: str, joules: float, method: str = "rapl", quality: str = "measured", n_unknown: int = 0) -> Entry:
    return Entry(cause, "a", "fake", method, quality, n_attempts=2, n_unknown=n_unknown, joules=joules)  # type: ignore[arg-type]


DEFAULT = full_trial("default", 0.5, 9.0, is_default=True)
FRUGAL, GREEDY = full_trial("1", 0.2, 2.0), full_trial("2", 0.1, 10.0)


def of(front: list[Trial], *entries: Entry, trials: tuple[Trial, ...] = (DEFAULT,)) -> PaybackDocument:
    return payback(front, [*trials, *front], Ledger(list(entries)))


def test_a_network_has_paid_once_it_has_saved_what_was_spent() -> None:
    found = of([GREEDY, FRUGAL], entry("completed", 60.0), entry("failed", 11.0, "nvml_energy_delta"))
    assert found == PaybackDocument(
        search_joules=71.0,
        search_method="nvml_energy_delta, rapl",
        search_quality="measured",
        by_cause={"completed": 60.0, "failed": 11.0},
        default_joules=9.0,
        networks=[
            PaybackNetwork(
                trial_id="2", joules_per_inference=10.0, saved_joules_per_inference=-1.0, n_inferences_to_pay=None
            ),
            # 71 / 7 is a little more than ten.
            PaybackNetwork(
                trial_id="1", joules_per_inference=2.0, saved_joules_per_inference=7.0, n_inferences_to_pay=11
            ),
        ],
    )
    assert (found.method, found.quality) == ("analytic", "estimated")


def test_what_is_partly_unknown_is_unknown() -> None:
    found = of([FRUGAL], entry("completed", 60.0), entry("failed", 11.0, n_unknown=1))
    assert (found.search_joules, found.search_quality) == (None, "none")
    assert found.by_cause == {"completed": 60.0, "failed": None}
    assert found.networks[0].n_inferences_to_pay is None and found.networks[0].saved_joules_per_inference == 7.0


def test_what_was_measured_and_what_was_estimated_is_not_added_up() -> None:
    found = of([FRUGAL], entry("completed", 60.0), entry("completed", 5.0, "codecarbon", "estimated"))
    assert (found.search_joules, found.search_quality, found.by_cause) == (None, "none", {"completed": None})


def test_without_a_default_nothing_is_compared() -> None:
    found = of([FRUGAL], entry("completed", 60.0), trials=())
    assert found.default_joules is None
    assert found.networks == [
        PaybackNetwork(
            trial_id="1", joules_per_inference=2.0, saved_joules_per_inference=None, n_inferences_to_pay=None
        )
    ]


def test_a_study_that_has_spent_nothing_yet_says_unknown() -> None:
    assert of([]) == PaybackDocument(
        search_joules=None, search_method="none", search_quality="none", by_cause={}, default_joules=9.0, networks=[]
    )


def test_of_a_task_there_are_no_networks_whatever_its_objectives_are_called() -> None:
    tasks = [trial(name, completed(name, deployment_energy=1.0), shift_depth=None) for name in ("default", "1")]
    found = payback(tasks[1:], tasks, Ledger([entry("completed", 3.0)]))
    assert (found.default_joules, found.networks, found.search_joules) == (None, [], 3.0)
