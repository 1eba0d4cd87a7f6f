"""The domains and samplers, under the name that Ray Tune has them under. They live in ``fasttune.space``."""

from __future__ import annotations

from fasttune.space import Categorical as Categorical
from fasttune.space import Domain as Domain
from fasttune.space import Float as Float
from fasttune.space import Function as Function
from fasttune.space import Grid as Grid
from fasttune.space import Integer as Integer
from fasttune.space import LogUniform as LogUniform
from fasttune.space import Normal as Normal
from fasttune.space import Quantized as Quantized
from fasttune.space import Sampler as Sampler
from fasttune.space import Uniform as Uniform
from fasttune.space import choice as choice
from fasttune.space import lograndint as lograndint
from fasttune.space import loguniform as loguniform
from fasttune.space import qlograndint as qlograndint
from fasttune.space import qloguniform as qloguniform
from fasttune.space import qrandint as qrandint
from fasttune.space import qrandn as qrandn
from fasttune.space import quniform as quniform
from fasttune.space import randint as randint
from fasttune.space import randn as randn
from fasttune.space import sample_from as sample_from
from fasttune.space import uniform as uniform
