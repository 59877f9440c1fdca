import pytest

from benchmarks import ratios
from benchmarks.setups import TWO_MODELS
from tests.benchmarks.rows import a_round, row


def test_each_ratio_is_taken_within_its_round() -> None:
    found = ratios.of(a_round(), cores=2)
    assert found == pytest.approx(
        {
            "stream_vs_inprocess": 0.9,  # of the mean of what was measured before and after
            "stream_vs_inprocess_share": 1.0,  # of the 1.8 cores that the load generator left
            "stream_1_vs_inprocess": 0.9,
            "stream_4_vs_inprocess": 0.9,
            "stream_vs_prototype": 9.0,
            "stream_vs_litserve": 4.0,
            "stream_vs_litserve_tuned": 3.0,
            "stream_vs_ray": 6.0,
            "unary_vs_stream": 0.9,
            "ws_json_vs_stream": 0.8,
            "ws_binary_vs_stream": 0.85,
            "prototype_vs_predict_loop": 1.0,
            "cpu_per_frame_spread": 10.4 / 10.1 - 1,
            "half_load_p99_vs_idle_p50": 2.0,
            "twice_load_p99_vs_bound": 80 / (40 + 45),
            "fairness_least_share": 0.1,
        }
    )


def test_the_median_over_the_rounds_counts() -> None:
    rows = [
        each for n, fps in ((1, 100.0), (2, 180.0), (3, 190.0)) for each in a_round(n, stream=fps)
    ]
    assert ratios.of(rows, cores=2)["stream_vs_inprocess"] == pytest.approx(0.9)


def test_noise_of_single_rounds_is_no_dependence_on_the_number_of_streams() -> None:
    rows = [
        row(
            "stream",
            1.0,
            streams=n,
            number=number,
            cpu_ms_per_frame=13.0 if n == disturbed else 10.0,
        )
        for number, disturbed in enumerate((1, 4, 16, 50), 1)
        for n in (1, 4, 16, 50)
    ]
    assert ratios.of(rows, cores=2)["cpu_per_frame_spread"] == 0


def test_what_every_round_costs_more_counts_whatever_else_slows_a_round() -> None:
    rows = [
        row(
            "stream",
            1.0,
            streams=n,
            number=number,
            cpu_ms_per_frame=slowed * (12 if n == 50 else 10),
        )
        for number, slowed in enumerate((1.0, 1.5, 1.2), 1)
        for n in (1, 4, 16, 50)
    ]
    assert ratios.of(rows, cores=2)["cpu_per_frame_spread"] == pytest.approx(0.2)


def test_the_flooding_stream_may_get_the_most_but_does_not_count() -> None:
    rows = [row("stream", 8.0, streams=8, load="fairness", answered_by_stream=[1] + [9] * 7)]
    assert ratios.of(rows, cores=2)["fairness_least_share"] == pytest.approx(9 / 8)


def test_two_models_have_ratios_of_their_own_with_the_same_targets() -> None:
    found = ratios.of(a_round(setup=TWO_MODELS), cores=2)
    assert found["two_models_stream_vs_litserve"] == pytest.approx(4.0)
    assert ratios.reached("two_models_stream_vs_litserve", 2.9) is False


def test_what_was_left_out_has_no_ratio() -> None:
    rows = [each for each in a_round() if each["contender"] not in {"LitServe", "Ray Serve"}]
    found = ratios.of(rows, cores=2)
    assert "stream_vs_prototype" in found
    assert not {"stream_vs_litserve", "stream_vs_ray"} & found.keys()


def test_where_nobody_counted_the_load_generators_time_nothing_is_said_of_the_share() -> None:
    rows = [row("in-process limit", 200.0, streams=0), row("stream", 180.0)]
    found = ratios.of(rows, cores=2)
    assert "stream_vs_inprocess" in found
    assert "stream_vs_inprocess_share" not in found


def test_the_tuned_peer_stands_next_to_the_other_and_has_no_target() -> None:
    found = list(ratios.of(a_round(), cores=2))
    assert found.index("stream_vs_litserve_tuned") == found.index("stream_vs_litserve") + 1
    assert ratios.target("stream_vs_litserve_tuned") is None


def test_calibration_does_not_count() -> None:
    calibration = row("stream", 1.0, load="calibration", number=0)
    assert ratios.of([calibration, *a_round()], cores=2) == ratios.of(a_round(), cores=2)


def test_a_target_is_a_least_or_a_most() -> None:
    assert ratios.reached("stream_vs_inprocess", 0.9) is True
    assert ratios.reached("stream_vs_inprocess", 0.89) is False
    assert ratios.reached("memory_growth", 1.01) is True
    assert ratios.reached("memory_growth", 1.03) is False
    assert ratios.reached("ws_json_vs_stream", 0.1) is None


def test_a_run_with_a_slowed_baseline_is_void() -> None:
    assert ratios.void({"prototype_vs_predict_loop": 0.95}) is None
    assert "0.80" in str(ratios.void({"prototype_vs_predict_loop": 0.8}))
    assert ratios.void({"two_models_prototype_vs_predict_loop": 0.8}) is not None
    assert ratios.void({}) is None
