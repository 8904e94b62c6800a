"""Calls the command line in the test's process."""

from boostlm.cli.main import main


def call(capsys, *arguments):
    """(status, stdout, stderr) of the command line in this process."""
    try:
        status = main([str(a) for a in arguments])
    except SystemExit as stopped:  # raised by argparse
        status = stopped.code
    said = capsys.readouterr()
    return status, said.out, said.err
