"""Every public name is pinned, and documented."""

from __future__ import annotations

import importlib
import inspect
import re
import runpy
from pathlib import Path

import pytest

import unrolled
from unrolled import errors
from unrolled.cli.parser import build

ROOT = Path(__file__).parents[2]
PINNED = {
    "unrolled": """
        DataConfig LabConfig ModelConfig SweepConfig TrainConfig UnrolledError __version__ accelerate accelerated
        acceleration_report doctor
        evaluate_text explain lab load nn ops probe sample sweep tasks to_torch train
    """,
    "unrolled.adapters": """
        lightning_callback recurrent_policy register_opacus torchrl_module
    """,
    "unrolled.checkpoint": """
        Contents FORMAT_VERSION MODEL_FILES Tensor clear clear_data locate mark prune read rewind
        taken weights_dtype write_into write_model write_step
    """,
    "unrolled.cli": """
        main
    """,
    "unrolled.data": """
        Batch Batches Column Corpus Document IGNORED LineBatches Overlap Partition Reading SENTENCES SampleBatches
        Samples Scaler SchemeFound Sentences Series Split StreamBatches carried_windows chunks cold_windows encode_source
        encode_text find_scheme fingerprint from_bioes gather identity in_scheme legal name_of overlap partition prepare read
        read_samples read_sentences read_series reopen scheme_of to_bioes to_tensor unknown_tags_text
    """,
    "unrolled.doctor": """
        Backend Report report
    """,
    "unrolled.draw": """
        check_settings continuation draw
    """,
    "unrolled.errors": """
        BackendError CheckpointError ConfigError DataError DeviceError DtypeError MissingExtraError
        NonFiniteError ProcessError RunError ShapeError StateError TokenError UnrolledError counted expected
    """,
    "unrolled.export": """
        Check Exported Format OnnxModel Subject export from_keras register subject_of to_keras
    """,
    "unrolled.figures": """
        ForecastWindow by_lag confusion coverage_by_horizon dark error_by error_by_horizon families
        forecasts lags loss matrix points ranking reliability require series signs slices strips units visible
    """,
    "unrolled.files": """
        cpu_limit create for_json load_average memory_limit open_regular parse_json parsed_bytes printable
        processor_seconds quoted read_regular refusal replace replacing sync_directory temporary write writing
    """,
    "unrolled.kernels": """
        CELLS Caches DTYPES Handle ISAS LayerWeights Network OPERANDS Outcome STORAGES Streams available backward
        caches forward isa isas pack pack_network why_not
    """,
    "unrolled.lab": """
        Done Experiment Lab Trial number pick run spread spread_text within_cap within_text
    """,
    "unrolled.models": "",
    "unrolled.parsing": "",
    "unrolled.nn": """
        AccelerationReport CoupledLSTM GRU GRUCell IndRNN LSTM LSTMCell LayerExplanation LayerNormGRU LayerNormLSTM
        PackingReport PeepholeLSTM RNN RNNCell Recurrent ResetBeforeGRU accelerate accelerated acceleration_report
        explain init_recurrent layer packed to_torch
    """,
    "unrolled.ops": """
        Call Embedded Explanation GRUTrajectory LSTMTrajectory Op RNNTrajectory Recurrence Result StepJacobian by_steps
        explain gru lstm of_hidden register rnn run scan unregister
    """,
    "unrolled.predict": """
        as_csv as_json_lines evaluate predict write
    """,
    "unrolled.probe": """
        Column Columns ContextCurve Exchange Exponents Finding Flow GateUse Gates GradientFlow LagMap
        LayerGates LongRun Lyapunov MEASUREMENTS MemoryHorizon MemoryMap Reach Recording Report Side
        StepsSeen Trajectories UpdateNorms columns context_curve examine gates gradient_flow lag_map
        long_run lyapunov memory_horizon memory_map reach record report steps_seen trajectories
        update_norms watching
    """,
    "unrolled.quantize": """
        Quantized quantize
    """,
    "unrolled.sample": """
        sample
    """,
    "unrolled.schema": "",
    "unrolled.spec": """
        CELLS CLOSED Cell ClassifyData ClassifyModel DataConfig EvalConfig ExportConfig ForecastData ForecastModel INITS LabConfig ModelConfig OPEN PredictConfig
        ProbeConfig QuantizeConfig Range RegressData RegressModel RunDirectory STORAGES SampleConfig Setting Steps StreamConfig SweepConfig TASKS
        TagData TagModel TaskKind TrainConfig cell_of_mode check current_names from_json kind_named
        kind_of kind_of_stored register_cell register_picture register_task setting setting_of settings
        tensors to_json
    """,
    "unrolled.stream": """
        Forecast Health LayerHealth LineReader Model Pool Recurrent Session StepReader TaskModel TaskPool TaskSession answer_lines load score
    """,
    "unrolled.sweep": """
        Description Sweep SweepTrial describe run
    """,
    "unrolled.tasks": """
        Answers COLD_STEPS ChunkScores Dataset Evaluation Examined Figure ForecastEvaluation
        ForecastNetwork Forecaster LanguageModel Loaded Means Overview Predictions Score
        SequenceClassifier SequenceEvaluation SequenceModel SequenceNetwork SequenceRegressor
        SequenceTagger State Step TagEvaluation TagNetwork Task Telemetry TypeScores chunk_scores
        continuation detach evaluate_split evaluate_text generate load named of register take_telemetry
    """,
    "unrolled.tokens": """
        BpeTokens ByteTokens CharTokens Decoder Tokens WordTokens build from_json load
    """,
    "unrolled.train": """
        Description Finished Fresh Observer Result ResumePoint Resumed Row Schedule Seeds Spread StepRecord Stopped describe fit plan
        resolve run run_seeds
    """,
}
ROOMS = sorted(PINNED)
PAGES = runpy.run_path(str(ROOT / "docs" / "generate.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_the_public_names_of_a_room_are_those_pinned_here(room: str):
    found = sorted(importlib.import_module(room).__all__)
    assert found == sorted(PINNED[room].split()), "public names changed: pin them here and run `make docs`"


def test_every_room_is_pinned():
    assert set(PAGES["rooms"]()) == set(ROOMS)


@pytest.mark.parametrize("name", ["checkpoint", "data", "draw", "figures", "models", "spec", "tokens"])
def test_a_room_that_others_build_on_is_found_without_an_import_of_its_own(name: str):
    assert getattr(unrolled, name) is importlib.import_module(f"unrolled.{name}")
    assert f"`{name}`" in (unrolled.__doc__ or "")


@pytest.mark.parametrize("name", [name for name in unrolled.__all__ if name.islower() and name[0] != "_"])
def test_the_package_says_what_each_of_its_names_is_for(name: str):
    assert f"    unrolled.{name} " in (unrolled.__doc__ or "")


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_exists_and_has_a_docstring(room: str):
    module = importlib.import_module(room)
    assert module.__doc__
    for name in module.__all__:
        thing = getattr(module, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert thing.__doc__, f"{room}.{name} has no docstring"
            assert not thing.__doc__.startswith(f"{name}("), f"{room}.{name}: generated, says nothing"


def test_the_exception_tree_draws_every_error():
    drawn = errors.__doc__ or ""
    for name, thing in vars(errors).items():
        if inspect.isclass(thing) and issubclass(thing, errors.UnrolledError):
            assert re.search(rf"\b{name}\b {{3,}}\S", drawn), f"errors.py does not draw {name}"
            assert name in errors.__all__


def test_every_flag_has_a_help_text():
    for command, parser in PAGES["subparsers"](build()).items():
        for action in parser._actions:
            assert action.help, f"unrolled {command} {action.dest}: no help text"


@pytest.mark.parametrize(
    ("file", "page"),
    [("cli.md", "command_line"), ("api.md", "names"), ("clients/when-it-helps.md", "when_it_helps")],
)
def test_the_generated_pages_are_those_that_the_code_gives(file: str, page: str):
    assert (ROOT / "docs" / file).read_text(encoding="utf-8") == PAGES[page](), "run `make docs`"
