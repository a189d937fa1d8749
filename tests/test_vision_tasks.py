"""Boxes and masks: what is kept out, what moves with its picture, how it is counted, and that both forms of a detector train."""
import json, sys
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from fastai.torch_core import set_seed
from PIL import Image
from torch import nn
from pretrain_notes.annotate.formats import read_labels
from pretrain_notes.annotate.store import LabelStore
from pretrain_notes.base import DataError
from pretrain_notes.batch.loaders import random_affine
from pretrain_notes.bench.vision import coco_reference, noisy_boxes, otsu_masks
from pretrain_notes.datasets import data_roots
from pretrain_notes.samples import Samples
from pretrain_notes.transfer.detect import (BoxImages, box_answers, box_loss, box_targets, checked_objects, detector_learner, letterboxed,
    mean_ap, move_boxes, predict_boxes, read_boxes, take_fitting, torchvision_targets)
from pretrain_notes.transfer.segment import (BatchSegmenter, MaskImages, MaskLoss, crosses_itself, fill_rings, mask_fault, mask_of_shapes,
    mask_scores, polygon_fault, predict_masks, segment_learner)
import pretrain_notes.annotate.join  # with_labels

VOCAB = ['a', 'b', 'c']
NAN = float('nan')

class TinyMaps(nn.Module):
    "An encoder with maps that costs nothing."
    strides = [4, 8, 16]
    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.convs = nn.ModuleList(nn.Conv2d(3 if i == 0 else 8, 8, 3, 4 if i == 0 else 2, 1) for i in range(3))
    def dense(self, x):
        out = []
        for c in self.convs: x = c(x).relu(); out.append(x)
        return out

def drawn(n=8, seed=0, size=(64, 96), empty=()):
    "Pictures with two bright rectangles of different classes; those in `empty` have none."
    rng, x, objects = np.random.default_rng(seed), np.full((n, 3, *size), 90, 'uint8'), []
    for i in range(n):
        bbox = [] if i in empty else [[*rng.integers(2, (size[1] - 34, size[0] - 34)).tolist(), *rng.integers(12, 32, 2).tolist()] for _ in range(2)]
        for k, (a, b, w, h) in enumerate(bbox): x[i, k, b:b+h, a:a+w] = 250
        objects.append(dict(bbox=bbox, category=list(range(len(bbox)))))
    return BoxImages(torch.from_numpy(x), objects, VOCAB)

def fit(learn, epochs=1, lr=1e-3):
    with learn.no_bar(), learn.no_logging(): learn.fit(epochs, lr)
    return learn

# ---------------------------------------------------------------- boxes: what is kept out
@pytest.mark.parametrize('box, category, what', [([5, 5, 0, 9], 0, 'no area'), ([5, 5, 9, 0], 0, 'no area'), ([5, 5, -9, 9], 0, 'inverted'),
    ([NAN, 5, 9, 9], 0, 'not finite'), ([5, 5, float('inf'), 9], 0, 'not finite'), ([100, 5, 9, 9], 0, 'outside the picture'),
    ([5, -20, 9, 9], 0, 'outside the picture'), ([5, 5, 9, 9], 3, 'unknown class'), ([5, 5, 9, 9], -1, 'unknown class'),
    ([5, 5, 9, 9], None, 'unknown class'), ([5, 5, 9, 9], .5, 'unknown class')])
def test_bad_box(box, category, what):
    "A box that is none is named by file and row, and its neighbor stays."
    good, found = checked_objects([dict(bbox=[], category=[]), dict(bbox=[box, [1, 2, 3, 4]], category=[category, 1])], [(96, 64)] * 2, 3, ['x.jpg', 'y.jpg'])
    assert good == [dict(bbox=[], category=[]), dict(bbox=[[1, 2, 3, 4]], category=[1])]
    assert found[['row', 'file', 'box', 'what', 'effect']].values.tolist() == [[1, 'y.jpg', 0, what, 'left out']]

def test_box_over_the_border_is_clipped():
    good, found = checked_objects([dict(bbox=[[-5, 10, 20, 90]], category=[0])], [(96, 64)], 1)
    assert good[0]['bbox'] == [[0, 10, 15, 54]] and found.effect.tolist() == ['clipped']

