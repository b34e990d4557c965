"""What the service's user may."""

import getpass

from targets.board.installer import switching
from tests.helpers.releases import ids


def test_lingering_is_switched_on_or_the_command_is_said(root, systemctl, capsys):
    switching.use(root, ids(root)[1], 0.5, service=True)

    calls, user = systemctl("nothing"), getpass.getuser()
    assert f"loginctl enable-linger {user}" in calls
    assert f"sudo -n loginctl enable-linger {user}" in calls
    assert f"keep it: sudo loginctl enable-linger {user}" in capsys.readouterr().err
