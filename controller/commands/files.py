"""`rollout files`: writes what comes with the program and what is rendered from the configuration."""

from pathlib import Path

import click

from controller.commands.common import config_option
from controller.commands.rules import rendered_rules
from controller.commands.scale import DEFAULT_FOLDER, settings_and_scale
from controller.rules.artifacts.files import companion_texts
from controller.rules.yaml_text import prometheus_rule, yaml_text
from controller.shared.console import USAGE, examples, fail, json_option, print_json, say
from controller.shared.shipped import shipped

SHIPPED = ("systemd", "docs", "deploy")


@click.command(
    epilog=examples("rollout files --out deployed", "rollout files --out deployed --config rollout.toml")
)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write to."
)
@click.option("--force", is_flag=True, help="Write over files that are there and differ.")
@config_option
@json_option
def files(out: Path, force: bool, config: Path | None, as_json: bool) -> None:
    """Write rules, runbooks, dashboards, units and documents into one folder."""
    texts = _texts(config)
    differing = [name for name, text in texts.items() if _differs(out / name, text)]
    if differing and not force:
        fail(f"{out / differing[0]} is there and differs ({len(differing)} such files); say --force", USAGE)
    try:
        for name, text in texts.items():
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text)
    except OSError as error:
        fail(f"{error.filename} cannot be written ({error.strerror}); give another folder with --out")
    if as_json:
        print_json(sorted(str(out / name) for name in texts))
    else:
        folders = sorted({name.partition("/")[0] for name in texts})
        say(f"Wrote {len(texts)} files to {out}: {', '.join(folders)}.")


def _texts(config: Path | None) -> dict[str, bytes]:
    """Return every file's bytes by its path below the folder; rendered files go before shipped ones."""
    settings, scale = settings_and_scale(config, None, None, None)
    rules = rendered_rules(settings, scale)
    rendered = {str(DEFAULT_FOLDER / rule.name): yaml_text(rule) for rule in rules}
    rendered["deploy/kubernetes/prometheusrule.yaml"] = prometheus_rule(rendered.values())
    rendered |= companion_texts(list(settings.features.values()), rules, scale)
    copied = {
        f"{folder}/{path.relative_to(shipped(folder))}": path.read_bytes()
        for folder in SHIPPED
        for path in sorted(shipped(folder).rglob("*"))
        if path.is_file()
    }
    return copied | {name: text.encode() for name, text in rendered.items()}


def _differs(path: Path, text: bytes) -> bool:
    return path.is_file() and path.read_bytes() != text
