"""The domains and samplers, under the name that Ray Tune has them under. They live in ``fasttune.space``."""

from __future__ import annotations

from fasttune.space.domains import Categorical as Categorical
from fasttune.space.domains import Domain as Domain
from fasttune.space.domains import Float as Float
from fasttune.space.domains import Function as Function
from fasttune.space.domains import Grid as Grid
from fasttune.space.domains import Integer as Integer
from fasttune.space.domains import LogUniform as LogUniform
from fasttune.space.domains import Normal as Normal
from fasttune.space.domains import Quantized as Quantized
from fasttune.space.domains import Sampler as Sampler
from fasttune.space.domains import Uniform as Uniform
from fasttune.space.functions import choice as choice
from fasttune.space.functions import lograndint as lograndint
from fasttune.space.functions import loguniform as loguniform
from fasttune.space.functions import qlograndint as qlograndint
from fasttune.space.functions import qloguniform as qloguniform
from fasttune.space.functions import qrandint as qrandint
from fasttune.space.functions import qrandn as qrandn
from fasttune.space.functions import quniform as quniform
from fasttune.space.functions import randint as randint
from fasttune.space.functions import randn as randn
from fasttune.space.functions import sample_from as sample_from
from fasttune.space.functions import uniform as uniform
