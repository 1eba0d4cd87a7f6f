"""How many workers one loop can serve: executor="ray" over simulated actors, in virtual time, without Ray.

    python -m benchmarks.cluster_loop            10 to 1,000 actors
    python -m benchmarks.cluster_loop --ray      what a call of Ray costs this process besides, where Ray is installed

An actor here runs trials that report once in a virtual second, which is dear: actors that report more often say more in a message.
Whenever the loop would sleep, virtual time goes on. All else is what a run does: journal, judgements,
answers, spans. What is measured is the processor time of the process, so a busy machine changes little; where it is one second for a
virtual second, the loop is full.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import pickle
import tempfile
import time
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import fasttune as tune
from fasttune import _core
from fasttune.executors import ray as executor_of_ray
from fasttune.executors.ray_actor import Dispatch, Greeting
from fasttune.executors.ray_wire import Mail
from fasttune.schedulers import ASHAScheduler

PERIOD_S = 1.0  # virtual, between two reports of an actor
REPORTS = 27  # of a trial, if nothing stops it
SETTINGS: dict[str, Callable[[], Any]] = {
    "no scheduler": lambda: None,
    "ASHA": lambda: ASHAScheduler(max_t=REPORTS, grace_period=1, reduction_factor=3),
}


def trained(config: dict[str, Any]) -> None:
    """Never called: actors know what it would report."""


class Answer:
    """What stands for a reference of Ray's, and its future."""

    def __init__(self) -> None:
        self._called: Callable[[Any], None] | None = None
        self._value: Any = None

    def future(self) -> Answer:
        return self

    def add_done_callback(self, called: Callable[[Any], None]) -> None:
        self._called = called

    def exception(self) -> None:
        return None

    def result(self) -> Any:
        return self._value

    def arrives(self, value: Any) -> None:
        self._value = value
        assert self._called is not None, "somebody waits for it"
        self._called(self)


class World:
    """Virtual time, and what happens in it: calls, by when they are due."""

    def __init__(self) -> None:
        self.now = self.last = 0.0  # the last: when something happened
        self.messages = 0
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def after(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now + seconds, next(self._count), what))

    def go_on(self, seconds: float) -> None:
        until = self.now + seconds
        while self._due and self._due[0][0] <= until:
            self.last, _, what = heapq.heappop(self._due)
            self.now = self.last
            what()
        self.now = until


class VirtualMail(Mail):
    """Whoever waits for messages lets virtual time go on."""

    world: World

    def wait(self, timeout: float) -> None:
        if not self._letters:
            self.world.go_on(timeout)


class Method:
    """``actor.method.remote(...)``."""

    def __init__(self, called: Callable[..., Any]) -> None:
        self.remote = called


class Simulated:
    """An actor whose trials report a falling loss once in a period."""

    def __init__(self, world: World, phase: float) -> None:
        self.world = world
        self.phase = phase
        self.source = -1
        self.trials: deque[int] = deque()
        self.waits: Answer | None = None  # a call of listen
        self.gather_s = 0.01
        self.urgent = self.gathers = False
        self.events: list[tuple[Any, ...]] = []
        self.stops = False
        self.greet, self.tell, self.listen, self.leave = map(Method, (self._greet, self._tell, self._listen, Answer))

    def _greet(self, briefing: Any, program: Any) -> Answer:
        self.ring = _core.Ring(bytearray(_core.Ring.HEADER + (1 << 16)), create=True)
        self.reporter = program.reporter(self.ring, program.rule.build() if program.rule.kind != "none" else None)
        answer = Answer()
        self.world.after(self.phase, lambda: answer.arrives(Greeting(1, "simulated", briefing.path, True)))
        return answer

    def _tell(self, number: int, messages: list[tuple[Any, ...]]) -> None:
        for kind, *told in messages:
            if kind == "begin":
                self.source = told[0]
            elif kind == "stop":
                self.stops = True
            elif kind == "order":
                self._order(*told[1:])

    def _order(self, kind: int, trial: int, step: int, payload: bytes, flags: int) -> None:
        if kind == _core.KIND_ANSWER:
            self.reporter.judged(int.from_bytes(payload, "little"), flags)
            if flags == _core.STOP:
                self._end(_core.STOP)
            else:
                self.world.after(PERIOD_S, self._report)
            return
        if kind == _core.KIND_EXIT:
            self.events.append(("exit", self.source, 0, "", ""))
            self.urgent = True
            self.world.after(0.0, self._speak)
        if kind not in (_core.KIND_RUN, _core.KIND_RUN_ONE):
            return
        idle = not self.trials
        self.trials.extend(range(trial, trial + step) if kind == _core.KIND_RUN else [pickle.loads(payload).trial])
        if idle:
            self._begin()

    def _begin(self) -> None:
        self.ring.hold(self.world.now)
        self.reporter.begin(self.trials[0])
        self._gather()
        self.world.after(PERIOD_S, self._report)

    def _report(self) -> None:
        self.ring.hold(self.world.now)
        trial, step = self.trials[0], self.reporter.iteration + 1
        code = self.reporter.report({"loss": (trial * 0.6180339887 % 1.0) + 1.0 / step})
        if code == _core.STOP or step == REPORTS or self.stops:
            self._end(_core.STOP if code == _core.STOP or self.stops else 0)
        elif code == _core.CONTINUE:
            self.world.after(PERIOD_S, self._report)
            return
        self.urgent = True
        self._speak()

    def _end(self, flags: int) -> None:
        self.stops = False
        self.reporter.end(flags)
        self.ring.order_done()
        self.trials.popleft()
        if self.trials:
            self._begin()
        self.urgent = True
        self._speak()

    def _listen(self, gather_s: float) -> Answer:
        self.gather_s = gather_s
        self.waits = Answer()
        if self.urgent:
            self.world.after(0.0, self._speak)
        self._gather()
        return self.waits

    def _gather(self) -> None:
        """What there is in a while is told then, if nothing that is urgent comes before."""
        if not self.gathers and self.trials:
            self.gathers = True
            self.world.after(self.gather_s, self._gathered)

    def _gathered(self) -> None:
        self.gathers = False
        self._speak()
        self._gather()

    def _speak(self) -> None:
        if self.waits is None:
            return
        data = self.ring.take()
        if data is None and not self.events:
            return
        records = b"" if data is None else bytes(data)
        self.ring.release()
        events, self.events = tuple(self.events), []
        self.urgent = False
        self.world.messages += 1
        waits, self.waits = self.waits, None
        busy = self.trials[0] if self.trials else -1
        waits.arrives(Dispatch(self.source, self.ring.position, self.ring.orders, 0, busy, 0, records, events=events))


