"""The command line: ``fastgradcheck check | demo | doctor``."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import re
import shutil
import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from fastgradcheck.arguments import meant_by
from fastgradcheck.cli.tracebacks import is_our_fault, user_traceback
from fastgradcheck.errors import (
    CheckpointError,
    CostEvaluationError,
    GradcheckInputError,
    asks_to_stop,
    told,
)
from fastgradcheck.version import __version__

if TYPE_CHECKING:
    from fastgradcheck.result import GradcheckResult


_STATUS = {"AGREES": 0, "WRONG": 1, "UNDECIDED": 3, "SKIPPED": 0}


_BAD_INPUT = 2


_OUR_FAULT = 70  # EX_SOFTWARE of sysexits.h: never to be taken for a verdict


_INTERRUPTED = 130


_ENDED = 143  # 128 + SIGTERM


_READER_LEFT = 141  # 128 + SIGPIPE, as shells report it


_NAMES = ("theta", "args", "layout")


_EXIT_CODES = """\
exit codes: 0 the gradient agrees (or FASTGRADCHECK=off: nothing was checked), 1 it is wrong,
2 bad input, 3 undecided (also by a budget that ended too early), 130 interrupted, 143 ended by
SIGTERM. The report goes to stdout, progress and errors to stderr.
"""


_EXAMPLES = """\
examples:
  fastgradcheck check model.py                     a file that defines cost, grad and theta
  fastgradcheck check package.model --sample 0.1   a module; a random tenth of the components
  fastgradcheck check model.py:loss dloss --theta params --bounds -1:1
  fastgradcheck check nets:cost nets:grad --theta data:theta --args data:batch

"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; by default those of the process.

    Returns
    -------
    int
        The exit code: 0 agrees, 1 wrong, 2 bad input, 3 undecided, 130 interrupted, 143 ended by
        SIGTERM.
    """
    words = _joined(sys.argv[1:] if argv is None else argv)
    parser = _parser()
    if words and _is_target(words[0]):
        parser.error(f"which command? For a check:  fastgradcheck check {' '.join(words)}")
    options, unknown = parser.parse_known_args(words)
    if unknown:
        hint = _meant(unknown[0]) or f" (fastgradcheck {words[0]} --help lists what there is)"
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
    run: Callable[[argparse.Namespace], int] = options.run
    with _taken_for_ctrl_c(signal.SIGTERM) as ended:
        status = _run(run, options)
    return _ENDED if ended and status == _INTERRUPTED else status


def _joined(words: Sequence[str]) -> list[str]:
    """The words, ``--bounds -1:1`` in one: argparse takes a minus for the sign of an option."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] == "--bounds" and re.match(r"-[\d.i]", word):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _meant(word: str) -> str:
    """Which option an unknown one may mean."""
    ours = meant_by(
        word.lstrip("-").partition("=")[0].replace("-", "_"), (*_NAMES, *_CHECK_OPTIONS)
    )
    return f" (did you mean --{ours.replace('_', '-')}?)" if ours else ""


