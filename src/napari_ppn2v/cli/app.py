"""All commands, and what an error or Ctrl-C means to the shell."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from napari_ppn2v import __version__
from napari_ppn2v.cli.apply import apply
from napari_ppn2v.cli.check import check
from napari_ppn2v.cli.demo import demo
from napari_ppn2v.cli.denoise import denoise, train
from napari_ppn2v.cli.evaluate import evaluate
from napari_ppn2v.cli.export import export
from napari_ppn2v.cli.info import info
from napari_ppn2v.cli.inspect import inspect
from napari_ppn2v.cli.noise_model import library_app, noise_model_app
from napari_ppn2v.cli.output import complain, say
from napari_ppn2v.cli.repeats import repeats
from napari_ppn2v.cli.report import report
from napari_ppn2v.cli.simulate import simulate
from napari_ppn2v.errors import PPN2VError

EXIT_BAD = 2
EXIT_INTERRUPTED = 130

DESCRIPTION = """Denoise microscopy images without clean data.

The noisy frames themselves are all it needs: a network learns from them what the
images look like, a noise model what the camera does, and both together give for each
pixel the mean of what it may have been (Probabilistic Noise2Void, bootstrapped).

The shortest way to a result:

    napari-ppn2v denoise noisy.tif -o denoised.ome.tif

To see it work within minutes, without data of your own:

    napari-ppn2v demo -o demo
"""


class _Commands(TyperGroup):
    """Commands whose errors are sentences, with the exit codes that scripts expect."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except PPN2VError as error:
            complain(str(error))
            for hint in getattr(error, "__notes__", ()):
                say(hint)
            raise typer.Exit(EXIT_BAD) from None
        except KeyboardInterrupt:
            complain("Interrupted.")
            raise typer.Exit(EXIT_INTERRUPTED) from None


app = typer.Typer(
    cls=_Commands,
    help=DESCRIPTION,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    """Take the options that belong to no command."""


app.command()(check)
app.command()(denoise)
app.command()(train)
app.command(name="apply")(apply)
noise_model_app.add_typer(library_app, name="library")
app.add_typer(noise_model_app, name="noise-model")
app.command()(inspect)
app.command()(simulate)
app.command()(evaluate)
app.command()(info)
app.command()(export)
app.command()(repeats)
app.command()(report)
app.command()(demo)
app.info.help = DESCRIPTION
