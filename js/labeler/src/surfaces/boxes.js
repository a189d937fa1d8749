// Boxes and polygons on a picture. Annotorious draws and edits by mouse, touch and pen; this file keeps the shapes in pixels of the
// upright original, paints them, and gives every step a key.
import {createImageAnnotator} from '@annotorious/annotorious'
import a9s from '@annotorious/annotorious/annotorious.css'
import {h, kbd, same} from '../dom.js'
import {content} from './class.js'
import {corners} from './corners.js'
import {guest} from './guest.js'
import css from './boxes.css'

const SVG = 'http://www.w3.org/2000/svg', LIMIT = 200, ZOOM = [1, 40], GRAB = 10
const svg = (tag, props = {}) => { const el = document.createElementNS(SVG, tag); for (const [k, v] of Object.entries(props)) el.setAttribute(k, v); return el }
const clamp = (v, a, b) => Math.min(Math.max(v, a), Math.max(a, b)), round = v => Math.round(v * 10) / 10
const pointsOf = s => s.points ?? (([x, y, w, hh]) => [[x, y], [x + w, y], [x + w, y + hh], [x, y + hh]])(s.box)
const span = points => { const xs = points.map(p => p[0]), ys = points.map(p => p[1]); return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)] }
const plain = ({label, box, points}) => box ? {label, box} : {label, points}
const free = s => !s.hidden && !s.locked              // what the mouse may take hold of
const icons = {seen: 'M1 8s2.6-4.6 7-4.6S15 8 15 8s-2.6 4.6-7 4.6S1 8 1 8zM8 10a2 2 0 1 0 0-4 2 2 0 0 0 0 4z', hidden: 'M1 8s2.6-4.6 7-4.6S15 8 15 8s-2.6 4.6-7 4.6S1 8 1 8zM2.5 14 13.5 2',
  open: 'M3.5 7.5h9v6h-9zM5.5 7.5V5a2.5 2.5 0 0 1 4.8-1', locked: 'M3.5 7.5h9v6h-9zM5.5 7.5V5a2.5 2.5 0 0 1 5 0v2.5'}
function icon(name) { const el = svg('svg', {viewBox: '0 0 16 16', class: 'pnb-icon', 'aria-hidden': 'true'}); el.append(svg('path', {d: icons[name]})); return el }
let clip = null                                       // a copied shape, for all pictures of this page