def test_unlabeled_is_no_negative():
    "A picture without a box is learned from; one that nobody labeled is left out, with its name."
    d = BoxImages(torch.zeros(3, 3, 32, 32, dtype=torch.uint8), [None, dict(bbox=[], category=[]), None], VOCAB, list('xyz'))
    assert d.names == ['y'] and d.findings.file.tolist() == ['x', 'z'] and d.findings.what.unique() == ['not labeled']

def test_boxes_and_classes_of_different_number():
    with pytest.raises(DataError, match='2 boxes and 1 classes'): checked_objects([dict(bbox=[[0, 0, 1, 1]] * 2, category=[0])], [(9, 9)], 1)

def coco_file(root, anns, cats, size=(60, 40)):
    Image.new('RGB', size, 'gray').save(root/'p.png')
    f = root/'a.json'
    f.write_text(json.dumps(dict(images=[dict(id=7, file_name='p.png', width=size[0], height=size[1])], categories=cats,
                                 annotations=[dict(id=i, image_id=7, **a) for i, a in enumerate(anns, 1)])))
    return f

def as_samples(path, tmp, format=None):
    found = read_labels(path, format)
    store = LabelStore(str(tmp/'labels.db'))
    found.into(store, annotator='file')
    out = found.samples.with_labels(found.task, store)
    store.close()
    return out, found

def test_category_ids_with_gaps(tmp_path):
    "COCO's own ids run to 90 for 80 classes: our numbers are 0, 1, .. in any case."
    f = coco_file(tmp_path, [dict(bbox=[1, 2, 30, 20], category_id=90), dict(bbox=[5, 5, 10, 10], category_id=3)],
                  [dict(id=3, name='cat'), dict(id=90, name='dog'), dict(id=17, name='emu')])
    d = BoxImages.from_samples(as_samples(f, tmp_path)[0], (40, 60))
    said = {(d.vocab[k], *b) for b, k in zip(d.objects[0]['bbox'], d.objects[0]['category'])}
    assert said == {('dog', 1, 2, 30, 20), ('cat', 5, 5, 10, 10)} and len(d.findings) == 0

def bccd():
    found = next((p for r in data_roots() if (p := r/'detection/bccd/Annotations').is_dir()), None)
    return found or pytest.skip('BCCD was not found in PRETRAIN_NOTES_DATA')

def test_bccd_boxes_without_area(tmp_path):
    "The boxes of BloodImage_00338 and _00343 whose corners are equal are noted by the reader, and kept out here, with file and row."
    samples, found = as_samples(bccd(), tmp_path, 'voc')
    rows = [r for r, s in enumerate(samples['source'].to_pylist()) if '00338' in s or '00343' in s]
    assert (found.report['what'] == 'zero area').sum() == 2 == len(rows)
    d = BoxImages.from_samples(samples[rows], (240, 320))
    assert d.findings.what.tolist() == ['no area'] * 2 and d.findings.row.tolist() == [0, 1] and '00338' in d.findings.file[0]
    assert len(d) == 2 and min(min(b[2:]) for o in d.objects for b in o['bbox']) > 0

# ---------------------------------------------------------------- boxes move with their pictures
@pytest.mark.parametrize('seed', range(6))
def test_boxes_move_with_pixels(seed):
    "The box around what was painted is where the moved box says, for flips, shifts and scales; a turned one lies inside."
    set_seed(seed)
    size, box = (80, 120), [40, 25, 36, 22]
    x = torch.zeros(1, 3, *size, dtype=torch.uint8)
    x[..., 25:47, 40:76] = 255
    rotate = 0 if seed % 2 else 12
    moved = BoxImages(x, [dict(bbox=[box], category=[0])], ['a']).moved(random_affine(1, rotate=rotate, scale=(.9, 1.3), shift=.1, flip=True))
    r, c = np.nonzero(moved.x[0, 0].numpy() > 127)
    painted, said = np.array([c.min(), r.min(), c.max() + 1, r.max() + 1]), np.array(moved.objects[0]['bbox'][0])
    said[2:] += said[:2]
    if not rotate: assert np.abs(painted - said).max() <= 1.01
    assert (painted[:2] >= said[:2] - 1).all() and (painted[2:] <= said[2:] + 1).all()

