"""`python -m router` and the `prefix-router` command."""

from router.cli import cli


def main() -> None:
    """Run the command line."""
    cli(prog_name="prefix-router")


if __name__ == "__main__":
    main()
