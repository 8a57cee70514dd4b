import os

import pytest

from relic_rl import config as configuration
from relic_rl.errors import UsageError
from relic_rl.records.identity import RunIdentity, read_identity


@pytest.fixture
def preset(tmp_path):
    """Writes a preset's text to a file and returns its path as the command line takes it."""

    def write(text: str) -> str:
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


@pytest.mark.parametrize("name", list(configuration.preset_paths()))
def test_every_shipped_preset_resolves_and_opens_with_its_purpose(name):
    resolved = configuration.resolve(name, {})

    text = configuration.preset_paths()[name].read_text(encoding="utf-8")
    assert text.startswith("# ")
    assert "relic-rl train" in text.splitlines()[1]
    assert set(resolved.origins) == set(configuration.field_types())


def test_a_flag_beats_the_preset_and_the_preset_beats_the_default(preset):
    path = preset("[learner]\nbatch_sequences = 3\nn_steps = 2\n")

    resolved = configuration.resolve(path, {"learner.n_steps": "4"})

    assert resolved.config.learner.batch_sequences == 3
    assert resolved.config.learner.n_steps == 4
    assert resolved.config.learner.unroll_steps == 80
    assert resolved.origins["learner.batch_sequences"] == f"preset {path}"
    assert resolved.origins["learner.n_steps"] == "flag"
    assert resolved.origins["learner.unroll_steps"] == "default"


def test_a_preset_inherits_from_its_base_and_says_so(preset):
    path = preset('base = "laptop"\n[actor]\nlanes = 3\n')

    resolved = configuration.resolve(path, {})

    laptop = configuration.resolve("laptop", {}).config
    assert resolved.config.actor.lanes == 3
    assert resolved.config.learner == laptop.learner
    assert resolved.origins["learner.batch_sequences"] == "preset laptop"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[learner]\nbatch_sise = 3\n", "unknown field 'learner.batch_sise'.*batch_sequences"),
        ("[learnr]\nn_steps = 3\n", "unknown section 'learnr'.*'learner'"),
        ("n_steps = 3\n", "unknown key 'n_steps'"),
        ("[learner]\nn_steps = 'x'\n", "learner.n_steps is 'x'.*integer"),
        ("[learner]\nn_steps = 0\n", "learner.n_steps is 0.*greater than or equal to 1"),
        ("[learner]\ndiscount = 1.5\n", "learner.discount is 1.5.*less than or equal to 1"),
        ("[env]\nprotocol = 'sticky'\n", "env.protocol is 'sticky'.*'noop' or 'machado'"),
        ("[learner]\nn_steps = true\n", "learner.n_steps is True.*takes no true or false"),
        ("[network]\nchannels = [8, true, 8]\n", "network.channels is .8, True.*no true or false"),
        ("learner = 3\n", r"learner is 3 in .*: it is a section, \[learner\]"),
        ("[run]\nthreads = 5000\n", "run.threads is 5000.*less than or equal to 4096"),
        ("[learner\n", "not valid TOML"),
        ('base = "latpop"\n', "base is 'latpop'"),
    ],
)
def test_a_wrong_preset_gets_one_line_that_names_the_place(preset, text, complaint):
    with pytest.raises(UsageError, match=complaint) as caught:
        configuration.resolve(preset(text), {})

    assert "\n" not in str(caught.value)


