"""What a searcher derives from, under the name that Ray Tune has it under. It lives in ``search/base.py``."""

from fasttune.search.base import Searcher as Searcher
