"""Hand what settings.ini says of dependencies and commands to setuptools; every other fact is in pyproject.toml."""
from configparser import ConfigParser
from pathlib import Path
from setuptools import setup

cfg = ConfigParser(delimiters='=', interpolation=None)
cfg.read_string(Path(__file__).with_name('settings.ini').read_text(encoding='utf-8'))
cfg = cfg['DEFAULT']
statuses = {1: 'Planning', 2: 'Pre-Alpha', 3: 'Alpha', 4: 'Beta', 5: 'Production/Stable'}
extra = '_requirements'

setup(
    install_requires=cfg['requirements'].split(),
    extras_require={k.removesuffix(extra): v.split() for k, v in cfg.items() if k.endswith(extra)},
    entry_points={'console_scripts': cfg['console_scripts'].split(), 'nbdev': ['pretrain_notes=pretrain_notes._modidx:d']},
    classifiers=[f"Development Status :: {cfg['status']} - {statuses[int(cfg['status'])]}",
                 'Intended Audience :: Developers', 'Intended Audience :: Science/Research',
                 'Programming Language :: Python :: 3 :: Only', 'Topic :: Scientific/Engineering :: Artificial Intelligence'],
)
