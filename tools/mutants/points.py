"""Mutation points: places in a module where one small change is made."""

from __future__ import annotations

import ast
import copy
import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In,  # codespell:ignore notin
}  # fmt: skip
BOUNDARIES = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
LARGE = 50
"""A step of one in a constant beyond this is hardly more than rounding."""


@dataclass(frozen=True)
class Point:
    """One change of one module.

    Attributes:
        path: The module, relative to the repository.
        lines: First and last line of the statement; all of the module where it runs on import.
        span: Start and end in the module's bytes.
        text: What replaces them.
        kind: The operator's name.
        suspect: The change may well be equivalent: a boundary, a large constant, a log line.
    """

    path: Path
    lines: tuple[int, int]
    span: tuple[int, int]
    text: str
    kind: str
    suspect: bool

    def applied(self, source: bytes) -> bytes:
        """Return the module's source with the change."""
        start, end = self.span
        return source[:start] + self.text.encode() + source[end:]

    def diff(self, source: bytes) -> str:
        """Return the change as a unified diff."""
        before, after = source.decode(), self.applied(source).decode()
        names = f"a/{self.path}", f"b/{self.path}"
        both = before.splitlines(keepends=True), after.splitlines(keepends=True)
        return "".join(difflib.unified_diff(*both, *names, n=2))

    def is_change(self, source: bytes) -> bool:
        """Return whether the changed module compiles, to other instructions."""
        try:
            changed = compile(self.applied(source), "module", "exec")
        except SyntaxError:
            return False
        return _instructions(changed) != _instructions(compile(source, "module", "exec"))


def points_of(path: Path, source: bytes) -> list[Point]:
    """Return the places of a module where it can be changed."""
    return list(_Finder(path, source).of_module())


class _Finder:
    def __init__(self, path: Path, source: bytes) -> None:
        self._path, self._source = path, source
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._whole = (1, len(self._starts))

    def of_module(self) -> Iterator[Point]:
        tree = ast.parse(self._source)
        yield from self._of_body(tree.body, on_import=True)

    def _of_body(self, body: list[ast.stmt], *, on_import: bool) -> Iterator[Point]:
        for stmt in body:
            is_text = isinstance(stmt, ast.Expr) and isinstance(stmt.value, ast.Constant)
            if is_text or (isinstance(stmt, ast.If) and "TYPE_CHECKING" in ast.unparse(stmt.test)):
                continue
            nested = [
                child for _, child in ast.iter_fields(stmt)
                if isinstance(child, list) and child and isinstance(child[0], ast.stmt)
            ]  # fmt: skip
            in_function = isinstance(stmt, ast.FunctionDef | ast.AsyncFunctionDef)
            lines = self._whole if on_import else self._lines(stmt)
            yield from self._of_statement(stmt, lines)
            for child in nested:
                yield from self._of_body(child, on_import=on_import and not in_function)
            for handler in getattr(stmt, "handlers", []):
                yield from self._of_body(handler.body, on_import=on_import)
            for case in getattr(stmt, "cases", []):
                yield from self._of_body(case.body, on_import=on_import)

    def _lines(self, stmt: ast.stmt) -> tuple[int, int]:
        """Return the lines of a statement's head."""
        body = getattr(stmt, "body", None)
        end = body[0].lineno - 1 if isinstance(body, list) and body else stmt.end_lineno
        return stmt.lineno, max(stmt.lineno, end or stmt.lineno)

    def _of_statement(self, stmt: ast.stmt, lines: tuple[int, int]) -> Iterator[Point]:
        match stmt:
            case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
                yield from self._point(stmt, lines, "return None", "return value")
            case ast.Raise() | ast.AugAssign():
                yield from self._point(stmt, lines, "pass", "removed statement")
            case ast.Expr(value=ast.Call() | ast.Await() as value):
                called = ast.unparse(value)
                is_log = "log" in called.partition("(")[0].lower()
                yield from self._point(stmt, lines, "pass", "removed statement", suspect=is_log)
            case ast.If(test=test) | ast.While(test=test):
                yield from self._point(test, lines, f"not ({ast.unparse(test)})", "condition")
            case _:
                pass
        for expression in _expressions(stmt):
            yield from self._of_expression(expression, lines)

    def _of_expression(self, node: ast.expr, lines: tuple[int, int]) -> Iterator[Point]:
        changed: Any = copy.deepcopy(node)
        kind, suspect = "", False
        match node:
            case ast.Compare(ops=[op]) if type(op) in COMPARISONS:
                changed.ops = [COMPARISONS[type(op)]()]
                kind, suspect = "comparison", isinstance(op, BOUNDARIES)
            case ast.BinOp(op=op) if type(op) in ARITHMETIC and not _has_text(node):
                changed.op, kind = ARITHMETIC[type(op)](), "arithmetic"
            case ast.BoolOp(op=op):
                changed.op = ast.Or() if isinstance(op, ast.And) else ast.And()
                kind = "boolean"
            case ast.IfExp(test=test):
                changed.test, kind = ast.UnaryOp(ast.Not(), test), "condition"
            case ast.Constant(value=bool() as value):
                changed.value, kind = not value, "constant"
            case ast.Constant(value=int() | float() as value):
                changed.value, kind = value + 1, "constant"
                suspect = abs(value) > LARGE
                yield from self._point(node, lines, f"({value - 1!r})", kind, suspect=suspect)
            case ast.Call(args=[first, second, *_]) if not any(
                isinstance(arg, ast.Starred) for arg in (first, second)
            ):
                changed.args[:2], kind = [second, first], "swapped arguments"
            case _:
                return
        yield from self._point(node, lines, f"({ast.unparse(changed)})", kind, suspect=suspect)

    def _point(
        self,
        node: ast.stmt | ast.expr,
        lines: tuple[int, int],
        text: str,
        kind: str,
        *,
        suspect: bool = False,
    ) -> Iterator[Point]:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        start = self._starts[node.lineno - 1] + node.col_offset
        end = self._starts[node.end_lineno - 1] + node.end_col_offset
        yield Point(self._path, lines, (start, end), text, kind, suspect)


def _instructions(code: Any) -> tuple[Any, ...]:
    """Return what a code object does, without its line numbers."""
    inner = tuple(
        _instructions(c) if hasattr(c, "co_code") else (type(c), c) for c in code.co_consts
    )
    return (code.co_code, code.co_names, inner)


def _expressions(stmt: ast.stmt) -> Iterator[ast.expr]:
    """Yield the expressions of a statement's head, without annotations, patterns and f-strings."""
    waiting: list[ast.AST] = [
        child for name, value in ast.iter_fields(stmt)
        if name not in {"annotation", "returns", "type_params"}
        for child in (value if isinstance(value, list) else [value])
        if isinstance(child, ast.expr | ast.arguments | ast.withitem | ast.keyword)
    ]  # fmt: skip
    waiting += [case.guard for case in getattr(stmt, "cases", []) if case.guard is not None]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.JoinedStr | ast.arg | ast.Lambda):
            continue
        if isinstance(node, ast.expr):
            yield node
        waiting += ast.iter_child_nodes(node)


def _has_text(node: ast.BinOp) -> bool:
    return any(
        isinstance(inner, ast.JoinedStr)
        or (isinstance(inner, ast.Constant) and isinstance(inner.value, str | bytes))
        for inner in (node.left, node.right)
    )
