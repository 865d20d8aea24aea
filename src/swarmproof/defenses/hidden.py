"""What in a program hides which code runs: lists of names, and where a syntax tree has them.

Knows no defence, and runs and imports nothing of the program. The lists were made by going over the
standard library of Python 3.11 to 3.13: what imports, evaluates or looks up by a name that is given
as text, and what such a module is called where another module has it as an attribute. Time and
memory are linear in the length of the program, because programs come from peers.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Sequence

from swarmproof.defenses.bindings import Names, bound, walk, with_own, without_modules

# Modules that import or run by name, or that hand out the names of other code.
MODULES = frozenset(
    (
        *("__main__", "_frozen_importlib", "_frozen_importlib_external", "_imp", "_sitebuiltins"),
        *("annotationlib", "bdb", "builtins", "cProfile", "code", "codeop", "ctypes", "_ctypes"),
        *("dbm", "distutils", "doctest", "ensurepip", "gc", "idlelib", "imp", "importlib"),
        *("inspect", "lib2to3", "marshal", "modulefinder", "multiprocessing", "optparse", "pdb"),
        *("pickle", "_pickle", "pipes", "pkgutil", "_posixsubprocess", "profile", "pty", "pydoc"),
        *("_pyrepl", "rlcompleter", "runpy", "shelve", "site", "subprocess", "sysconfig"),
        *("_bootsubprocess", "_interpreters", "_xxsubinterpreters", "timeit", "trace"),
        *("turtledemo", "unittest", "venv", "zipimport"),
    )
)
SUBMODULES = frozenset(("logging.config", "asyncio.__main__"))
# Ordinary words. No module that may be imported has such a module as its attribute.
_WORDS = frozenset(("code", "dbm", "imp", "pipes", "profile", "site", "trace"))
# As a name, an attribute, or a text that names an attribute.
_REACHED = frozenset(
    (
        *("__import__", "exec", "eval", "compile", "__builtins__", "__loader__", "__spec__"),
        *("__self__", "__globals__", "__dict__", "__subclasses__", "__getattribute__"),
        *("__getattr__", "__code__", "__annotations__", "__match_args__", "__args__"),
    )
)
# As names only: builtins that look up names, or import what a text names.
_CALLED = frozenset(("globals", "locals", "vars", "help", "breakpoint"))
# As an attribute, or imported from a module.
_TAKEN = (MODULES - _WORDS) | {
    *("modules", "meta_path", "path_hooks", "path_importer_cache", "breakpointhook"),  # of sys
    *("bltns", "ForkingPickler", "_ForkingPickler"),  # so enum calls builtins
    *("_getframe", "_getframemodulename", "_current_frames", "f_builtins", "f_globals", "f_locals"),
    *("f_back", "f_code", "tb_frame", "gi_frame", "gi_code", "cr_frame", "cr_code", "ag_frame"),
    *("ag_code", "FunctionType", "LambdaType", "CodeType"),
    *("ForwardRef", "__forward_code__", "get_type_hints", "evaluate_forward_ref"),
    *("_eval_type", "_evaluate", "singledispatch", "singledispatchmethod"),
    *("_create_fn", "_FuncBuilder", "_convert_", "Formatter", "resolve_dotted_attribute"),
    *("StrFormatter", "_str_formatter"),  # so logging calls that of string
    *("make_parser", "_create_parser", "getDOMImplementation", "registerDOMImplementation"),
    *("well_known_implementations", "_getcategory", "_setoption", "_processoptions"),
    *("system", "popen", "posix_spawn", "posix_spawnp", "startfile"),
    *("execl", "execle", "execlp", "execlpe", "execv", "execve", "execvp", "execvpe"),
    *("spawnl", "spawnle", "spawnlp", "spawnlpe", "spawnv", "spawnve", "spawnvp", "spawnvpe"),
    *("create_subprocess_exec", "create_subprocess_shell", "subprocess_exec", "subprocess_shell"),
}
_ATTRIBUTES = (_REACHED - {"compile"}) | _TAKEN  # `re.compile` hides nothing
# What these modules have under a name of the lists, and what hides nothing.
_HARMLESS = {"logging": "Formatter", "platform": "system"}
# Ordinary words, that lead to harm only from a module.
_OF_MODULES = frozenset(("gc", "inspect", "modules", "system", "timeit", "unittest"))
# They take names of attributes as texts, at these places among their arguments.
_GETTERS = {"getattr": slice(1, 2), "attrgetter": slice(None), "methodcaller": slice(1)}
_PLAIN = _REACHED | _CALLED | frozenset(_GETTERS)  # names that need no star import


def modules(node: ast.AST) -> list[str]:
    """The modules that a statement imports and that hide what runs."""
    match node:
        case ast.Import(names=names):
            given = [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), names=names):
            given = [module, *(f"{module}.{alias.name}" for alias in names)]
        case _:
            return []
    found = {name.partition(".")[0] for name in given} & MODULES
    return [*found, *SUBMODULES.intersection(given)]


def names(tree: ast.Module) -> set[str]:
    """The names in a program that hide what runs: `exec`, `print.__self__`, `sys.modules`.

    A name that certainly means what the program itself bound to it is not among them. Nor are
    `.exec` and `.eval`, if it defines such a method: the ways to the builtins are refused. Nor is
    `.modules` or `.system`, if it defines them itself and nothing in it can mean a module, or
    `logging.Formatter` and `platform.system`, if the first name surely is that module.
    """
    nodes = list(walk(tree))
    own = _own_methods(nodes) | _own_attributes(nodes)
    harmless = _harmless(nodes)
    nodes = [node for node in nodes if id(node) not in harmless]
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    clear = {id(call.func) for call in calls if _is_clear(call)}
    watched = _PLAIN | _TAKEN if any(map(_is_star, nodes)) else _PLAIN
    found = {name for call in calls for text in _texts(call) for name in _dotted(text)}
    nodes = [node for node in nodes if id(node) not in clear]
    found.update(name for node in nodes for name in _named(node))
    found |= _not_own(tree, watched, clear) if any(_read(n, watched) for n in nodes) else set()
    return found - own


def _is_star(node: ast.AST) -> bool:
    return isinstance(node, ast.ImportFrom) and node.names[0].name == "*"


def _not_own(tree: ast.Module, watched: Names, clear: set[int]) -> set[str]:
    """The names that are read and that may mean what the program did not bind to them."""
    return {
        name
        for node, own in with_own(tree, watched, never=_TAKEN | frozenset(_GETTERS))
        if id(node) not in clear
        for name in _read(node, watched - own)
    }


def _read(node: ast.AST, watched: Names) -> Collection[str]:
    if not isinstance(node, ast.Name) or node.id not in watched:
        return ()
    # A class that binds `__match_args__` looks names up as `getattr` does.
    reads = isinstance(node.ctx, ast.Load) or node.id == "__match_args__"
    return (node.id,) if reads else ()


def _own_methods(nodes: Sequence[ast.AST]) -> set[str]:
    """Those of `exec` and `eval` that a program defines, and reads as attributes only."""
    defined = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    read = {node.id for node in nodes if isinstance(node, ast.Name)}
    return ({"exec", "eval"} & defined) - read


def _own_attributes(nodes: Sequence[ast.AST]) -> set[str]:
    """Those of the ordinary words that a program sets or defines, if it can reach no module.

    Whether `self` is an instance of its class is not provable: `A.method(sys)` makes it a module.
    So each name of a module may stand only in front of a public name of it that is no module.
    """
    defined = {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
    defined |= {n.attr for n in nodes if isinstance(n, ast.Attribute) and _is_stored(n)}
    own = set(_OF_MODULES & defined)
    return own if own and not _reaches_a_module(nodes) else set()


def _is_stored(node: ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Store)


def _reaches_a_module(nodes: Sequence[ast.AST]) -> bool:
    if any(isinstance(node, ast.ImportFrom) and _takes_others(node) for node in nodes):
        return True
    imported: dict[str, Names] = {}
    for alias in (a for node in nodes if isinstance(node, ast.Import) for a in node.names):
        name, public = alias.asname or alias.name, without_modules(alias.name)
        if not public:
            return True
        imported[name] = public & imported.get(name, public)
    used = sum(isinstance(node, ast.Name) and node.id in imported for node in nodes)
    return used > sum(_is_public(node, imported) for node in nodes)


def _takes_others(node: ast.ImportFrom) -> bool:
    public = without_modules("" if node.level else node.module or "")
    return not public.issuperset(alias.name for alias in node.names)


def _is_public(node: ast.AST, imported: dict[str, Names]) -> bool:
    if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
        return False
    return node.attr in imported.get(node.value.id, ())


def _harmless(nodes: Sequence[ast.AST]) -> set[int]:
    """The ids of `logging.Formatter` and `platform.system`, where the first name is the module."""
    meant: dict[str, set[str]] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                module = alias.name if alias.asname else name
                meant.setdefault(name, set()).add(module)
        elif _is_star(node):  # it may bind any name
            return set()
        else:
            for name in bound(node):
                meant.setdefault(name, set()).add("")
    sure = {name: _HARMLESS.get(min(found), "") for name, found in meant.items() if len(found) == 1}
    return {
        id(node)
        for node in nodes
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.attr == sure.get(node.value.id)
    }


def _named(node: ast.AST) -> Collection[str]:
    """What a node other than a name names of the lists."""
    match node:
        case ast.Attribute(attr=name):
            return {name} & (_ATTRIBUTES | _GETTERS.keys())
        case ast.Import(names=names):
            return {part for a in names for part in a.name.split(".")[1:]} & _ATTRIBUTES
        case ast.ImportFrom(names=names):
            other = {a.name for a in names if a.asname not in (None, a.name)}
            return ({a.name for a in names} & _ATTRIBUTES) | (other & _GETTERS.keys())
        case ast.MatchClass(kwd_attrs=attributes):
            return _ATTRIBUTES.intersection(attributes)
        case ast.Constant(value=str(text)) if text.startswith("__"):
            return _REACHED.intersection(text.split("."))
    return ()


def _getter(call: ast.Call) -> str:
    """`getattr` in `getattr(x, "y")`; empty for a call of anything that takes no such text."""
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    return name if name in _GETTERS else ""


def _texts(call: ast.Call) -> list[str]:
    """The names of attributes that a call gives as constant texts."""
    given = call.args[_GETTERS[name]] if (name := _getter(call)) else []
    return [a.value for a in given if isinstance(a, ast.Constant) and isinstance(a.value, str)]


def _dotted(text: str) -> Collection[str]:
    return _ATTRIBUTES.intersection(text.split("."))


def _is_clear(call: ast.Call) -> bool:
    """Whether a call of a getter gives constant texts for all names of attributes."""
    name = _getter(call)
    given = call.args[_GETTERS[name]] if name else []
    return 0 < len(given) == len(_texts(call)) and not any(
        isinstance(argument, ast.Starred) for argument in call.args[: len(given) + 1]
    )
