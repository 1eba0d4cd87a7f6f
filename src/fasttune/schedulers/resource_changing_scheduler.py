"""ResourceChangingScheduler, under the name that Ray Tune has it under. It lives in ``resource_changing``."""

from fasttune.schedulers.resource_changing import DistributeResources as DistributeResources
from fasttune.schedulers.resource_changing import DistributeResourcesToTopJob as DistributeResourcesToTopJob
from fasttune.schedulers.resource_changing import ResourceChangingScheduler as ResourceChangingScheduler
