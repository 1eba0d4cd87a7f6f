"""Experiments in the forms of other programs: ``analysis.export(path, format=...)`` and ``fasttune export``.

A form is a module of this package with a function ``write(analysis, path, ...)``, and an entry in ``forms.FORMATS``.
"""

from fasttune.analysis.exchange.forms import FORMATS as FORMATS
from fasttune.analysis.exchange.forms import Format as Format
from fasttune.analysis.exchange.forms import export as export
from fasttune.analysis.exchange.forms import format_of as format_of

__all__ = ["FORMATS", "Format", "export", "format_of"]
