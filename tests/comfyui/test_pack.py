"""What the host makes of the pack beside its nodes: version in the log, registry's table, help pages."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from .client import Client
from .server import ComfyServer


def test_version_is_logged_at_start_up(server: ComfyServer, pack: Path):
    project = tomllib.loads((pack / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"{project['name']} {project['version']}" in server.log_text()


def test_the_host_reads_the_registrys_table(server: ComfyServer):
    assert "Unable to parse pyproject.toml" not in server.log_text()


@pytest.mark.parametrize("language", ["en", "zh", None])
def test_help_pages_are_where_the_front_end_looks(comfy: Client, pack: Path, language: str | None):
    nodes = json.loads((pack / "manifests" / "nodes.json").read_text(encoding="utf-8"))["nodes"]
    for node in nodes:
        module = comfy.get_json(f"/object_info/{node['id']}")[node["id"]]["python_module"].removeprefix("custom_nodes.")
        page = f"{node['id']}/{language}.md" if language else f"{node['id']}.md"
        text = comfy.get(f"/extensions/{module}/docs/{page}").decode()
        assert text.startswith(f"# {node['display_name']}")


def test_the_front_end_is_given_no_script(comfy: Client):
    """The folder of help pages is registered as one that may hold scripts; there are none."""
    assert not [path for path in json.loads(comfy.get("/extensions")) if "lgs" in path]
