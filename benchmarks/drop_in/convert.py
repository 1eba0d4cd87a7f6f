"""A program for Ray Tune, changed as docs/coming_from_ray_tune.md tells its owner to.

``from ray import tune`` becomes ``import fasttune as tune``; ``ray.tune.x`` becomes ``fasttune.x``, or where the page's table says
that a name lives; ``ray.init()`` and ``ray.shutdown()`` go. Nothing else is touched.
"""

from __future__ import annotations

import ast

EXAMPLES = "ray.tune.examples."  # they import each other: from the folder that they lie in
# Modules whose names live elsewhere, as the table of the page has it.
MOVED = {
    "ray.air.integrations.comet": "fasttune.integration.comet",
    "ray.air.integrations.keras": "fasttune.integration.keras",
    "ray.air.integrations.mlflow": "fasttune.integration.mlflow",
    "ray.air.integrations.wandb": "fasttune.integration.wandb",
    "ray.tune.execution.placement_groups": "fasttune",
    "ray.tune.utils.mock_trainable": "mock_trainable",
}
GONE = frozenset(["init", "shutdown"])


def converted(source: str) -> str:
    """The program with its imports changed."""
    tree = _Convert().visit(ast.parse(source))
    return ast.unparse(ast.fix_missing_locations(tree))


def module_of(name: str) -> str:
    """Where a module of Ray Tune's is here."""
    if name == "ray":
        return "fasttune"  # for ``ray.tune.report`` below
    if name in MOVED:
        return MOVED[name]
    if name.startswith(EXAMPLES):
        return name.removeprefix(EXAMPLES)
    return "fasttune" + name.removeprefix("ray.tune") if f"{name}.".startswith("ray.tune.") else name


class _Convert(ast.NodeTransformer):
    def visit_Import(self, node: ast.Import) -> ast.AST:
        return ast.Import([ast.alias(module_of(one.name), one.asname) for one in node.names])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | list[ast.AST]:
        if node.level or node.module is None or not f"{node.module}.".startswith("ray."):
            return node
        if node.module != "ray":
            return ast.ImportFrom(module_of(node.module), node.names, 0)
        tune = [one for one in node.names if one.name == "tune"]
        others = [one for one in node.names if one.name != "tune"]
        made: list[ast.AST] = [ast.Import([ast.alias("fasttune", one.asname or "tune")]) for one in tune]
        return [*made, ast.ImportFrom("ray", others, 0)] if others else made

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        call = node.value
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in GONE:
            owner = call.func.value
            if isinstance(owner, ast.Name) and owner.id == "ray":
                return ast.Pass()
        return self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """``ray.tune.report`` of a program that says ``import ray`` is ``fasttune.report``."""
        self.generic_visit(node)
        if node.attr == "tune" and isinstance(node.value, ast.Name) and node.value.id == "ray":
            return ast.Name("fasttune", node.ctx)
        return node
