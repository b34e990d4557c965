"""The live stream's service: started, or everything as it was before."""

import os
from pathlib import Path

import pytest

from edge_se.live.settings import LiveSettings, read_settings
from targets.board.installer import installing, releases, service, switching
from targets.board.installer.bundle import UNIT
from targets.board.installer.errors import RefusedError
from targets.board.installer.unit import user_unit
from tests.helpers.releases import ids, write_bundle

START = f"--user --no-block start {UNIT}"


def serve(root) -> None:
    """Have a live stream that runs, as far as systemctl tells."""
    switching.use(root, ids(root)[2], 0.5, service=True)
    script = Path(os.environ["PATH"].partition(":")[0], "systemctl")
    script.write_text(script.read_text() + 'case "$*" in *is-active*) echo active;; esac\n')


def test_the_first_service_that_does_not_start_leaves_no_service(root, systemctl, home):
    before = releases.current(root)
    systemctl("restart")

    with pytest.raises(RefusedError, match=r"restarting the service failed \(no sound\)"):
        switching.use(root, ids(root)[0], 0.5, service=True)

    assert releases.current(root) == before
    assert not user_unit().exists()
    assert systemctl("nothing")[-1] == "--user disable --now edge-se.service"
    assert releases.history(root)[-1] == before


def test_a_rollback_after_a_failed_switch_goes_where_it_would_have_gone(root, systemctl):
    first, second, _ = ids(root)
    systemctl("restart")
    with pytest.raises(RefusedError):
        switching.use(root, first, 0.5, service=True)

    assert switching.rollback(root)["current"] == second


def test_devices_that_fail_are_named_and_everything_is_undone(root, systemctl):
    before, first = releases.current(root), ids(root)[0]
    sentence = "edge-se: error: the capture device 'default' failed (No such device); there are: a"
    (root / "releases" / first / "env" / "bin" / "python").write_text(
        f'#!/bin/sh\ncase "$*" in *live*) echo "{sentence}" >&2; exit 2;; esac\nexec cat\n'
    )

    with pytest.raises(RefusedError) as error:
        switching.use(root, first, 0.5, service=True)

    assert "the capture device 'default' failed (No such device); there are: a" in str(error.value)
    assert "live.toml says which it uses" in str(error.value)
    assert releases.current(root) == before
    assert not user_unit().exists()
    assert not [call for call in systemctl("nothing") if "restart" in call]


def test_what_is_undone_does_not_wait_for_a_device(root, systemctl):
    serve(root)
    first = ids(root)[0]
    (root / "releases" / first / "env" / "bin" / "python").write_text(
        '#!/bin/sh\ncase "$*" in *live*) exit 2;; esac\nexec cat\n'
    )

    with pytest.raises(RefusedError, match="the live stream failed"):
        switching.use(root, first, 0.5, service=False)

    assert systemctl("nothing")[-1] == f"--user --no-block restart {UNIT}"


def test_a_service_that_does_not_start_is_told_in_systemds_words(root, systemctl):
    advice = "Job for it failed.\nSee 'systemctl --user status it' for details."
    script = Path(os.environ["PATH"].partition(":")[0], "systemctl")
    script.write_text(
        '#!/bin/sh\ncase "$*" in\n'
        f'*restart*) echo "{advice}" >&2; exit 1;;\n'
        '*show*) printf "Result=exit-code\\nExecMainStatus=226\\n";;\nesac\n'
    )

    with pytest.raises(RefusedError) as error:
        switching.use(root, ids(root)[0], 0.5, service=True)

    assert str(error.value) == (
        "restarting the service failed (Job for it failed); systemd says: Result=exit-code "
        "ExecMainStatus=226"
    )


def test_a_release_without_the_live_stream_is_refused_while_there_is_a_service(root, systemctl):
    serve(root)
    before, first = releases.current(root), ids(root)[1]
    (root / "releases" / first / UNIT).write_text("[Service]\nExecStart=@PYTHON@ @MODEL@\n")

    with pytest.raises(RefusedError, match="without the live stream's command") as error:
        switching.activate(root, first, service=False)

    assert f"systemctl --user disable --now {UNIT}" in str(error.value)
    assert releases.current(root) == before


def test_a_persons_settings_are_kept(root, systemctl):
    switching.use(root, ids(root)[1], 0.5, service=True)
    settings = service.user_settings()
    assert 'capture = "default"' in settings.read_text()
    settings.write_text('capture = "plughw:1"\n')

    switching.use(root, ids(root)[0], 0.5, service=True)
    switching.rollback(root)

    assert settings.read_text() == 'capture = "plughw:1"\n'


def test_the_settings_that_are_written_are_those_without_a_file(tmp_path):
    path = tmp_path / "live.toml"
    path.write_text(service.SETTINGS_TEXT)

    assert read_settings(path) == LiveSettings()


def test_the_live_stream_rests_while_a_release_is_measured(
    root, systemctl, quick, tmp_path, monkeypatch
):
    serve(root)
    calls = tmp_path / "calls"

    def measure(folder) -> dict:
        assert calls.read_text().splitlines()[-1] == f"--user stop {UNIT}"
        with calls.open("a") as file:
            file.write("measured\n")
        return {"rtf": 0.1}

    monkeypatch.setattr(installing, "benchmark", measure)
    installing.install(root, write_bundle(tmp_path / "bundle", "m9.tflite"), 0.5, service=False)

    lines = calls.read_text().splitlines()
    assert lines[lines.index("measured") + 1] == START


def test_the_live_stream_goes_on_when_a_release_is_too_slow(
    root, systemctl, quick, tmp_path, monkeypatch
):
    serve(root)
    monkeypatch.setattr(installing, "benchmark", lambda folder: {"rtf": 0.9})

    with pytest.raises(RefusedError, match="above the limit"):
        installing.install(root, write_bundle(tmp_path / "bundle", "m9.tflite"), 0.5, service=False)

    assert (tmp_path / "calls").read_text().splitlines()[-1] == START
