"""The command line: parse, call, print. Every mistake becomes one line, every interruption too."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from everychip.cli.printing import tolerate
from everychip.errors import EverychipError, shortened, visible
from everychip.freed_memory import keep_freed_memory

MISTAKE, INTERRUPTED = 2, 130


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 done, 1 some runs failed, 2 a mistake in one line, 130 interrupted."""
    keep_freed_memory()
    sys.exit(call(arguments))


def call(arguments: Sequence[str] | None = None) -> int:
    """The exit code of a command line.

    >>> call(["--version"])
    everychip 0.1.0
    0
    """
    tolerate(sys.stdout, sys.stderr)
    try:
        from everychip.cli.app import app

        code = int(app(args=arguments, prog_name="everychip", standalone_mode=False) or 0)
        return _interrupted() if code == INTERRUPTED else code  # typer catches Ctrl-C and says nothing
    except KeyboardInterrupt:
        return _interrupted()
    except EverychipError as error:
        return _mistake(str(error))
    except BrokenPipeError:
        sys.stderr.close()  # whoever read us has gone; Python would complain about it while it exits
        return 1
    except OSError as error:
        place = f"{shortened(str(error.filename))}: " if error.filename else ""
        return _mistake(f"{place}{(error.strerror or str(error)).lower()}")
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        return _mistake("memory: found less than this takes; expected a smaller model, batch or data set")
    except Exception as error:
        if type(error).__name__ == "Abort":
            return _interrupted()
        if not hasattr(error, "format_message"):  # how typer, whichever click it brings, tells a usage error
            raise
        return _mistake(_usage(error)) if str(error) else 0  # without a command, help was printed


def _out_of_memory(error: BaseException) -> bool:
    """Whether PyTorch or Python could not get the memory that they requested."""
    said = str(error)
    return isinstance(error, MemoryError) or any(words in said for words in _MEMORY)


_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "Storage size calculation")


def _mistake(words: str) -> int:
    for line in words.splitlines():
        print(f"error: {visible(' '.join(line.split()))}", file=sys.stderr)  # noqa: T201
    return MISTAKE


def _interrupted() -> int:
    print("interrupted; the same command goes on from here", file=sys.stderr)  # noqa: T201
    return INTERRUPTED


def _usage(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "everychip"
    words = str(error.format_message()).rstrip(".")  # type: ignore[attr-defined]
    return f"{words[:1].lower()}{words[1:]}; see {path} --help"
