"""TensorBoard: the event files of a run, read back by TensorBoard's own readers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sweeps.tracking.trackers.tensorboard import TensorBoard
from tests.helpers import followed_runs
from tests.helpers.followed_runs import ANSWER, FAILED, WELL, add_points, follow
from tests.helpers.paths import ROOT

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return followed_runs.write(tmp_path / "run")


def events(run: Path, folder: str = ".") -> Any:
    read = event_accumulator.EventAccumulator(str(run / "tensorboard" / folder))
    read.Reload()
    return read


def curve(read: Any, tag: str) -> dict[int, float]:
    return {event.step: round(event.value, 4) for event in read.Scalars(tag)}


def of_plugin(read: Any, tag: str) -> Any:
    """The message of the HParams plugin under a tag, as the plugin itself reads it."""
    from tensorboard.plugins.hparams import metadata

    content = read.SummaryMetadata(f"_hparams_/{tag}").plugin_data.content
    parse = {
        "session_start_info": metadata.parse_session_start_info_plugin_data,
        "session_end_info": metadata.parse_session_end_info_plugin_data,
        "experiment": metadata.parse_experiment_plugin_data,
    }
    return parse[tag](content)


def test_a_trial_has_its_curves_its_settings_and_its_results(run: Path) -> None:
    follow(run, TensorBoard())
    read = events(run, f"sft-lora/{WELL}")
    assert curve(read, "train_loss") == {1: 1.5, 2: 2.5, 3: 3.5}
    assert curve(read, "objective") == {1: -1.0, 2: -2.0, 3: -3.0}
    assert curve(read, "result/quality") == {3: 0.9}
    assert curve(read, "result/test/exact_match") == {3: 0.9}
    start = of_plugin(read, "session_start_info")
    settings = {name: value.number_value or value.string_value for name, value in start.hparams.items()}
    assert settings["method.rank"] == 8
    assert settings["method_name"] == "lora"
    assert start.hparams["train.packing"].HasField("bool_value")
    assert settings["method.targets"] == '["q_proj", "v_proj"]'
    assert of_plugin(read, "session_end_info").status == 1  # success


def test_a_failed_trial_has_failed(run: Path) -> None:
    follow(run, TensorBoard())
    read = events(run, f"sft-lora/{FAILED}")
    assert of_plugin(read, "session_end_info").status == 2
    (facts,) = read.Tensors("record/text_summary")
    assert "| error | Something \\| broke. |" in facts.tensor_proto.string_val[0].decode()


def test_the_plugin_shows_the_settings_that_differ_against_the_results(run: Path) -> None:
    follow(run, TensorBoard())
    experiment = of_plugin(events(run), "experiment")
    assert {info.name: info.type for info in experiment.hparam_infos} == {
        "method_name": 1,  # a text
        "method.rank": 3,  # a number
        "train.learning_rate": 3,
        "stage.kind": 1,
    }
    shown = [info.name.tag for info in experiment.metric_infos]
    assert {"result/quality", "result/objective", "result/peak_train_bytes"} <= set(shown)
    assert experiment.description == "Which?"


def test_the_answer_and_the_pareto_front_are_shown(run: Path) -> None:
    follow(run, TensorBoard())
    read = events(run)
    (answer,) = read.Tensors("answer/text_summary")
    assert answer.tensor_proto.string_val[0].decode() == ANSWER
    (image,) = read.Images("pareto")
    assert image.encoded_image_string[:4] == b"\x89PNG"
    assert min(image.width, image.height) > 100


def test_the_hparams_plugin_itself_lists_the_trials_with_their_metrics(run: Path) -> None:
    """By the plugin's own code, as its page calls it."""
    from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import api_pb2, backend_context, get_experiment, list_session_groups

    follow(run, TensorBoard())
    multiplexer = plugin_event_multiplexer.EventMultiplexer().AddRunsFromDirectory(str(run / "tensorboard"))
    multiplexer.Reload()
    provider = data_provider.MultiplexerDataProvider(multiplexer, str(run))
    context = backend_context.Context(TBContext(data_provider=provider))
    experiment = get_experiment.Handler(RequestContext(), context, "", api_pb2.GetExperimentRequest()).run()
    assert {"method_name", "method.rank"} <= {info.name for info in experiment.hparam_infos}
    request = api_pb2.ListSessionGroupsRequest(
        allowed_statuses=[0, 1, 2, 3],
        col_params=[api_pb2.ColParams(metric=info.name) for info in experiment.metric_infos],
        slice_size=10,
    )
    found = list_session_groups.Handler(RequestContext(), context, "", request).run()
    qualities = {
        group.name: value.value
        for group in found.session_groups
        for value in group.metric_values
        if value.name.tag == "result/quality"
    }
    assert len(found.session_groups) == 3
    assert qualities[WELL] == pytest.approx(0.9)


def test_an_interrupted_trial_continues_in_a_later_process_without_repeated_steps(run: Path) -> None:
    again = followed_runs.interrupt(run)
    follow(run, TensorBoard(), summary=False)
    assert curve(events(run, f"sft-lora/{again}"), "train_loss") == {1: 1.5, 2: 2.5}
    followed_runs.resume(run, again)
    add_points(run / "trials" / again, 4)
    follow(run, TensorBoard())
    read = events(run, f"sft-lora/{again}")
    assert [event.step for event in read.Scalars("train_loss")] == [1, 2, 3, 4]
    assert of_plugin(read, "session_end_info").status == 1


def test_a_sweep_that_is_summarized_again_shows_the_settings_of_its_new_trials(run: Path) -> None:
    follow(run, TensorBoard())
    followed_runs.add(run, "c" * 12, batch_size=4)
    follow(run, TensorBoard())
    shown = [info.name for info in of_plugin(events(run), "experiment").hparam_infos]
    assert "train.batch_size" in shown


def test_it_imports_neither_tensorflow_nor_tensorboard(run: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from sweeps.tracking.follower import RunFollower;"
        "from sweeps.tracking.trackers.tensorboard import TensorBoard;"
        "RunFollower(Path(sys.argv[1]), TensorBoard()).update(last=True);"
        "print([name for name in ('tensorflow', 'tensorboard') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code, str(run)], capture_output=True, text=True, cwd=ROOT)
    assert found.stdout.strip() == "[]", found.stderr