def _run(run: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    try:
        return run(options)
    except KeyboardInterrupt:
        _tell("interrupted.")
        return _INTERRUPTED
    except BrokenPipeError:
        # Python would complain once more when it flushes stdout at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _READER_LEFT
    except BaseException as error:
        if asks_to_stop(error):
            raise
        # sys.exit(0) in the user's code is no verdict either.
        return _refuse(error)


@contextlib.contextmanager
def _taken_for_ctrl_c(number: int) -> Iterator[list[int]]:
    """Let a signal that would end this process do what Ctrl-C does; the list tells if it came.

    What was measured is then reported, and nothing is left behind.
    """
    came: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        came.append(number)
        signal.raise_signal(signal.SIGINT)

    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    before = signal.signal(number, handle)
    try:
        yield came
    finally:
        signal.signal(number, before)


def _check(options: argparse.Namespace) -> int:
    for path in (options.json, options.html):
        _require_writable(path)
    if options.html is not None and importlib.util.find_spec("jinja2") is None:
        raise GradcheckInputError(
            "--html needs jinja2, which is not installed: pip install 'fastgradcheck[plot]'."
        )
    given = {name: value for name, value in vars(options).items() if name in _CHECK_OPTIONS}
    named = options.bounds if isinstance(options.bounds, str) else None
    # What the user's code prints must not end up inside the report.
    with contextlib.redirect_stdout(sys.stderr):
        from fastgradcheck.cli.loading import load_subject

        subject = load_subject(
            options.target,
            options.grad,
            theta=options.theta,
            args=options.args,
            layout=options.layout,
            bounds=named,
            kind=options.kind or _OF_FORM.get(options.form),
            vectors=int(options.form not in (None, "matrix")),
        )
        from fastgradcheck.testing import stopped_by_hand

        result = _checker(subject.kind)(
            subject.cost,
            subject.grad,
            subject.theta,
            args=subject.args,
            layout=subject.layout,
            bounds=options.bounds if named is None and options.bounds else subject.bounds,
            **({"outputs": subject.outputs} if subject.kind == "jacobian" else {}),
            **({"form": options.form} if options.form is not None else {}),
            **given,
        )
    _deliver(result, options)
    return _INTERRUPTED if stopped_by_hand(result) else _STATUS[result.verdict.name]


_OF_FORM = {"jvp": "jacobian", "vjp": "jacobian", "hvp": "hessian"}
"""What is checked by products, where --kind does not say it."""


def _checker(kind: str) -> Callable[..., GradcheckResult]:
    """The check of a gradient, a Jacobian or a Hessian."""
    if kind == "gradient":
        from fastgradcheck.check import gradcheck

        return gradcheck
    from fastgradcheck.jacobians.check import hesscheck, jaccheck

    return jaccheck if kind == "jacobian" else hesscheck


def _demo(options: argparse.Namespace) -> int:
    from fastgradcheck.cli import demo

    return demo.main(output=options.output)


def _doctor(_: argparse.Namespace) -> int:
    from fastgradcheck.cli import doctor

    doctor.show(doctor.examine())
    return 0


def _deliver(result: GradcheckResult, options: argparse.Namespace) -> None:
    from fastgradcheck.report.text import render

    if options.html is not None:
        result.to_html(options.html)
    if options.json is not None and options.json != "-":
        Path(options.json).write_text(result.to_json(indent=2) + "\n", encoding="utf-8")
    if options.json == "-":
        text = result.to_json(indent=2)
    else:
        color = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        text = render(result, verbose=options.verbose, color=color)
    print(text, flush=True)


def _require_writable(name: str | None) -> None:
    """Refuse before the work what could not be written after it."""
    if name is None or name == "-":
        return
    path = Path(name)
    if path.is_dir():
        raise GradcheckInputError(f"{path} is a folder: name the file to write.")
    if not path.parent.is_dir():
        raise GradcheckInputError(
            f"{path} cannot be written: the folder {path.parent} does not exist. Create it first."
        )
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise GradcheckInputError(f"{path} cannot be written: permission denied.")


def _refuse(error: BaseException) -> int:
    """Tell an exception in a paragraph; its traceback only where the user's code raised it."""
    known = isinstance(error, (GradcheckInputError, CostEvaluationError))
    if not known and is_our_fault(error):
        _tell("this is a fault of fastgradcheck itself; please report it with the traceback below.")
        sys.excepthook(type(error), error, error.__traceback__)
        return _OUR_FAULT
    _tell(f"error: {error if known else f'your code raised {told(error)}'}")
    cause = error.__cause__ if known else error
    if isinstance(error, CheckpointError):
        cause = None  # a file, and no code of the user's
    trace = user_traceback(cause) if cause is not None else ""
    if trace:
        print(f"\n{trace}", file=sys.stderr)
    elif not known:
        _tell("compiled code leaves no traceback: NUMBA_DISABLE_JIT=1 shows the line.")
    return _BAD_INPUT


def _tell(message: str) -> None:
    """One paragraph on stderr, wrapped between words on a terminal, left whole in a log."""
    text = f"fastgradcheck: {message}"
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns
        text = "\n".join(
            textwrap.fill(line, width, break_on_hyphens=False, break_long_words=False)
            for line in text.splitlines()
        )
    print(text, file=sys.stderr)


def _is_target(word: str) -> bool:
    return word.endswith(".py") or (":" in word and not word.startswith("-"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastgradcheck",
        description="Is my gradient the gradient of my cost, and if not, where and why?",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_check(commands)
    demo = commands.add_parser("demo", help="a guided tour, on scikit-learn's handwritten digits")
    demo.add_argument(
        "--output", type=Path, metavar="DIR", help="write an HTML report and four pictures there"
    )
    demo.set_defaults(run=_demo)
    doctor = commands.add_parser("doctor", help="what this machine offers, and what it costs")
    doctor.set_defaults(run=_doctor)
    return parser


def _add_check(commands: Any) -> None:
    check = commands.add_parser(
        "check",
        usage="fastgradcheck check MODULE[:COST] [[MODULE:]GRAD] [options]   (--help lists them)",
        help="check the gradient that a file or module defines",
        description="Check the gradient that a file or module defines.",
        epilog=_EXAMPLES + _EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    check.set_defaults(run=_check)
    what = check.add_argument_group("what to check (a NAME alone is looked up in MODULE)")
    what.add_argument(
        "target",
        metavar="MODULE[:COST]",
        help="a file (model.py) or a module that defines cost, grad, theta and, if needed, args, "
        "layout and bounds; or fun and jac, or grad and hess, in the place of cost and grad",
    )
    what.add_argument("grad", nargs="?", metavar="[MODULE:]GRAD", help="the gradient's name")
    what.add_argument(
        "--kind",
        choices=("gradient", "jacobian", "hessian"),
        help="cost and grad, fun and jac, or grad and hess; by default what a file without a cost "
        "defines",
    )
    what.add_argument(
        "--form",
        choices=("matrix", "jvp", "vjp", "hvp"),
        help="what jac or hess returns: the matrix, or its product with a vector",
    )
    for name in _NAMES:
        what.add_argument(f"--{name}", metavar="[MODULE:]NAME", help=f"the name of {name}")
    what.add_argument(
        "--bounds",
        type=_bounds,
        metavar="BOUNDS",
        help="J is never evaluated outside: 0:1, 0: (open above), -1:1 or "
        "W1=0:1,b1=0:; or, as above, the name of bounds",
    )
    how = check.add_argument_group("how (the arguments of fastgradcheck.gradcheck)")
    for name, (parse, metavar, text) in _CHECK_OPTIONS.items():
        how.add_argument(
            f"--{name.replace('_', '-')}",
            type=parse,
            metavar=metavar,
            help=text,
            default=argparse.SUPPRESS,  # the defaults are gradcheck's own
        )
    output = check.add_argument_group("output")
    output.add_argument(
        "--json", metavar="FILE", help="write the result as JSON; - puts it in the report's place"
    )
    output.add_argument("--html", metavar="FILE", help="write the report as one HTML page")
    output.add_argument(
        "--verbose", action="store_true", help="report every block, component and finding"
    )


def _per_block(scalar: Callable[[str], Any], what: str) -> Callable[[str], Any]:
    """A parser of one value for all of theta, or of ``W1=value,b1=value``."""

    def parse(text: str) -> Any:
        try:
            if "=" not in text:
                return scalar(text)
            pairs = (item.rpartition("=") for item in text.split(","))
            return {name.strip(): scalar(value.strip()) for name, _, value in pairs}
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}") from None

    return parse


def _share(text: str) -> float | None:
    if text == "all":
        return None
    return int(text) if text.lstrip("-").isdecimal() else float(text)


def _interval(text: str) -> tuple[float | None, float | None]:
    low, colon, high = text.partition(":")
    if not colon:
        raise ValueError
    return (float(low) if low else None, float(high) if high else None)


def _step(text: str) -> float | str:
    return text if text == "auto" else float(text)


_interval_or_blocks = _per_block(
    _interval, "bounds: write 0:1, 0: (open above), W1=0:1,b1=0: or the name of bounds"
)


def _bounds(text: str) -> Any:
    """``LOW:HIGH``, or that by block; text that ends in a name is left as it is."""
    try:
        return _interval_or_blocks(text)
    except argparse.ArgumentTypeError:
        if "=" in text or not text.split(":")[-1].replace(".", "_").isidentifier():
            raise
        return text


_CHECK_OPTIONS: dict[str, tuple[Callable[[str], Any], str, str]] = {
    "sample": (
        _per_block(_share, "a sample: write 0.1 (a fraction), 100 (a count) or W1=0.1,b1=all"),
        "SAMPLE",
        "check a random part: 0.1 (a fraction; beyond 2,000 components, directions cover the "
        "others), 100 (a count) or W1=0.1,b1=all",
    ),
    "strategy": (
        str,
        "NAME",
        "auto, components (each by itself) or screen (directions over all blocks at once)",
    ),
    "scheme": (str, "NAME", "central, forward, central4 or complex"),
    "epsilon": (
        _per_block(_step, "a step: write auto, 1e-6 or W1=1e-6,b1=1e-4"),
        "STEP",
        "auto, or a step in theta's units: 1e-6 or W1=1e-6,b1=1e-4",
    ),
    "threshold": (float, "T", "tolerance of the relative difference (1e-7)"),
    "rtol": (float, "R", "tolerance of a single component (1e-5)"),
    "engine": (str, "NAME", "auto, numba or python"),
    "n_jobs": (int, "K", "threads or processes; -1 for all cores"),
    "budget": (float, "SECONDS", "stop after that long with what was covered by then"),
    "checkpoint": (str, "FILE", "continue from this file if it exists, and keep it up to date"),
    "seed": (int, "SEED", "repeat the random choices of an earlier report"),
}