def test_box_that_leaves_the_picture_is_dropped():
    d = drawn(1).moved(torch.tensor([[[1., 0, 2], [0, 1, 0]]]))
    assert d.objects[0]['bbox'] == []

def test_mirrored_features_are_of_mirrored_pictures():
    d = drawn(2)
    assert torch.equal(d.mirrored().x, d.x.flip(-1)) and d.mirrored() is d.mirrored()
    assert np.allclose(d.mirrored().mirrored().objects[0]['bbox'], d.objects[0]['bbox'])

@pytest.mark.parametrize('size', [(640, 480), (100, 900), (7, 5), (1, 1), (320, 240)])
def test_any_size_fits_and_comes_back(size):
    "Boxes on a picture of any size are in the pixels of the file again when they are proposed."
    a, k = letterboxed(Image.new('RGB', size), (64, 96))
    assert a.shape == (64, 96, 3)
    box = [0, 0, size[0] / 2, size[1] / 2]
    d = BoxImages(torch.from_numpy(a).permute(2, 0, 1)[None].contiguous(), [dict(bbox=[[v * k for v in box]], category=[1])], VOCAB, scale=[k])
    (shapes, score), = box_answers([dict(d.objects[0], score=[.9])], d)
    assert shapes[0]['label'] == 'b' and np.allclose(shapes[0]['box'], box, atol=.06) and score == .9

# ---------------------------------------------------------------- average precision
@pytest.mark.parametrize('seed', range(3))
def test_ap_equals_pycocotools(seed):
    "AP, AP50, AP75 and AR100 are those of COCO's own code to 1e-9, with empty pictures and a class that nobody drew."
    pytest.importorskip('pycocotools', reason='the oracle: pretrain_notes[bench]'), pytest.importorskip('faster_coco_eval', reason='pretrain_notes[vision]')
    rng = np.random.default_rng(seed)
    objects = [dict(bbox=[[*rng.uniform(0, 200, 2), *rng.uniform(4, 120, 2)] for _ in range(n)], category=rng.integers(0, 2, n).tolist())
               for n in rng.integers(0, 12, 30)]
    found = noisy_boxes(objects, seed)
    s = mean_ap(objects, found, VOCAB)
    assert np.abs(np.subtract([s.ap, s.ap50, s.ap75, s.recall], coco_reference(objects, found, VOCAB))).max() < 1e-9
    t = s.table()
    assert t['class'].tolist() == [*VOCAB, 'mean'] and pd.isna(t.ap[2]) and np.isclose(t.ap[:2].mean(), s.ap)

def test_ap_at_the_ends():
    "The drawn boxes themselves reach 1, none reach 0, none where nothing was drawn is no number."
    pytest.importorskip('faster_coco_eval', reason='pretrain_notes[vision]')
    d, none = drawn(4), dict(bbox=[], category=[], score=[])
    assert mean_ap(d.objects, [dict(o, score=[1.] * len(o['bbox'])) for o in d.objects], VOCAB).ap == pytest.approx(1)
    assert mean_ap(d.objects, [none] * 4, VOCAB).ap == 0
    assert np.isnan(mean_ap([none] * 2, [none] * 2, VOCAB).ap)
    with pytest.raises(DataError, match='3 predictions for 4'): mean_ap(d.objects, [none] * 3, VOCAB)
    with pytest.raises(DataError, match='finite'): mean_ap(d.objects, [dict(bbox=[[0, 0, 1, 1]], category=[0], score=[NAN])] * 4, VOCAB)

def test_ap_without_its_library(monkeypatch):
    monkeypatch.setitem(sys.modules, 'faster_coco_eval', None)
    with pytest.raises(DataError, match=r'pretrain_notes\[vision\]'): mean_ap([], [], VOCAB)

