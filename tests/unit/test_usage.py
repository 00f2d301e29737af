"""The help of the commands: each has an example, and every example is one that the command takes."""

import shlex

import pytest

import archiver.__main__
import iocs.__main__

PROGRAMS = {"iocs": iocs.__main__, "archiver": archiver.__main__}
EXAMPLES = [
    (name, shlex.split(line.split("  ")[1] if line.startswith("  ") else line)[3:])
    for name, module in PROGRAMS.items()
    for line in module.EXAMPLES.splitlines()
    if line.startswith("  python")
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_command_has_examples_of_its_own(program, capsys) -> None:
    with pytest.raises(SystemExit):
        PROGRAMS[program].main(["--help"])
    commands = {words[0] for name, words in EXAMPLES if name == program}
    told = capsys.readouterr().out
    assert commands and all(f"  {command} " in told for command in commands)
    for command in commands:
        with pytest.raises(SystemExit) as ended:
            PROGRAMS[program].main([command, "--help"])
        told = capsys.readouterr().out
        assert ended.value.code == 0
        examples = told.partition("examples:\n")[2].splitlines()
        assert examples and all(f" {command} " in line for line in examples)


@pytest.mark.parametrize(("program", "words"), EXAMPLES)
def test_an_example_is_understood(program, words, capsys, tmp_path, monkeypatch) -> None:
    """Past its options, that is: there is no site file here."""
    monkeypatch.chdir(tmp_path)
    if ">" in words:
        words = words[: words.index(">")]
    if "--pv" in words:
        archiver.__main__.parser().parse_args(words)  # it would begin to record
        return
    try:
        PROGRAMS[program].main(words)
    except SystemExit as ended:
        pytest.fail(f"{ended}: {capsys.readouterr().err}")
    assert "usage:" not in capsys.readouterr().err
