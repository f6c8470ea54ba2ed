"""The state of a run follows from its events alone."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from napari_ppn2v.events import (
    DeviceChosen,
    FitProgress,
    FrameDenoised,
    NoiseModelFitted,
    Notice,
    PairsReady,
    PartStarted,
    StageFinished,
    StageStarted,
    StepDone,
    Validated,
)
from napari_ppn2v.session import state as states
from napari_ppn2v.session.state import RunState, Status, advance, begun

PLAN = [("n2v", 100), ("noise model", 0), ("pn2v", 100), ("denoise", 4)]


def after(*events, planned=PLAN, seconds_each=1.0) -> RunState:
    state = begun("a run", planned, now=0.0)
    for number, event in enumerate(events):
        state = advance(state, event, now=(number + 1) * seconds_each)
    return state


def stage(state: RunState, name: str):
    return next(s for s in state.stages if s.name == name)


def test_planned_stages_wait_until_they_begin():
    state = after()
    assert [s.name for s in state.stages] == [name for name, _ in PLAN]
    assert not any(s.is_running or s.is_finished for s in state.stages)
    assert state.share == 0


def test_a_stage_that_begins_ends_the_one_before_it():
    state = after(
        StageStarted("n2v", 100),
        StepDone("n2v", 100, 100),
        StageStarted("noise model", 0),
    )
    assert stage(state, "n2v").is_finished
    assert state.running_stage == stage(state, "noise model")


def test_a_stage_that_was_not_planned_stands_where_it_happens():
    state = after(
        StageStarted("n2v", 100),
        StageFinished("n2v", 3.0),
        StageStarted("pseudo ground truth", 5),
    )
    names = [s.name for s in state.stages]
    assert names.index("pseudo ground truth") == names.index("n2v") + 1
    assert stage(state, "n2v").seconds == 3.0


def test_tiles_count_within_their_frame():
    state = after(
        StageStarted("denoise", 4),
        FrameDenoised(0, 4),
        StepDone("denoise", 1, 2),
        planned=[("denoise", 4)],
    )
    assert state.share == 1.5 / 4


def test_validations_make_the_curve_of_their_stage():
    points = [
        Validated("n2v", step, 100, 2.0 / step, 3.0 / step, 1e-3, 0.1, True)
        for step in (50, 100)
    ]
    state = after(StageStarted("n2v", 100), *points)
    ((name, curve),) = state.curves
    assert name == "n2v"
    assert [(p.step, p.train_loss, p.validation_loss) for p in curve] == [
        (50, 0.04, 0.06),
        (100, 0.02, 0.03),
    ]


def test_the_fit_of_a_noise_model_is_followed_model_by_model():
    pairs, model = object(), object()
    state = after(
        PairsReady(pairs),
        FitProgress("gmm", 10, 4.0, snapshot="early"),
        FitProgress("gmm", 20, 3.9),
        FitProgress("histogram", 1, 4.1),
        NoiseModelFitted(model, 3.95, "best"),
    )
    assert state.fit.pairs is pairs
    assert dict(state.fit.traces) == {
        "gmm": ((10, 4.0), (20, 3.9)),
        "histogram": ((1, 4.1),),
    }
    assert state.fit.model is model
    assert state.fit.snapshot is model


def test_a_new_part_begins_its_stages_anew_and_the_whole_goes_on():
    state = after(
        PartStarted("channel 0", 0, 2),
        StageStarted("n2v", 100),
        StepDone("n2v", 100, 100),
        PartStarted("channel 1", 1, 2),
    )
    assert not any(s.is_finished for s in state.stages)
    assert state.share == 0.5


def test_the_clock_stands_still_during_a_pause():
    state = states.paused(begun("a run", PLAN, now=0.0), now=10.0)
    assert state.elapsed(now=60.0) == 10.0
    state = states.resumed(state, now=60.0)
    assert state.elapsed(now=65.0) == 15.0
    ended = states.finished(state, 70.0, "done", is_stopped=False)
    assert ended.elapsed(now=1000.0) == 20.0


def test_stopping_during_a_pause_ends_the_pause():
    state = states.stopping(states.paused(begun("a run", [], 0.0), 5.0), 8.0)
    assert state.status is Status.STOPPING
    assert state.elapsed(now=9.0) == 6.0


def test_the_time_left_follows_from_the_pace():
    state = begun("a run", [("n2v", 100)], now=0.0)
    state = advance(state, StageStarted("n2v", 100), 0.0)
    assert state.remaining(now=0.0) is None
    state = advance(state, StepDone("n2v", 25, 100), 10.0)
    assert math.isclose(state.remaining(now=10.0), 30.0)


def test_expected_seconds_weigh_more_than_numbers_of_steps():
    expected = {"n2v": 30.0, "denoise": 10.0}
    state = begun("a run", [("n2v", 10), ("denoise", 1000)], 0.0, expected)
    state = advance(state, StageStarted("reading", 5), 0.0)
    state = advance(state, StageFinished("reading", 1.0), 1.0)
    assert state.share == 0
    state = advance(state, StageStarted("n2v", 10), 1.0)
    state = advance(state, StepDone("n2v", 5, 10), 2.0)
    assert state.share == 15 / 40


def test_notices_never_grow_without_bound():
    state = after(*[Notice(str(n)) for n in range(500)])
    assert len(state.notices) == states.MOST_NOTICES
    assert state.notices[-1].message == "499"


names = st.sampled_from(["n2v", "noise model", "refinement 1", "denoise", "dry run"])
count = st.integers(0, 50)
loss = st.floats(-10, 10)
any_event = st.one_of(
    st.builds(StageStarted, names, count),
    st.builds(StageFinished, names, st.floats(0, 100)),
    st.builds(StepDone, names, count, count, loss),
    st.builds(Validated, names, count, count, loss, loss, loss, loss, st.booleans()),
    st.builds(FitProgress, st.sampled_from(["gmm", "histogram"]), count, loss),
    st.builds(PairsReady, st.none()),
    st.builds(NoiseModelFitted, st.none(), loss, st.text()),
    st.builds(FrameDenoised, count, count),
    st.builds(PartStarted, st.text(), st.integers(0, 3), st.integers(1, 4)),
    st.builds(DeviceChosen, st.text()),
    st.builds(Notice, st.text(), st.booleans()),
)


@given(st.lists(any_event, max_size=40), st.booleans())
def test_any_events_leave_a_state_that_can_be_drawn(events, is_planned):
    state = begun("a run", PLAN if is_planned else [], now=0.0)
    for number, event in enumerate(events):
        before = state
        state = advance(state, event, now=float(number))
        assert state.status is Status.RUNNING
        assert 0.0 <= state.share <= 1.0
        assert sum(s.is_running for s in state.stages) <= 1
        assert all(0.0 <= s.share <= 1.0 for s in state.stages)
        left = state.remaining(now=float(number))
        assert left is None or left >= 0
        n_points = sum(len(curve) for _, curve in state.curves)
        grown = sum(len(curve) for _, curve in before.curves)
        if isinstance(event, Validated):
            assert n_points == grown + 1


@given(st.lists(any_event, max_size=30))
def test_events_never_change_an_earlier_state(events):
    state = begun("a run", PLAN, now=0.0)
    seen = [(state, repr(state))]
    for event in events:
        state = advance(state, event, now=1.0)
        seen.append((state, repr(state)))
    assert all(repr(kept) == text for kept, text in seen)
