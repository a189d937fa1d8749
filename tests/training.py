"""What the tests of pretraining share: digits, loaders, two small objectives."""
import pytest
torch = pytest.importorskip('torch')
import torch.nn.functional as F
from torch import nn
from pretrain_notes.datasets import digits
from pretrain_notes.batch.loaders import Augment
from pretrain_notes.pretrain.objective import Objective

torch.set_num_threads(1)
VIEWS = dict(rotate=20, scale=(.7, 1.1), shift=.1)

@pytest.fixture(scope='module')
def samples(): return digits().split(valid=.2, test=.2, seed=0)

@pytest.fixture(scope='module')
def parts(samples): return samples.by_split()

@pytest.fixture(scope='module')
def plain(samples): return samples.dataloaders(label=None, bs=128, device='cpu')

def pairs(samples): return samples.dataloaders(label=None, views=2, bs=128, augment=Augment(**VIEWS), device='cpu')

def quiet(learn, what='fit_one_cycle', *a, **kw):
    with learn.no_bar(), learn.no_logging(): getattr(learn, what)(*a, **kw)
    return learn

class Turn(Objective):
    "A pretext task: is the picture turned upside down?"
    part_names = ('right',)
    def build(self, n, x): self.head = nn.Linear(n, 2)
    def forward(self, x):
        t = torch.randint(0, 2, (len(x),), device=x.device)
        return self.head(self.encoder(torch.where(t[:, None, None, None] == 1, x.flip(-2, -1), x).as_subclass(torch.Tensor))), t
    def loss(self, outputs, *yb):
        self.parts['right'] = (outputs[0].argmax(1) == outputs[1]).float()
        return F.cross_entropy(*outputs)

class Pull(Objective):
    def build(self, n, x): self.head = nn.Linear(n, 32)
    def forward(self, a, b): return self.head(self.encoder(a)), self.head(self.encoder(b))
    def loss(self, outputs, *yb): return F.mse_loss(*outputs)
