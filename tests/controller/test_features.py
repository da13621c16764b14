"""Features from TOML: what is built in, what a file changes, and every mistake with its line."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.contract import format_percent, parse_percent
from controller.decision.freeze import DatedFreeze, WeeklyFreeze
from controller.features import ROLLOUT_FEATURES, config_hash, load_features
from controller.rules.names import Names
from controller.rules.rule_files import rule_files
from controller.rules.scale import Scale
from controller.shared.config_file import ConfigError


def load(tmp_path: Path, text: str) -> object:
    path = tmp_path / "rollout.toml"
    path.write_text(text)
    return load_features(path)


def test_without_a_file_google_and_microsoft_are_rolled_out() -> None:
    features = load_features(None)
    assert features == ROLLOUT_FEATURES
    assert [(f.provider, f.action) for f in features.values()] == [
        ("google", "gmail.send"),
        ("microsoft", "outlook.send"),
    ]


def test_a_file_changes_only_what_it_says(tmp_path: Path) -> None:
    features = load(tmp_path, "[features.microsoft]\nbake_s = 60\nsteps = [0.5, 2, 100]\n")
    assert isinstance(features, dict)
    assert set(features) == {"microsoft"}
    assert features["microsoft"].bake_s == 60
    assert features["microsoft"].steps == (0.5, 2.0, 100.0)
    assert features["microsoft"].slo_error_rate_threshold == 0.01


def test_each_step_may_have_its_own_bake_time(tmp_path: Path) -> None:
    features = load(tmp_path, "[features.microsoft]\nsteps = [1, 10, 100]\nbake_s = [60, 300, 600]\n")
    assert isinstance(features, dict)
    at = [features["microsoft"].bake_s_at(percent) for percent in (0, 0.5, 1, 9.9, 10, 50, 100)]
    assert at == [60, 60, 60, 60, 300, 300, 600]


def test_freezes_are_weekly_or_dated(tmp_path: Path) -> None:
    text = """
[features.microsoft]
freezes = [
  { weekdays = ["fri", "sat"], from = "16:00", to = "24:00", time_zone = "Europe/Berlin", name = "weekend" },
  { start = 2026-12-24T00:00:00Z, end = 2026-12-27T00:00:00Z, name = "holidays" },
]
"""
    features = load(tmp_path, text)
    assert isinstance(features, dict)
    weekly, dated = features["microsoft"].freezes
    assert weekly == WeeklyFreeze((4, 5), 57_600, 86_400, "Europe/Berlin", "weekend")
    assert isinstance(dated, DatedFreeze)
    assert dated.end - dated.start == 3 * 86_400


MISTAKES = [
    ("[features.microsoft]\n\nbake = 1", 3, "unknown key 'bake'"),
    ("[features.microsoft]\nslo_error_rate_threshold = 1", 2, "0.4"),
    ("[features.microsoft]\nslo_error_rate_threshold = true", 2, "number"),
    ("[features.microsoft]\nsteps = [5, 1]", 2, "rise"),
    ("[features.microsoft]\nsteps = []", 2, "rise"),
    ("[features.microsoft]\nsteps = [1, 120]", 2, "100"),
    ("[features.microsoft]\nsteps = [0.0001]", 2, "three decimals"),
    ("[features.microsoft]\nsteps = 5", 2, "list"),
    ('[features.microsoft]\nbake_s = "1"', 2, "number"),
    ("[features.microsoft]\nbake_s = nan", 2, "number"),
    ("[features.microsoft]\nbake_s = [60, 300]", 2, "has 2 times for 6 steps"),
    ('[features.microsoft]\nbake_s = [60, "x"]', 2, "number"),
    ('[features.microsoft]\npolicy = "vibes"', 2, "sequential"),
    ('[features.microsoft]\non_breach = "shrug"', 2, "step_back"),
    ("[features.microsoft]\napproval_steps = [7]", 2, "not one of the steps"),
    ("[features.microsoft]\nmax_failed_sends_per_step = 0", 2, "whole number"),
    ("[features.microsoft]\nfreezes = [{ weekdays = ['someday'] }]", 2, "weekly"),
    ("[features.microsoft]\nslo_very_slow_threshold = 1", 2, "0.4"),
    ("[features.microsoft]\nmargin = 4\nslo_very_slow_threshold = 0.3", 3, "must stay below 1"),
    ("[features.microsoft]\ndelta = 1.5\n[features.google]", 2, "needs reference"),
    ('[features.microsoft]\nreference = "google"\ndelta = 0.5\n[features.google]', 3, "from 1"),
    ("[features.new]\nbake_s = 1", 1, "needs provider and action"),
    ("[features.'New One']\nbake_s = 1", 1, "name"),
    (
        '[features.microsoft]\nbake_s = 1\n[features.two]\nprovider = "microsoft"\naction = "outlook.send"',
        5,
        "overlaps with [features.microsoft]",
    ),
]


@pytest.mark.parametrize(("text", "line", "reason"), MISTAKES)
def test_a_mistake_is_refused_with_its_line_and_reason(
    tmp_path: Path, text: str, line: int, reason: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, text)
    assert f"rollout.toml:{line}: " in str(refused.value)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["features = 3", "[features]\nmicrosoft = 3", "not toml", "\xff[features"])
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        load(tmp_path, text)


def test_a_missing_file_is_refused_with_its_path(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        load_features(tmp_path / "nowhere.toml")


def test_the_hash_names_everything_that_decides() -> None:
    google, microsoft = ROLLOUT_FEATURES["google"], ROLLOUT_FEATURES["microsoft"]
    assert config_hash(google) != config_hash(microsoft)
    assert config_hash(google) == config_hash(ROLLOUT_FEATURES["google"])


@given(st.integers(0, 100_000))
def test_a_percentage_is_written_as_it_is_read(thousandths: int) -> None:
    percent = thousandths / 1000
    assert parse_percent(format_percent(percent)) == percent


@given(st.text(max_size=8))
def test_no_text_reads_as_more_than_100_percent(text: str) -> None:
    percent = parse_percent(text)
    assert percent is None or 0 <= percent <= 100


@pytest.mark.parametrize(
    ("provider", "action", "series"),
    [
        ("aws-ses", "ses.send-raw", "job:ses_send_raw_exec_rate:5m"),
        ("office-365", "Office 365/send", "job:Office_365_send_exec_rate:5m"),
        ("mail", "送信", "job:mine_exec_rate:5m"),
    ],
)
def test_any_label_value_is_a_provider_and_an_action(
    tmp_path: Path, provider: str, action: str, series: str
) -> None:
    features = load(tmp_path, f'[features.mine]\nprovider = "{provider}"\naction = "{action}"\n')
    assert isinstance(features, dict)
    assert Names.of(features["mine"]).series("exec_rate") == series
    rule_files(features.values(), Scale())


@pytest.mark.parametrize("text", ["", "a\\nb", "a\\u0000"])
def test_what_is_no_line_of_text_is_no_provider(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="provider"):
        load(tmp_path, f'[features.mine]\nprovider = "{text}"\naction = "a.b"\n')
