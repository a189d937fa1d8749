"""Notebooks that teach, and are, a fastai-based library for the whole life of pretraining data and models."""
__version__ = '0.1.0'

import sys
from importlib import import_module
from pkgutil import iter_modules

def _lazy(package):
    "Let modules of `package` load on first touch. Sub-packages are empty (nbdev makes them): they come at once, just as lazy."
    def modules(): return {m.name: m.ispkg for m in iter_modules(package.__path__) if not m.name.startswith('_')}
    def __getattr__(name):
        if not name.startswith('_') and name in modules(): return import_module(f'{package.__name__}.{name}')
        raise AttributeError(f'module {package.__name__!r} has no attribute {name!r}')
    def __dir__(): return sorted({*vars(package), *modules()})
    package.__getattr__, package.__dir__ = __getattr__, __dir__
    for name, is_package in modules().items():
        if is_package: _lazy(import_module(f'{package.__name__}.{name}'))

_lazy(sys.modules[__name__])
