from dataclasses import replace

from benchmarks.peers import LITSERVE, LITSERVE_TUNED, PEERS, PROTOTYPE


def test_a_peer_that_is_not_installed_is_left_out_with_the_reason() -> None:
    assert replace(PROTOTYPE, packages=("no_such_package",)).missing() == (
        "not installed: no_such_package"
    )


def test_a_peer_that_does_not_fit_the_memory_is_left_out_with_the_reason() -> None:
    reason = replace(PROTOTYPE, packages=(), memory_gib=1e6).missing()
    assert reason is not None
    assert "GiB of memory are free" in reason


def test_nothing_else_keeps_a_peer_out() -> None:
    assert replace(PROTOTYPE, packages=(), memory_gib=0).missing() is None


def test_litserve_is_measured_as_its_guide_has_it_and_with_a_worker_a_core() -> None:
    assert {LITSERVE, LITSERVE_TUNED} <= set(PEERS)
    assert LITSERVE.options == ()
    assert LITSERVE_TUNED.module == LITSERVE.module
    assert LITSERVE_TUNED.options == ("--worker-a-core",)