# ---------------------------------------------------------------- the laptop form
def test_targets_are_read_back():
    "A head that says exactly what is asked finds exactly the drawn boxes."
    d = drawn(3)
    heat, sides, _ = (torch.stack(t) for t in zip(*(box_targets(o, 3, (64, 96)) for o in d.objects)))
    for o, f in zip(d.objects, read_boxes((torch.where(heat == 1, 9., -9.), sides))):
        assert sorted(map(tuple, f['bbox'])) == sorted(tuple(map(float, b)) for b in o['bbox'])

def test_the_smaller_box_has_the_cell():
    _, sides, on = box_targets(dict(bbox=[[20, 12, 16, 16], [0, 0, 64, 48]], category=[0, 0]), 1, (64, 96))
    assert on[2, 3] and sides[:, 2, 3].tolist() == [8, 8, 8, 8]

def test_pictures_without_boxes_are_learned_from():
    "Negatives only: the loss is finite and the weights move."
    d = drawn(4, empty=range(4))
    learn = detector_learner(d, d, encoder=TinyMaps(), bs=2)
    was = learn.model.head[-1].weight.clone()
    fit(learn)
    assert not torch.equal(was, learn.model.head[-1].weight) and all(torch.isfinite(p).all() for p in learn.model.parameters())
    assert len(predict_boxes(learn, d)) == 4

def test_same_seed_same_detector():
    def one():
        set_seed(3)
        return fit(detector_learner(drawn(), drawn(4, 1), encoder=TinyMaps(), bs=4), 2).model.head[-1].weight
    assert torch.equal(one(), one())

def test_encoder_stays_frozen_and_features_are_computed_once():
    d, e, calls = drawn(), TinyMaps(), []
    was, dense = {n: p.clone() for n, p in e.named_parameters()}, e.dense
    e.dense = lambda x: calls.append(len(x)) or dense(x)
    learn = fit(detector_learner(d, d, encoder=e, bs=4), 3)
    assert sum(calls) == 2 * len(d)                              # as they are, and mirrored
    predict_boxes(learn, d)
    assert sum(calls) == 2 * len(d) and all(torch.equal(was[n], p) for n, p in e.named_parameters())

def test_features_come_from_the_folder_bit_for_bit(tmp_path, monkeypatch):
    "A second session opens no network for pictures that it has seen; other pictures, other weights and a damaged file are computed."
    class Frozen(nn.Module):
        strides, calls = (8, 16), 0
        def __init__(self): super().__init__(); self.w = nn.Parameter(torch.ones(3))
        def dense(self, x): Frozen.calls += 1; return [F.avg_pool2d(x * self.w[:, None, None], s) for s in self.strides]
    def data(): d = drawn(); d.folder = tmp_path; return d
    first, n = data().features(Frozen()), Frozen.calls
    assert torch.equal(data().features(Frozen()), first) and Frozen.calls == n and len(list(tmp_path.iterdir())) == 1
    other = Frozen(); other.w.data *= 2
    assert not torch.equal(data().features(other), first) and Frozen.calls > n
    class Otherwise(Frozen):
        def dense(self, x): return [1 - m for m in super().dense(x)]
    assert not torch.equal(data().features(Otherwise()), first)                     # equal weights, used in another way
    n = Frozen.calls
    for f in tmp_path.iterdir(): f.write_bytes(f.read_bytes()[:100])
    assert torch.equal(data().features(Frozen()), first) and Frozen.calls > n
    pictures = MaskImages([np.full((20, 30, 3), 90, np.uint8), np.full((17, 9, 3), 9, np.uint8)], [np.zeros((20, 30), int), np.zeros((17, 9), int)], ['a', 'b'])
    again = MaskImages([x.permute(1, 2, 0).numpy() for x in pictures.x], [m.numpy() for m in pictures.masks], ['a', 'b'])
    pictures.folder = again.folder = tmp_path
    maps, n = pictures.features(Frozen()), Frozen.calls
    assert all(torch.equal(a, b) for p, q in zip(maps, again.features(Frozen())) for a, b in zip(p, q)) and Frozen.calls == n

def test_learns_rectangles():
    set_seed(0)
    d = drawn(48, size=(64, 96))
    learn = detector_learner(d, d, encoder=TinyMaps(), bs=16)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(40, 1e-2)
    pytest.importorskip('faster_coco_eval', reason='pretrain_notes[vision]')
    assert mean_ap(d.objects, predict_boxes(learn, d), VOCAB).ap50 > .5