export function surface({el, task, api}) {
  let item = null, W = 1, H = 1, unit = 1, shapes = [], start = [], at = null, current = task.classes[0], tool = 'rectangle', closed = false
  let past = [], future = [], nudge = null, serial = 0, anno = null, zoom = 1, pan = [0, 0], base = 1, gesture = null, painted = new Map()
  const fingers = new Map()

  // ---- what is on the page
  const button = (name, label, key, act) => h('button', {type: 'button', class: 'pnl-tool', 'data-tool': name, 'aria-keyshortcuts': key, title: `${label} (${key})`, onclick: act}, h('span', {}, label), kbd(key))
  const tools = {rectangle: button('rectangle', 'Box', '.', () => useTool('rectangle')), corners: button('corners', 'Polygon', '.', () => useTool('corners'))}
  const parts = {}, scale = h('span', {class: 'pnb-scale'}), head = h('span', {class: 'pnb-n'})
  const bar = h('div', {class: 'pnb-bar', role: 'toolbar', 'aria-label': 'tools'}, tools.rectangle, tools.corners, button('add', 'New', ' ', () => add()),
    h('span', {class: 'pnb-group', role: 'group', 'aria-label': 'the selected shape'}, [['copy', 'Copy', 'Ctrl+C', () => copy()], ['paste', 'Paste', 'Ctrl+V', () => paste()], ['left', '⟲', 'Alt+Shift+R', () => turn(-5)], ['right', '⟳', 'Alt+R', () => turn(5)],
      ['hide', 'Hide', 'Alt+H', () => flag('hidden')], ['lock', 'Lock', 'Alt+L', () => flag('locked')]].map(([n, t, k, act]) => parts[n] = h('button', {type: 'button', class: 'pnl-tool pnb-act', 'data-tool': n, 'aria-keyshortcuts': k,
        'aria-label': {left: 'turn to the left', right: 'turn to the right'}[n], title: `${{left: 'turn to the left', right: 'turn to the right', copy: 'copy the selected shape', paste: 'paste', hide: 'hide or show the selected shape', lock: 'lock or unlock the selected shape'}[n]} (${k})`, onclick: act}, h('span', {}, t)))),
    h('span', {class: 'pnl-space'}),
    button('out', '−', '-', () => zoomBy(1 / 1.5)), scale, button('in', '+', '+', () => zoomBy(1.5)), button('fit', 'Fit', 'Home', () => fit()))
  bar.querySelector('[data-tool=out]').setAttribute('aria-label', 'zoom out'); bar.querySelector('[data-tool=in]').setAttribute('aria-label', 'zoom in')
  const view = h('div', {class: 'pnb-view'}), list = h('div', {class: 'pnb-list', role: 'listbox', 'aria-label': 'shapes'})
  const root = h('div', {class: 'pnb'}, h('style', {}, a9s + css), bar, h('div', {class: 'pnb-row'}, view, h('div', {class: 'pnb-side'}, head, list)))
  let pane = h('div'), layer = svg('svg'), names = h('div')
  el.classList.add('pnb-stage')

  function build() {
    clear()
    const picture = item.img && !item.img.isConnected ? item.img : new Image()         // in use: there is another view of this output
    if (!picture.src) picture.src = item.url
    picture.className = 'pnb-img'; picture.removeAttribute('style'); picture.alt = `picture ${item.pos + 1}`; picture.draggable = false
    const frame = Object.assign(h('div', {class: 'pnb-frame'}), {naturalWidth: W * unit, naturalHeight: H * unit})   // its units are fractions of an original pixel
    layer = svg('svg', {class: 'pnb-shapes', viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: 'none', 'aria-hidden': 'true'})
    names = h('div', {class: 'pnb-names', 'aria-hidden': 'true'})
    pane = h('div', {class: 'pnb-pane'}, picture, frame)
    view.replaceChildren(pane)
    ;[anno] = guest(() => createImageAnnotator(frame, {drawingMode: 'drag', theme: 'light'}))    // it would undo on any Ctrl+Z of the notebook
    anno.registerDrawingTool('corners', corners)
    anno.setDrawingTool(tool)
    anno.element.setAttribute('aria-hidden', 'true')
    const top = anno.element.querySelector('svg')
    top.tabIndex = -1
    top.focus = () => api.focus()                     // the keys stay with the labeler
    pane.insertBefore(layer, anno.element); pane.append(names)
    top.querySelector('g.drawing').addEventListener('pointerup', ev => {            // a click on a corner is no click beside the shape
      if (ev.target.closest('.a9s-handle, .a9s-edge-handle, .a9s-touch-handle')) { ev.stopPropagation(); finish() }
    })
    anno.state.store.observe(ev => { if (ev.origin === 'LOCAL') drawn(ev.changes) })
    anno.state.selection.subscribe(s => { const id = s.selected[0]?.id ?? null; if (id !== at && anno && !anno.quiet) choose(id, true) })
  }
  function clear() {
    if (anno) { const a = anno; anno = null; a.destroy() }
    painted = new Map(); fingers.clear(); gesture = null
    view.replaceChildren(); list.replaceChildren()
  }

  // ---- shapes as Annotorious has them, and back
  const selector = s => {
    const [minX, minY, maxX, maxY] = span(pointsOf(s)).map(v => v * unit), bounds = {minX, minY, maxX, maxY}
    return s.box ? {type: 'RECTANGLE', geometry: {x: minX, y: minY, w: maxX - minX, h: maxY - minY, rot: 0, bounds}}
      : {type: 'POLYGON', geometry: {points: s.points.map(p => p.map(v => v * unit)), bounds}}
  }
  const annotation = s => ({id: s.id, bodies: [], target: {annotation: s.id, selector: selector(s), created: new Date(0), creator: {id: 'here'}}})
  function geometry({type, geometry: g}, old) {       // within the picture: what was moved keeps its size, what was pulled is cut
    const near = (a, b) => Math.abs(a - b) < 1e-6 * Math.max(W, H)
    if (type === 'RECTANGLE') {
      const [x, y, w, hh] = [g.x, g.y, g.w, g.h].map(v => v / unit)
      if (old?.box && near(w, old.box[2]) && near(hh, old.box[3])) return {box: [round(clamp(x, 0, W - w)), round(clamp(y, 0, H - hh)), old.box[2], old.box[3]]}
      const [a, b, c, d] = [clamp(x, 0, W), clamp(y, 0, H), clamp(x + w, 0, W), clamp(y + hh, 0, H)].map(round)
      return {box: [a, b, round(c - a), round(d - b)]}
    }
    const points = g.points.map(p => p.map(v => v / unit)), moved = old?.points?.length === points.length && points.every((p, i) =>
      near(p[0] - old.points[i][0], points[0][0] - old.points[0][0]) && near(p[1] - old.points[i][1], points[0][1] - old.points[0][1]))
    return {points: moved ? shift(old.points, points[0][0] - old.points[0][0], points[0][1] - old.points[0][1]) : points.map(([x, y]) => [round(clamp(x, 0, W)), round(clamp(y, 0, H))])}
  }
  function shift(points, dx, dy) {
    const [a, b, c, d] = span(points)
    dx = clamp(dx, -a, W - c); dy = clamp(dy, -b, H - d)
    return points.map(([x, y]) => [round(x + dx), round(y + dy)])
  }
  function mirror(s) {                                // tell Annotorious, without hearing of it again
    if (s) { if (free(s)) anno.state.store.updateTarget(annotation(s).target, 'REMOTE') }
    else {
      const sel = at
      anno.quiet = true
      anno.state.selection.clear(); anno.setAnnotations(shapes.filter(free).map(annotation), true)
      if (sel && free(selected())) anno.setSelected(sel, true)
      anno.quiet = false
    }
  }
  function drawn({created, updated, deleted}) {       // Annotorious has changed something
    for (const a of created) {
      const shape = {id: a.id, label: current, ...geometry(a.target.selector)}
      const [x, y, x2, y2] = span(pointsOf(shape))
      if (!(x2 > x && y2 > y)) { queueMicrotask(() => anno && mirror()); continue }
      remember(gesture?.before)
      shapes = [...shapes, shape]
      queueMicrotask(() => { if (anno) { mirror(shape); choose(a.id) } })
      done(`${current} drawn`)
    }
    for (const {newValue: a} of updated) {
      const old = find(a.id)
      if (!old) continue
      const first = gesture?.before.shapes.find(s => s.id === a.id) ?? old, next = {...old, turned: undefined, ...geometry(a.target.selector, first), model: false}
      if (gesture) gesture.moved = true; else remember()
      replace(next)
      if (!same(annotation(next).target.selector.geometry, a.target.selector.geometry)) queueMicrotask(() => anno && mirror(next))
      paint()
      if (!gesture) done('changed')
    }
    if (deleted.length) queueMicrotask(() => anno && mirror())
  }

  // ---- editing
  const find = id => shapes.find(s => s.id === id), selected = () => find(at)
  const replace = s => { shapes = shapes.map(o => o.id === s.id ? s : o) }
  const state = () => ({shapes, at})
  function remember(was = state()) { past.push(was); if (past.length > LIMIT) past.shift(); future = []; nudge = null }
  function done(said) { paint(); api.changed(); if (said) api.announce(said) }
  function restore(s) { shapes = s.shapes; at = find(s.at) ? s.at : null; nudge = null; if (at) current = find(at).label; mirror(); done() }
  const about = s => { const marked = (s.hidden ? ' (hidden)' : '') + (s.locked ? ' (locked)' : ''), [x, y, x2, y2] = span(pointsOf(s)).map(Math.round); return `${s.label}${s.model ? ' (model)' : ''}${marked}, ${s.points ? `${s.points.length} corners, ` : ''}${x2 - x} by ${y2 - y} at ${x}, ${y}` }
  function choose(id, heard = false) {
    at = find(id) ? id : null
    nudge = null
    if (at) { current = selected().label; reveal(selected()) }
    if (!heard) { anno.quiet = true; at && free(selected()) ? anno.setSelected(at, true) : anno.state.selection.clear(); anno.quiet = false }
    paint()
    api.changed()
    if (at) api.announce(`${shapes.findIndex(s => s.id === at) + 1} of ${shapes.length}: ${about(selected())}`)
  }
  function edit(change, said, key = null) {           // repeated steps of one key are one step back
    const s = selected()
    if (!s) return false
    if (s.locked) return api.announce('this shape is locked: Alt+L unlocks it'), true
    const next = {...s, turned: undefined, ...change(s), model: false}
    if (same(plain(next), plain(s)) && !s.model) return true
    if (!key || nudge !== `${s.id} ${key}`) remember()
    nudge = key && `${s.id} ${key}`
    replace(next); mirror(!next.box === !s.box ? next : undefined); reveal(next)
    const keep = nudge
    done(said ?? about(next))
    nudge = keep
    return true
  }
  const step = far => Math.max(1, Math.round(1 / (base * zoom))) * (far ? 10 : 1)     // a pixel, or what can be seen
  const move = (dx, dy) => edit(s => s.box ? {box: [...shift([s.box.slice(0, 2), [s.box[0] + s.box[2], s.box[1] + s.box[3]]], dx, dy)[0], s.box[2], s.box[3]]} : {points: shift(s.points, dx, dy)}, null, 'move')
  function resize(dx, dy) {
    return edit(s => {
      const [x, y, x2, y2] = span(pointsOf(s)), w = Math.max(1, Math.min(x2 - x + dx, W - x)), hh = Math.max(1, Math.min(y2 - y + dy, H - y))
      return s.box ? {box: [x, y, round(w), round(hh)]} : {points: s.points.map(([a, b]) => [round(x + (a - x) * w / (x2 - x || 1)), round(y + (b - y) * hh / (y2 - y || 1))])}
    }, null, 'resize')
  }
  function add() {                                    // a box in the middle of what is in view
    if (!anno) return
    const [vw, vh] = [view.clientWidth, view.clientHeight].map(v => v / (base * zoom)), left = Math.max(0, -pan[0] / (base * zoom)), top = Math.max(0, -pan[1] / (base * zoom))
    const w = Math.max(1, Math.min(vw, W) / 5), hh = Math.max(1, Math.min(vh, H) / 5), n = shapes.length % 8
    let [x, y] = [left + Math.min(vw, W - left) / 2 - w / 2, top + Math.min(vh, H - top) / 2 - hh / 2]
    while (shapes.some(s => s.box && Math.abs(s.box[0] - x) < step() && Math.abs(s.box[1] - y) < step()) && x + w < W && y + hh < H) { x += 4 * step(); y += 4 * step() }
    remember()
    const s = {id: `k${++serial}`, label: current, box: [x, y, w, hh].map(v => Math.round(v))}
    s.box[2] = Math.max(1, Math.min(s.box[2], W - s.box[0])); s.box[3] = Math.max(1, Math.min(s.box[3], H - s.box[1]))
    shapes = [...shapes, s]; at = s.id
    mirror(); done(`new box: ${about(s)}. Arrows move it, Alt and arrows resize it`)
  }
  function flag(name, id = at) {                      // hidden: not drawn; locked: not to be changed. Both are stored as what they are: shapes
    const s = find(id)
    if (!anno || !s) return api.announce('nothing is selected: Tab selects')
    remember()
    replace({...s, [name]: !s[name]})
    mirror(); done(`${s.label} ${name === 'hidden' ? s.hidden ? 'shown' : 'hidden' : s.locked ? 'unlocked' : 'locked'}`)
  }
  function hideAll() {
    const hidden = shapes.some(s => !s.hidden)
    if (!anno || !shapes.length) return
    remember()
    shapes = shapes.map(s => ({...s, hidden}))
    mirror(); done(hidden ? 'all hidden' : 'all shown')
  }
  function copy() {
    if (!selected()) return api.announce('nothing is selected: Tab selects')
    clip = plain(selected())
    paint(); api.announce(`${clip.label} copied`)
  }
  function paste(what = clip) {                       // where it was, in this picture too; a little beside a shape that is there
    if (!anno || !what) return api.announce('nothing was copied')
    const [a, b, c, d] = span(pointsOf(what)), k = Math.min(1, W / Math.max(1, c - a), H / Math.max(1, d - b)), far = 4 * step()
    let points = pointsOf(what).map(([x, y]) => [a + (x - a) * k, b + (y - b) * k])
    points = shift(points, 0, 0)
    const there = p => shapes.some(s => same(pointsOf(s).slice(0, 1), p.slice(0, 1)))
    for (let i = 0; i < 50 && there(points); i++) { const next = shift(points, far, far); points = same(next, points) ? shift(points, -far * (i + 2), 0) : next }
    const [x, y, x2, y2] = span(points), s = {id: `k${++serial}`, label: task.classes.includes(what.label) ? what.label : current, ...what.box ? {box: [x, y, round(x2 - x), round(y2 - y)]} : {points}}
    remember()
    shapes = [...shapes, s]; at = s.id; current = s.label
    mirror(); done(`pasted: ${about(s)}`)
  }
  function turn(by) {                                 // a box that is turned is a polygon; turned back it is the same box
    if (!selected()) return api.announce('nothing is selected: Tab selects')
    let room = true
    edit(s => {
      const from = s.turned ?? {points: pointsOf(s), box: s.box, angle: 0}, angle = (from.angle + by + 360) % 360, turned = {...from, angle}, [a, b, c, d] = span(from.points), [x, y] = [(a + c) / 2, (b + d) / 2]
      if (from.box && angle % 180 === 0) return {box: from.box, points: undefined, turned}
      const [sin, cos] = [Math.sin, Math.cos].map(f => f(angle * Math.PI / 180)), points = from.points.map(([px, py]) => [x + (px - x) * cos - (py - y) * sin, y + (px - x) * sin + (py - y) * cos]), [l, t, r, u] = span(points)
      room = r - l <= W && u - t <= H
      if (!room) return {}
      const inside = shift(points, 0, 0)
      if (from.box && angle % 90 === 0) { const [l, t, r, u] = span(inside); return {box: [l, t, round(r - l), round(u - t)], points: undefined, turned} }
      return {points: inside, box: undefined, turned}
    }, null, 'turn')
    if (!room) api.announce('there is no room to turn it')
  }
  function remove() {
    if (!anno) return
    const s = selected(), top = anno.element.querySelector('svg')
    if (drawing()) return undoCorner()
    if (top.querySelector('.a9s-handle-selected')) return void top.dispatchEvent(new KeyboardEvent('keydown', {key: 'Delete'}))   // corners of a polygon
    if (!s) return api.announce('nothing is selected: Tab selects')
    if (s.locked) return api.announce('this shape is locked: Alt+L unlocks it')
    remember()
    const i = shapes.indexOf(s)
    shapes = shapes.filter(o => o !== s)
    at = null
    mirror(); done(`${s.label} removed`)
    if (shapes.length) choose(shapes[Math.min(i, shapes.length - 1)].id)
  }
  function walk(back) {
    const i = shapes.findIndex(s => s.id === at), to = i < 0 ? back ? shapes.length - 1 : 0 : i + (back ? -1 : 1)
    if (!shapes.length || i < 0 && back) return false
    choose(shapes[to]?.id ?? null)
    return to >= 0 && to < shapes.length              // past the last one, the focus goes on to the buttons
  }
  const drawing = () => anno?.element.querySelector('.a9s-rubberband .a9s-inner, .pnb-corners')
  const undoCorner = () => anno.element.querySelector('svg').dispatchEvent(new CustomEvent('pnb-back'))
  function useTool(t) { tool = t; anno?.cancelDrawing(); anno?.setDrawingTool(t); for (const [n, b] of Object.entries(tools)) b.setAttribute('aria-pressed', n === t); api.announce(t === 'corners' ? 'polygon: click the corners, Enter closes it' : 'box') }

  // ---- painting
  const toggle = (s, name, look, words) => h('button', {type: 'button', class: `pnb-flag ${s[name] ? 'pnb-set' : ''}`, tabindex: -1, 'aria-label': words, title: words, 'aria-pressed': !!s[name], onclick: ev => { ev.stopPropagation(); flag(name, s.id); api.focus() }}, icon(look))
  function paint() {
    const here = new Set()
    for (const [i, s] of shapes.entries()) {
      here.add(s.id)
      let p = painted.get(s.id)
      if (!p) {
        p = {g: svg('g'), halo: svg('path', {class: 'pnb-halo'}), line: svg('path', {class: 'pnb-line'}), name: h('bdi', {class: 'pnb-name'}), row: h('div', {role: 'option', class: 'pnb-item', onclick: () => { choose(s.id); api.focus() }})}
        p.g.append(p.halo, p.line); layer.append(p.g); names.append(p.name); list.append(p.row); painted.set(s.id, p)
      }
      const on = s.id === at
      if (p.s === s && p.on === on && p.i === i && p.n === shapes.length) continue
      const points = pointsOf(s), d = `M${points.map(q => q.join(' ')).join('L')}Z`, [x, y, x2, y2] = span(points)
      p.halo.setAttribute('d', d); p.line.setAttribute('d', d)
      p.g.setAttribute('class', `pnb-shape ${s.model ? 'pnb-model' : ''} ${on ? 'pnb-on' : ''}`)
      for (const e of [p.g, p.name, p.row]) e.style.setProperty('--c', task.colors[s.label])
      p.name.textContent = s.label
      p.name.className = `pnb-name ${on ? 'pnb-on' : ''} ${s.model ? 'pnb-model' : ''} ${light(task.colors[s.label]) ? 'pnb-dark' : ''}`
      Object.assign(p.name.style, {left: `${100 * x / W}%`, top: `${100 * y / H}%`})
      p.name.dataset.y = y
      p.g.style.display = p.name.style.display = s.hidden ? 'none' : ''
      p.row.replaceChildren(h('bdi', {}, s.label), h('small', {title: s.points ? `polygon of ${s.points.length} corners` : 'box'}, `${Math.round(x2 - x)} × ${Math.round(y2 - y)}`), h('span', {class: 'pnb-flags'}, toggle(s, 'hidden', s.hidden ? 'hidden' : 'seen', s.hidden ? 'show' : 'hide'), toggle(s, 'locked', s.locked ? 'locked' : 'open', s.locked ? 'unlock' : 'lock')))
      p.row.className = `pnb-item ${s.model ? 'pnb-model' : ''} ${s.hidden ? 'pnb-gone' : ''}`
      p.row.setAttribute('aria-label', about(s)); p.row.setAttribute('aria-selected', on)
      if (list.children[i] !== p.row) list.insertBefore(p.row, list.children[i])
      if (on) { layer.append(p.g); p.row.scrollIntoView?.({block: 'nearest'}) }
      Object.assign(p, {s, on, i, n: shapes.length})
    }
    for (const [id, p] of painted) if (!here.has(id)) { p.g.remove(); p.name.remove(); p.row.remove(); painted.delete(id) }
    const gone = shapes.filter(s => s.hidden).length, s = selected()
    head.textContent = (shapes.length === 1 ? '1 shape' : `${shapes.length} shapes`) + (gone ? ` · ${gone} hidden` : '')
    for (const n of ['copy', 'left', 'right', 'hide', 'lock']) parts[n].disabled = !s
    parts.paste.disabled = !clip
    parts.hide.firstChild.textContent = s?.hidden ? 'Show' : 'Hide'; parts.lock.firstChild.textContent = s?.locked ? 'Unlock' : 'Lock'
    names.classList.toggle('pnb-many', shapes.length > 60)
    labels()
  }
  function labels() { for (const {name} of painted.values()) name.classList.toggle('pnb-in', name.dataset.y * base * zoom + pan[1] < 20) }
  const light = c => { const [r, g, b] = [1, 3, 5].map(i => parseInt(c.slice(i, i + 2), 16)); return .299 * r + .587 * g + .114 * b > 150 }

  // ---- zoom and pan
  function place() {
    const k = base * zoom, [vw, vh] = [view.clientWidth, view.clientHeight], [w, hh] = [W * k, H * k]
    pan = [w <= vw ? (vw - w) / 2 : clamp(pan[0], vw - w, 0), hh <= vh ? (vh - hh) / 2 : clamp(pan[1], vh - hh, 0)].map(Math.round)
    Object.assign(pane.style, {left: `${pan[0]}px`, top: `${pan[1]}px`, width: `${w}px`, height: `${hh}px`})
    pane.classList.toggle('pnb-pixels', k * W / (item?.shown?.[0] ?? Math.min(W, 1024)) > 3)
    scale.textContent = `${Math.round(100 * k) < 1000 ? Math.round(100 * k) : Math.round(k) * 100} %`
    view.classList.toggle('pnb-zoomed', zoom > 1)
    labels()
  }
  function layout() {
    const vw = view.clientWidth
    if (!vw || !item || item.error) return
    const room = Math.max(200, Math.min(.62 * window.innerHeight, 640)), old = base * zoom
    base = Math.min(vw / W, room / H, Math.max(1, 480 / Math.max(W, H)))
    view.style.height = `${Math.max(140, Math.ceil(H * base))}px`
    zoom = Math.max(1, zoom)
    if (zoom === 1 || old !== base * zoom) place()
  }
  function fit() { zoom = 1; place() }
  function zoomBy(f, x = view.clientWidth / 2, y = view.clientHeight / 2) {
    if (!anno) return
    const s = selected(), before = base * zoom
    zoom = clamp(zoom * f, ...ZOOM)
    const r = base * zoom / before
    pan = [x - (x - pan[0]) * r, y - (y - pan[1]) * r]
    place()
    if (s && arguments.length < 2) reveal(s, true)
  }
  function reveal(s, middle = false) {                // bring what is worked on into view
    if (zoom === 1) return
    const k = base * zoom, box = span(pointsOf(s)).map(v => v * k), size = [view.clientWidth, view.clientHeight]
    for (const i of [0, 1]) {
      const [a, b] = [box[i] + pan[i], box[i + 2] + pan[i]]
      if (middle || a < 0 && b < size[i] || b > size[i] && a > 0) pan[i] = size[i] / 2 - (box[i] + box[i + 2]) / 2
    }
    place()
  }
  const watch = new ResizeObserver(() => layout())
  watch.observe(view)

  // ---- mouse, touch and pen: what Annotorious gets to see
  const local = ev => { const r = view.getBoundingClientRect(); return [ev.clientX - r.x, ev.clientY - r.y] }
  const pixel = ev => { const r = pane.getBoundingClientRect(); return [(ev.clientX - r.x) / r.width * W, (ev.clientY - r.y) / r.height * H] }
  function exact(ev) {                                // offsets in whole pixels of the page are too coarse, and end outside the picture
    const [x, y] = pixel(ev), top = anno.element.querySelector('svg')
    Object.defineProperties(ev, {offsetX: {value: clamp(x / W, 0, 1) * top.clientWidth}, offsetY: {value: clamp(y / H, 0, 1) * top.clientHeight}})
  }
  const stop = ev => { ev.stopPropagation(); ev.preventDefault() }
  function abandon() {                                // a second finger came: what the first one began was no drawing
    const before = gesture?.before, moved = gesture?.moved
    gesture = null
    anno.cancelDrawing()
    if (moved) restore(before)
  }
  view.addEventListener('mousedown', ev => { ev.preventDefault(); api.focus() })
  view.addEventListener('pointerdown', ev => {
    if (!anno) return
    fingers.set(ev.pointerId, [ev.clientX, ev.clientY])
    if (ev.pointerType !== 'mouse') api.focus()
    if (fingers.size > 1) { abandon(); gesture = {pinch: true, before: state()}; return stop(ev) }
    if (ev.button === 1 || ev.button === 0 && (ev.ctrlKey || ev.metaKey)) {
      gesture = {drag: [ev.clientX, ev.clientY], from: pan, before: state()}
      view.setPointerCapture(ev.pointerId)
      return stop(ev)
    }
    if (ev.button !== 0) { fingers.delete(ev.pointerId); return ev.stopPropagation() }
    exact(ev)
    gesture = {before: state()}
    const handle = ev.target.closest?.('.a9s-annotation.selected')
    if (!handle || ev.shiftKey && !ev.target.closest('.a9s-handle, .a9s-touch-handle, .a9s-polygon-midpoint')) {     // draw, although something is selected
      if (at) { anno.quiet = true; anno.state.selection.clear(); anno.quiet = false; gesture.left = at }
      anno.element.querySelector('svg').setPointerCapture(ev.pointerId)
    }
  }, true)
  view.addEventListener('pointermove', ev => {
    if (!anno) return
    const was = fingers.get(ev.pointerId)
    if (was) fingers.set(ev.pointerId, [ev.clientX, ev.clientY])
    if (gesture?.pinch) {
      const [a, b] = [...fingers].map(([id, p]) => [id === ev.pointerId ? was : p, p])
      if (a && b && was) {
        const len = i => Math.hypot(a[i][0] - b[i][0], a[i][1] - b[i][1]), mid = i => [(a[i][0] + b[i][0]) / 2, (a[i][1] + b[i][1]) / 2], r = view.getBoundingClientRect()
        pan = [pan[0] + mid(1)[0] - mid(0)[0], pan[1] + mid(1)[1] - mid(0)[1]]
        zoomBy(len(1) / Math.max(1, len(0)), mid(1)[0] - r.x, mid(1)[1] - r.y)
      }
      return stop(ev)
    }
    if (gesture?.drag) { pan = [gesture.from[0] + ev.clientX - gesture.drag[0], gesture.from[1] + ev.clientY - gesture.drag[1]]; place(); return stop(ev) }
    exact(ev)
  }, true)
  const up = ev => {
    fingers.delete(ev.pointerId)
    if (!anno) return
    if (gesture?.pinch || gesture?.drag) { if (!fingers.size) gesture = null; return stop(ev) }
    if (ev.type === 'pointercancel') { if (gesture) abandon(); return }
    exact(ev)
  }
  for (const t of ['pointerup', 'pointercancel']) view.addEventListener(t, up, true)
  view.addEventListener('pointerup', () => finish())  // after Annotorious
  function finish() {
    const g = gesture
    gesture = null
    if (!g || g.pinch || g.drag) return
    if (g.moved) { remember(g.before); done(selected() ? about(selected()) : '') }
    if (g.left && at === g.left) queueMicrotask(() => { if (anno && !anno.getSelected().length && at === g.left) choose(null) })
  }
  view.addEventListener('dblclick', ev => {           // corners come and go
    const s = selected()
    if (!anno || !s?.points || drawing()) return
    const [x, y] = pixel(ev), k = base * zoom, n = s.points.length, far = i => Math.hypot(s.points[i][0] - x, s.points[i][1] - y) * k
    const near = [...s.points.keys()].sort((i, j) => far(i) - far(j))[0]
    if (far(near) < GRAB) return void (n > 3 && edit(({points}) => ({points: points.filter((_, i) => i !== near)}), 'corner removed'))
    const edge = i => { const [a, b] = [s.points[i], s.points[(i + 1) % n]], l = (b[0] - a[0]) ** 2 + (b[1] - a[1]) ** 2 || 1, t = clamp(((x - a[0]) * (b[0] - a[0]) + (y - a[1]) * (b[1] - a[1])) / l, 0, 1)
      return Math.hypot(a[0] + t * (b[0] - a[0]) - x, a[1] + t * (b[1] - a[1]) - y) * k }
    const best = [...s.points.keys()].sort((i, j) => edge(i) - edge(j))[0]
    if (edge(best) < GRAB) edit(({points}) => ({points: [...points.slice(0, best + 1), [round(x), round(y)], ...points.slice(best + 1)]}), 'corner added')
  })
  view.addEventListener('wheel', ev => {
    if (!anno) return
    if (ev.ctrlKey || ev.metaKey) { ev.preventDefault(); return zoomBy(Math.exp(-clamp(ev.deltaY, -100, 100) / 300), ...local(ev)) }
    if (zoom === 1) return
    const was = `${pan}`, line = ev.deltaMode ? 20 : 1
    pan = ev.shiftKey && !ev.deltaX ? [pan[0] - ev.deltaY * line, pan[1]] : [pan[0] - ev.deltaX * line, pan[1] - ev.deltaY * line]
    place()
    if (`${pan}` !== was) ev.preventDefault()         // at the edge, the page scrolls on
  }, {passive: false})

  const dirty = () => !same(shapes.map(plain), start)
  function leave(to) {                                // what was changed is stored, whichever way one goes
    const s = api.session, it = s.item()
    if (!dirty() || api.spec.review || api.spec.qualify) return to > 0 ? s.go(s.pos + 1) : s.go(s.pos - 1)
    if (to > 0) return api.commit(shapes.map(plain))
    s.commit([{item: it, kind: 'label', value: shapes.map(plain)}], 0)
    s.go(s.pos - 1)
  }
  useTool(tool)
  return {
    show(it, value, {proposal, base} = {}) {
      const inside = el.contains(document.activeElement), again = item?.id === it.id && anno && !it.error
      item = it; past = []; future = []; nudge = null; at = null
      shapes = (value ?? proposal ?? []).map(s => ({...plain(s), id: `s${++serial}`, model: value === null && !!proposal}))
      start = base === undefined ? shapes.map(plain) : (base ?? []).map(plain)
      if (it.error) { clear(); root.remove(); return el.replaceChildren(content(it)) }
      ;[W, H] = it.size
      unit = Math.max(1, Math.ceil(1000 / Math.max(W, H)))
      if (root.parentNode !== el || el.childNodes.length > 1) el.replaceChildren(root)
      if (!again) { zoom = 1; pan = [0, 0]; build(); layout() }
      mirror(); paint()
      if (inside) api.focus()
    },
    value: () => item && !item.error ? shapes.map(plain) : null,
    active: () => [selected()?.label ?? current],
    dirty,
    pick(name) {
      current = name
      if (selected()) edit(() => ({label: name}), `now ${name}`)
      else { paint(); api.changed(); api.announce(`${name} for what is drawn next`) }
    },
    key(ev, k) {
      if (!anno || k.length === 1 && Object.values(task.keys).includes(k)) return false
      const arrow = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[k], onButton = ev.target.closest?.('button')
      if (k === 'Tab') return onButton || drawing() ? false : walk(ev.shiftKey)
      if (arrow && at) return move(arrow[0] * step(ev.shiftKey), arrow[1] * step(ev.shiftKey))
      if (k === 'PageDown' || k === 'ArrowRight') return leave(1), true
      if (k === 'PageUp' || k === 'ArrowLeft') return leave(-1), true
      if (k === 'Enter' && drawing()) return anno.element.querySelector('svg').dispatchEvent(new CustomEvent('pnb-close')), true
      const act = {'+': () => zoomBy(1.5), '=': () => zoomBy(1.5), '-': () => zoomBy(1 / 1.5), Home: fit, '.': () => useTool(tool === 'corners' ? 'rectangle' : 'corners'), Backspace: remove, ' ': add, Insert: add}[k]
      if (!act || k === ' ' && onButton) return false
      if (!ev.repeat || '+=-'.includes(k)) act()
      return true
    },
    chord(k, ev) {
      const arrow = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[k], low = k.toLowerCase()
      if (!anno) return false
      const act = ev.altKey ? {h: () => ev.shiftKey ? hideAll() : flag('hidden'), l: () => flag('locked'), r: () => turn(ev.shiftKey ? -5 : 5)}[low]
        : {c: () => copy(), v: () => paste(), d: () => selected() && paste(plain(selected()))}[low]
      if (low === 'c' && !ev.altKey && `${document.getSelection()}`) return false       // a text is to be copied
      if (act) return act(), true
      if (!arrow) return false
      if (ev.altKey) return at ? resize(arrow[0] * step(ev.shiftKey), arrow[1] * step(ev.shiftKey)) : true
      pan = [pan[0] - 60 * arrow[0], pan[1] - 60 * arrow[1]]; place()
      return true
    },
    undo() {
      if (drawing()) return undoCorner(), true
      const last = past.pop()
      if (last) { future.push(state()); restore(last) }
      return !!last
    },
    redo() { const next = future.pop(); if (next) { past.push(state()); restore(next) } return !!next },
    remove,
    cancel() { if (!anno) return; if (drawing()) anno.cancelDrawing(); else if (at) choose(null) },
    leave,
    own: ['previous', 'next', 'remove'],              // actions whose keys mean something else here, or have a row in `help`
    help: [['class key', 'class of the selected shape, or of the next one'], ['drag', 'draws a box (Shift: also over a selected one); a click selects'], ['.', 'box or polygon: click its corners, Enter closes it, Backspace takes one back'],
      [' ', 'a new box in the middle, without a mouse'], ['Tab', 'next shape (with Shift: previous)'], ['arrows', 'move what is selected (Shift: ten times as far); Alt and arrows resize it'],
      ['Ctrl+C', 'copy what is selected; Ctrl+V pastes it, on the next pictures too; Ctrl+D does both'], ['Alt+R', 'turn it by 5 degrees (with Shift: to the left); a turned box is a polygon'], ['Alt+H', 'hide it or show it (with Shift: all); hidden shapes are stored like others'], ['Alt+L', 'lock it or unlock it: a locked shape is neither changed nor in the way'],
      ['Delete', 'remove what is selected (also Backspace)'], ['double click', 'on a polygon: add or remove a corner'], ['+ −', 'zoom (also Ctrl+wheel, pinch); the wheel, Ctrl+drag or Ctrl+arrows pan'], ['Home', 'the whole picture'],
      ['PageDown', 'next item, PageUp previous (arrows too, while nothing is selected): what you changed is stored']],
    destroy() { watch.disconnect(); clear(); el.replaceChildren(); el.classList.remove('pnb-stage') },
  }
}