def test_a_preset_in_a_file_whose_name_is_no_utf_8_has_a_name_that_can_be_written(tmp_path):
    file = tmp_path / os.fsdecode(b"\xff.toml")
    file.write_text('base = "smoke"\n')

    assert configuration.resolve(str(file), {}).preset == f"{tmp_path}/?.toml"


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(UsageError, match="unknown preset 'latpop', nearest is 'laptop'"):
        configuration.resolve("latpop", {})


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        ({"learner.burn_in_steps": "7"}, "burn_in_steps is 7: use 0 or .*40"),
        ({"learner.unroll_steps": "50"}, "unroll_steps is 50: use a multiple of .*40"),
        ({"learner.n_steps": "41"}, "n_steps is 41: use at most .*40"),
        ({"network.channels": "8,16"}, "channels is '8,16' among the settings given: use 3 values"),
        (
            {"network.channels": "8,16,16,16"},
            "channels is .* among the settings given: use 3 values",
        ),
        ({"run.engine": "thread"}, "engine is 'thread' .*, nearest is 'threads'"),
        ({"actor.actors": "3"}, "actors is 3: use a divisor of lanes"),
        ({"actor.actors": "2"}, "actors is 2: use at most 1 with the inline engine"),
        (
            {
                "actor.lanes": "31",
                "actor.actors": "31",
                "actor.cuda_graph": "true",
                "run.engine": "threads",
            },
            "actors is 31: use at most 30 with actor.cuda_graph",
        ),
        ({"run.track": "off,offline"}, "track is off,offline: give off, or the others"),
        ({"run.track": "offline,online"}, "track is offline,online: give offline or online"),
        ({"replay.min_steps": "4000000"}, "capacity_steps is 4000000: use 4000040 or more"),
        ({"replay.capacity_steps": "120", "replay.min_steps": "10"}, "use 160 or more"),
        (
            {"representation.arm": "byol", "learner.batch_sequences": "1"},
            "byol needs 2 stacks or more in every batch.*batch_sequences of 2 or more",
        ),
        (
            {
                "representation.arm": "byol",
                "representation.stacks_per_sequence": "2",  # of a sequence that may hold one step
                "learner.batch_sequences": "1",
            },
            "byol needs 2 stacks or more in every batch",
        ),
    ],
)
def test_fields_that_do_not_fit_together_are_refused(overrides, complaint):
    with pytest.raises(UsageError, match=complaint):
        configuration.resolve("paper", overrides)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("replay.priority_exponent", "1.5"),
        ("replay.importance_exponent", "2"),
        ("replay.priority_mix", "-0.1"),
        ("replay.max_bytes", "0"),
        ("learner.segment_steps", "0"),
        ("network.frame_stack", "0"),
        ("replay.replay_ratio", "inf"),
        ("actor.epsilon_base", "0"),
        ("actor.epsilon_exponent", "nan"),
        ("learner.learning_rate", "nan"),
        ("learner.target_decay", "1.0"),  # a target that never moves
        ("learner.target_decay", "nan"),
        ("learner.discount", "nan"),
        ("actor.epsilon_base", "nan"),
        ("run.minutes", "inf"),
        ("run.minutes", "1e308"),
    ],
)
def test_a_number_that_no_part_can_use_is_refused_where_it_is_given(field, value):
    with pytest.raises(UsageError, match=f"{field} is '{value}' among the settings given"):
        configuration.resolve("laptop", {field: value})


def test_what_is_dumped_loads_to_the_same(tmp_path):
    config = configuration.resolve("laptop", {"network.channels": "8,16,16"}).config
    identity = RunIdentity(config, "Pong", 3, "mine")

    (tmp_path / "config.toml").write_text(identity.dump(), encoding="utf-8")
    loaded = read_identity(tmp_path)

    assert loaded == identity
    assert loaded.config.network.channels == (8, 16, 16)


def test_a_config_file_that_lacks_a_field_is_refused(tmp_path):
    text = RunIdentity(configuration.Config(), "Pong", 3, "mine").dump()
    (tmp_path / "config.toml").write_text(text.replace("n_steps = 5\n", "", 1), encoding="utf-8")

    with pytest.raises(UsageError, match=r"lacks learner\.n_steps \(default 5\): .*add what it"):
        read_identity(tmp_path)


def test_differences_are_the_changed_fields():
    old = configuration.resolve("laptop", {}).config
    new = configuration.resolve("laptop", {"learner.n_steps": "1"}).config

    assert configuration.differences(configuration.values(old), configuration.values(new)) == {
        "learner.n_steps": (old.learner.n_steps, 1),
    }
