"""The dashboards, as files, and as a stand-in of W&B's interface on this machine is told of them."""

import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import wandb

from poolbench import dashboards


class Stand(ThreadingHTTPServer):
    """Answers as W&B would, remembers its views, and what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.views: dict[str, dict[str, Any]] = {}

    def answer(self, query: str, told: dict[str, Any]) -> dict[str, Any]:
        self.asked.append(query)
        if "upsertView" in query:
            found = told.get("id") or f"id-{len(self.views)}"
            self.views[found] = {
                "id": found, "type": told["type"], "name": told["name"], "displayName": told["displayName"],
                "description": told["description"], "spec": told["spec"], "updatedAt": "2026-01-31T12:00:00",
                "project": {"id": "p", "name": told["projectName"], "entityName": told["entityName"]},
            }  # fmt: skip
            return {"upsertView": {"view": self.views[found], "inserted": not told.get("id")}}
        if "allViews" in query:
            kind = [view for view in self.views.values() if view["type"] == told["type"]]
            return {"project": {"allViews": {"edges": [{"node": view} for view in kind]}} if self.views else None}
        if "upsertModel" in query:
            return {"upsertModel": {"project": {"id": "p", "name": "pools"}, "model": {"id": "p", "name": "pools"}}}
        if "viewer" in query.lower():
            viewer = {"id": "v", "entity": "someone", "username": "someone", "flags": "{}", "teams": {"edges": []}}
            return {"viewer": viewer, "serverInfo": {"features": []}}
        return {"models": {"edges": [], "pageInfo": {"endCursor": "", "hasNextPage": False}}}


class Handler(BaseHTTPRequestHandler):
    server: Stand

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = json.loads(gzip.decompress(body) if self.headers["Content-Encoding"] == "gzip" else body)
        answer = json.dumps({"data": self.server.answer(asked["query"], asked.get("variables") or {})}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *arguments: Any) -> None:
        pass


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stand]:
    server = Stand()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("WANDB_API_KEY", 40 * "0")
    monkeypatch.setenv("WANDB_MODE", "online")
    wandb.teardown()  # its service keeps the address that it was started with
    yield server
    wandb.teardown()
    server.shutdown()
    thread.join()
    server.server_close()


def kinds(spec: Any) -> set[str]:
    """The kinds of panels anywhere in a definition."""
    if isinstance(spec, list):
        return set().union(*map(kinds, spec))
    if isinstance(spec, dict):
        own = {spec["viewType"]} if isinstance(spec.get("viewType"), str) else set()
        return own.union(*map(kinds, spec.values()))
    return set()


PANELS = {
    "Scatter Plot", "Bar Chart", "Run History Line Plot", "Media Browser", "Run Comparer", "Weave",
    "Parallel Coordinates Plot",
}  # fmt: skip


def test_offline_they_are_files_and_nothing_is_sent(workplace, capsys):
    assert dashboards.main(["--project", "pools"]) == 0
    for name in ("workspace", "report"):
        assert kinds(json.loads((workplace / "dashboards" / f"{name}.json").read_text())) >= PANELS
    said = capsys.readouterr().out
    assert "W&B is offline: WANDB_MODE=online would make or update" in said
    assert "'pools'" in said


def test_every_panel_shows_what_a_run_logs(workplace):
    dashboards.main([])
    text = (workplace / "dashboards" / "workspace.json").read_text()
    for key in ("validation_top1", "shift_consistency", "shift_logit_drift", "shift_map", "predictions", "operator"):
        assert key in text


def test_online_they_are_made_and_then_brought_up_to_date(stand, capsys):
    assert dashboards.main(["--project", "pools"]) == 0
    assert {(view["type"], view["displayName"]) for view in stand.views.values()} == {
        ("runs", "Which pooling"),
        ("project-view", "Which pooling"),
    }
    for view in stand.views.values():
        assert view["project"] == {"id": "p", "name": "pools", "entityName": "someone"}
        assert kinds(json.loads(view["spec"])) >= PANELS
    assert "someone/pools" in capsys.readouterr().out
    first = {name: dict(view) for name, view in stand.views.items()}
    assert dashboards.main(["--project", "pools", "--entity", "someone"]) == 0
    assert stand.views.keys() == first.keys()


def test_without_an_account_it_says_so_in_a_line(stand, monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert dashboards.main(["--project", "pools"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("poolbench: ")
    assert stand.views == {}
