"""How errors are shown: one line of bearable length, whatever is quoted in them."""

import pytest

import edge_se.cli
from edge_se.errors import LONGEST_SENTENCE, UserError, run_script, sentence


@pytest.mark.parametrize("text", ["an é, a \u00b5 and a 中", "x" * LONGEST_SENTENCE])
def test_what_can_be_shown_is_left_alone(text):
    assert sentence(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\nb", "a\\nb"), ("\x1b[2J", "\\x1b[2J"), ("\udcff", "\\udcff"), ("\0", "\\x00")],
)
def test_what_a_terminal_would_act_on_is_escaped(text, shown):
    assert sentence(text) == shown


def test_a_long_sentence_keeps_its_beginning_and_its_end():
    shown = sentence("model.tflite is wrong: " + "x" * 100_000 + "; make it again")

    assert len(shown) <= LONGEST_SENTENCE
    assert shown.startswith("model.tflite is wrong: xxx") and shown.endswith("xxx; make it again")


@pytest.mark.parametrize(
    "typed",
    [
        ("inspect", "a\nb.tflite"),
        ("inspect", "\x1b[2J" + "x" * 5000),
        ("enhance", "in.wav", "out.wav", "--engine", "9" * 5000),
        ("stream", "--stft", "\n"),
    ],
    ids=lambda typed: typed[0],
)
def test_odd_words_on_the_command_line_are_one_line(capsys, typed):
    assert edge_se.cli.main(list(typed)) == 2

    last = capsys.readouterr().err.rstrip("\n").split("\n")[-1]
    assert ": error: " in last and last.isprintable() and len(last) <= LONGEST_SENTENCE + 100


def test_a_script_ends_with_its_status_or_with_what_was_wrong():
    def fails() -> int:
        raise UserError("there is no such file")

    with pytest.raises(SystemExit) as ended:
        run_script(lambda: 3)
    assert ended.value.code == 3
    with pytest.raises(SystemExit) as ended:
        run_script(fails)
    assert ended.value.code == "edge-se: error: there is no such file"