def test_refusals():
    d, other = drawn(4), drawn(4)
    other.vocab = ['x', 'y', 'z']
    with pytest.raises(DataError, match='classes differ'): detector_learner(d, other, encoder=TinyMaps())
    with pytest.raises(DataError, match='gives maps'): detector_learner(d, d, encoder=nn.Identity())
    with pytest.raises(DataError, match='multiples of 16'): detector_learner(*[drawn(4, size=(72, 100))] * 2, encoder=TinyMaps())
    with pytest.raises(DataError, match='two pictures'): detector_learner(d[[0]], d, encoder=TinyMaps())
    with pytest.raises(DataError, match='no torchvision detector'): detector_learner(d, d, arch='fasterrnn')
    with pytest.raises(DataError, match='no column objects'): BoxImages.from_samples(Samples.from_arrays(np.zeros((2, 8, 8), 'uint8')))
    with pytest.raises(DataError, match='strides'): d.features(TinyMaps(), (8, 32))

# ---------------------------------------------------------------- the GPU form, tiny and on a CPU
def tiny_rcnn(n):
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.rpn import AnchorGenerator
    from torchvision.ops import MultiScaleRoIAlign
    body = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1))
    body.out_channels = 8
    return FasterRCNN(body, n + 1, min_size=64, max_size=96, rpn_anchor_generator=AnchorGenerator(((16, 32),), ((1.,),)),
                      box_roi_pool=MultiScaleRoIAlign(['0'], 3, 2), rpn_pre_nms_top_n_test=20, rpn_post_nms_top_n_test=10)

def test_torchvision_detector_trains_for_two_steps():
    "Dictionary losses and targets of other lengths, one picture without any: weights move, validation leaves the batch statistics alone."
    set_seed(0)
    d = drawn(4, empty=[1])
    learn = detector_learner(d, d, arch=tiny_rcnn(3), bs=2)
    was = learn.model.net.backbone[0].weight.clone()
    fit(learn)
    assert not torch.equal(was, learn.model.net.backbone[0].weight) and np.isfinite(learn.recorder.values[-1]).all()
    bn = learn.model.net.backbone[1]
    n = bn.num_batches_tracked.item()
    learn.validate()
    assert n == 2 == bn.num_batches_tracked.item()
    assert {'bbox', 'category', 'score'} == set(predict_boxes(learn, d)[0]) and all(k < 3 for o in predict_boxes(learn, d) for k in o['category'])

def test_torchvision_targets():
    a, b = torchvision_targets([dict(bbox=[[1, 2, 3, 4]], category=[0]), dict(bbox=[], category=[])])
    assert a['boxes'].tolist() == [[1, 2, 4, 6]] and a['labels'].tolist() == [1] and tuple(b['boxes'].shape) == (0, 4)

def test_weights_of_another_number_of_classes():
    net = tiny_rcnn(3)
    share = take_fitting(net, tiny_rcnn(7).state_dict())
    assert .9 < share < 1
    with pytest.raises(DataError, match='another network'): take_fitting(net, dict(x=torch.zeros(1)))

def test_torchvision_by_name():
    "A detector by its name, without weights and without a network."
    learn = detector_learner(drawn(2), drawn(2), arch='ssdlite320_mobilenet_v3_large', bs=2)
    assert len(predict_boxes(learn, drawn(1))) == 1

# ---------------------------------------------------------------- masks from polygons
@pytest.mark.parametrize('seed', range(8))
def test_fill_is_inside(seed):
    "The filled pixels are those whose middle matplotlib finds inside, but for middles on the border."
    from matplotlib.path import Path as Outline
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, 9))
    p = np.stack([20 + rng.uniform(4, 26, 9) * np.cos(angle), 15 + rng.uniform(4, 20, 9) * np.sin(angle)], 1)
    y, x = np.mgrid[:30, :40] + .5
    assert np.array_equal(fill_rings([p], (30, 40)).ravel(), Outline(p).contains_points(np.stack([x.ravel(), y.ravel()], 1)))

