"""The healthivert command, also as `python -m healthivert`."""

from healthivert.cli import main
from healthivert.exit_status import leave


def command() -> None:
    leave(main())


if __name__ == "__main__":
    command()