class SimulatedRay(SimpleNamespace):
    """As much of the module ``ray`` as an executor asks for."""

    def __init__(self, world: World, actors: int) -> None:
        phases = (k / actors * PERIOD_S for k in itertools.count())
        made = SimpleNamespace(remote=lambda: Simulated(world, next(phases)))
        super().__init__(
            nodes=lambda: [{"Alive": True, "Resources": {"CPU": float(actors)}}],
            put=pickle.loads,
            kill=lambda actor: None,
            wait=lambda *answers, **more: None,
            remote=lambda kind: SimpleNamespace(options=lambda **more: made),
            exceptions=SimpleNamespace(),
        )


def measured(actors: int, scheduler: Any, trials: int) -> tuple[float, float, int, int]:
    """(virtual seconds, processor seconds, reports, messages of actors) of one run."""
    world = World()
    VirtualMail.world = world
    cluster = SimulatedRay(world, actors)
    executor_of_ray.connected = lambda: cluster  # type: ignore[assignment]
    executor_of_ray.Mail = VirtualMail  # type: ignore[misc]
    executor_of_ray.MOST_ASKED_FOR = actors
    # By the clock of this machine trials of half a minute take milliseconds, and many of them would be given at once.
    executor_of_ray.RayExecutor._fitting_grant = lambda self, slot: 1  # type: ignore[method-assign]
    with tempfile.TemporaryDirectory() as folder:
        began = time.process_time()
        analysis = tune.run(
            trained, config={"x": tune.uniform(0, 1)}, num_samples=trials, metric="loss", mode="min", scheduler=scheduler,
            executor="ray", storage_path=folder, verbose=0, seed=0,
        )  # fmt: skip
        seconds = time.process_time() - began
        reports = int(analysis.dataframe()["training_iteration"].sum())
    return world.last, seconds, reports, world.messages


class Answering:
    """A real actor that has always something to tell."""

    def listen(self, gather_s: float) -> Dispatch:
        return Dispatch(1, 64, 0, 0, 1, 0, bytes(64))

    def tell(self, number: int, messages: list[Any]) -> None:
        return None


def cost_of_calls(calls: int) -> tuple[float, float]:
    """Processor seconds of this process for one call of ``listen`` that is answered, and for one of ``tell``."""
    import ray

    ray.init(address="local", num_cpus=1, include_dashboard=False, object_store_memory=100_000_000, log_to_driver=False)
    try:
        actor = ray.remote(Answering).options(max_concurrency=4).remote()
        ray.get(actor.listen.remote(0.01))
        mail = Mail()
        began = time.process_time()
        for _ in range(calls):
            mail.expect("told", actor, actor.listen.remote(0.01))
            while not mail.has_message(1.0):
                mail.quiet_bell()
            mail.hear()
        listened = time.process_time() - began
        began = time.process_time()
        for number in range(calls):
            actor.tell.remote(number, [("order", 1, _core.KIND_ANSWER, 1, 0, bytes(8), 0)])
        ray.get(actor.listen.remote(0.01))
        told = time.process_time() - began
        mail.close()
    finally:
        ray.shutdown()
    return listened / calls, told / calls


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster_loop", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--actors", default="10,100,1000", help="how many, separated by commas")
    parser.add_argument("--trials", type=int, default=4, help="for each actor")
    parser.add_argument("--ray", action="store_true", help="measure calls of Ray instead")
    args = parser.parse_args()
    if args.ray:
        listened, told = cost_of_calls(2_000)
        print(f"a call of listen that is answered: {1e6 * listened:.0f} us of this process; a call of tell: {1e6 * told:.0f} us")
        return
    print("| scheduler | actors | trials | reports | messages | virtual s | processor s | us a report | busy | full at reports/s |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|")
    for name, scheduler in SETTINGS.items():
        for actors in map(int, args.actors.split(",")):
            virtual, seconds, reports, messages = measured(actors, scheduler(), actors * args.trials)
            print(
                f"| {name} | {actors:,} | {actors * args.trials:,} | {reports:,} | {messages:,} | {virtual:.0f} | {seconds:.2f} | "
                f"{1e6 * seconds / reports:.0f} | {seconds / virtual:.1%} | {reports / seconds:,.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