def test_triangles_tile_the_plane():
    "Neighbors share their edge: every pixel belongs to exactly one."
    rng = np.random.default_rng(0)
    from scipy.spatial import Delaunay
    p = np.concatenate([rng.uniform(0, [40, 30], (20, 2)), [[0, 0], [40, 0], [0, 30], [40, 30]]])
    assert (sum(fill_rings([p[t]], (30, 40)).astype(int) for t in Delaunay(p).simplices) == 1).all()

def test_holes_overlaps_and_ignored():
    outer, hole = [[2, 2], [12, 2], [12, 12], [2, 12]], [[4, 4], [8, 4], [8, 8], [4, 8]]
    shapes = [dict(label='b', rings=[outer, hole]), dict(label='c', box=[10, 0, 6, 6]), dict(label='b', box=[11, 4, 2, 4])]
    later, _ = mask_of_shapes(shapes, (14, 16), VOCAB)
    ignore, _ = mask_of_shapes(shapes, (14, 16), VOCAB, overlap='ignore')
    assert later[5, 5] == 0 and later[3, 10] == 2 and later[4, 11] == 1 and (later == 255).sum() == 0
    assert ignore[3, 10] == 255 and ignore[4, 11] == 255 and ignore[10, 11] == 1 and ignore[7, 11] == 1     # of one class: no quarrel
    with pytest.raises(DataError, match='overlap'): mask_of_shapes([], (4, 4), VOCAB, overlap='first')

@pytest.mark.parametrize('points, why', [([[0, 0], [9, 7], [9, 0], [0, 7]], 'crosses itself'), ([[0, 0], [5, 5]], 'fewer than 3 points'),
    ([[0, 0], [5, 5], [0, 0]], 'fewer than 3 points'), ([], 'fewer than 3 points'), ([[0, 0], [2, 2], [4, 4]], 'no area'),
    ([[0, 0], [NAN, 2], [4, 0]], 'not finite'), ([[50, 0], [60, 0], [60, 9]], 'outside the picture'), ('abc', 'no points'), ([[0, 0], [3]], 'no points')])
def test_no_polygon(points, why):
    assert polygon_fault(points, (8, 12)) == why
    mask, found = mask_of_shapes([dict(label='b', points=points), dict(label='c', box=[0, 0, 2, 2])], (8, 12), VOCAB)
    assert found == [(0, why)] and np.unique(mask).tolist() == [0, 2]

def test_unknown_class_of_a_shape(): assert mask_of_shapes([dict(label='z', box=[0, 0, 2, 2])], (4, 4), VOCAB)[1] == [(0, 'unknown class')]

def test_crossing():
    star = [[np.cos(a), np.sin(a)] for a in 2 * np.pi * np.array([0, .4, .8, .2, .6])]
    assert crosses_itself(star) and not crosses_itself([[0, 0], [4, 0], [4, 4], [2, 1], [0, 4]])

# ---------------------------------------------------------------- masks: what is kept out, how they are counted
@pytest.mark.parametrize('change, why', [(lambda m: m + 7, 'unknown values: 7'), (lambda m: m - 1, 'unknown values: -1'), (lambda m: m[:, 1:], 'the mask is'),
    (lambda m: m + .5, 'not whole'), (lambda m: m * NAN, 'not whole'), (lambda m: np.stack([m] * 3, -1), 'the mask is')])
def test_bad_mask(change, why):
    p, m = np.zeros((6, 8, 3), 'uint8'), np.zeros((6, 8))
    d = MaskImages([p, p], [m, change(m)], VOCAB, ['x.png', 'y.png'])
    assert d.names == ['x.png'] and d.findings.file.tolist() == ['y.png'] and why in d.findings.what[1 if 1 in d.findings.index else 0]

def test_good_masks():
    m = np.zeros((6, 8))
    assert [mask_fault(v, (6, 8), 3) for v in (m, m + 255, m.astype(bool), m + 2)] == [''] * 4

@pytest.mark.parametrize('seed', range(3))
def test_miou_equals_torchmetrics(seed):
    "mIoU with `ignore_index` is that of torchmetrics; a class that never occurs counts in neither."
    pytest.importorskip('torchmetrics', reason='the oracle: pretrain_notes[bench]')
    from torchmetrics.classification import MulticlassJaccardIndex
    rng = np.random.default_rng(seed)
    n = 4 if seed else 3
    drawn_ = [rng.choice([0, 1, 2, 255], (20, 30), p=[.5, .2, .2, .1]) for _ in range(4)]
    found = [np.where(rng.random(m.shape) < .7, m % 255, rng.integers(0, 3, m.shape)) for m in drawn_]
    oracle = MulticlassJaccardIndex(n, average='macro', ignore_index=255)
    for m, f in zip(drawn_, found): oracle.update(torch.as_tensor(f)[None], torch.as_tensor(m)[None])
    s = mask_scores(drawn_, found, range(n))
    each = MulticlassJaccardIndex(n, average=None, ignore_index=255)
    for m, f in zip(drawn_, found): each.update(torch.as_tensor(f)[None], torch.as_tensor(m)[None])
    assert np.allclose(s.iou[:3], each.compute().numpy()[:3], atol=1e-6) and np.allclose(s.dice[:3], 2 * s.iou[:3] / (1 + s.iou[:3]))
    if n == 3: assert abs(s.miou - float(oracle.compute())) < 1e-6
    else: assert np.isnan(s.iou[3]) and np.isclose(s.miou, s.iou[:3].mean())

def test_scores_refuse():
    m = np.zeros((4, 4), int)
    with pytest.raises(DataError, match='no class'): mask_scores([m], [m + 9], VOCAB)
    with pytest.raises(DataError, match='the mask is'): mask_scores([m], [m[1:]], VOCAB)
    with pytest.raises(DataError, match='0 predictions'): mask_scores([m], [], VOCAB)
    assert np.isnan(mask_scores([m + 255], [m], VOCAB).miou)

def test_loss_where_nothing_counts():
    z = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = MaskLoss()(z, torch.full((1, 4, 4), 255))
    loss.backward()
    assert loss == 0 and (z.grad == 0).all()

# ---------------------------------------------------------------- segmenters
def mask_data(n=6, seed=0):
    "Pictures of several sizes; what is bright is class 1."
    rng, x, m = np.random.default_rng(seed), [], []
    for i in range(n):
        size = (40 + 8 * (i % 3), 56)
        m.append(np.zeros(size, int)); m[-1][8:30, 10 + i:34 + i] = 1
        x.append((90 + 120 * m[-1][..., None] + rng.integers(0, 20, (*size, 3))).astype('uint8'))
    return MaskImages(x, m, ['ground', 'thing'])

def test_linear_segmenter_learns_on_any_size():
    set_seed(0)
    d = mask_data()
    learn = segment_learner(d, d, encoder=TinyMaps(), bs=2)
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(20, 5e-2)
    found = predict_masks(learn, d)
    assert [f.shape for f in found] == [m.shape for m in d.masks] and mask_scores(d.masks, found, d.vocab).miou > .8

@pytest.mark.parametrize('arch', ['unet', 'lraspp_mobilenet_v3_large'])
def test_larger_segmenters(arch):
    "One call for the others: two steps, weights move, every picture keeps its size."
    set_seed(0)
    d = mask_data(4)
    learn = segment_learner(d, d, arch=arch, bs=2)
    was = next(learn.model.net.parameters()).clone()
    fit(learn)
    assert isinstance(learn.model, BatchSegmenter) and not torch.equal(was, next(learn.model.net.parameters()))
    assert [f.shape for f in predict_masks(learn, d)] == [m.shape for m in d.masks]

def test_segmenter_refusals():
    d = mask_data(2)
    with pytest.raises(DataError, match='gives maps'): segment_learner(d, d)
    with pytest.raises(DataError, match='no segmenter'): segment_learner(d, d, arch='deeplab9')
    empty = MaskImages([], [], d.vocab)
    with pytest.raises(DataError, match='no picture'): segment_learner(empty, d, encoder=TinyMaps())

def test_otsu():
    p = np.full((3, 9, 9), 30, 'uint8'); p[:, 2:5, 2:5] = 220
    assert otsu_masks([p])[0].sum() == 9 == otsu_masks([255 - p], rarer=True)[0].sum()
